/* Inner product primitives, one for each number of rows met lately. Inner product and matmul run
 * the same kernels in 2.6 and 3.2; inner product is a little faster for a few rows of INT8. Only
 * dense rows reach them: given a row stride, inner product falls back to a reference loop (a
 * thousand times slower) and matmul to an older GEMM (INT8: 1.3 to 4 times slower), so rows with
 * gaps are copied.
 *
 * INT8 is exact where oneDNN uses VNNI or AMX. On a CPU without them its kernels add pairs of
 * products in 16 bits, which saturates for large codes: oneDNN's limit, not hidden here. */
#include <dynq/onednn.h>

#include "src/engines/layer_desc.h"
#include "src/engines/onednn_api.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From the OpenMP specification. <omp.h> belongs to a compiler, but the runtime to ask is the one
 * that oneDNN runs on. */
extern int omp_get_max_threads(void);
extern void omp_set_num_threads(int threads);

enum { CACHE_ENTRIES = 16 };

/* Weights in one of oneDNN's layouts; the entries whose primitives want it share it. */
typedef struct packed_weights {
    dnnl_memory_t memory; /* NULL: a free place */
    size_t users;
} packed_weights;

typedef struct cache_entry {
    size_t rows; /* 0: a free place */
    uint64_t last_use;
    dnnl_primitive_t primitive;
    packed_weights *weights;
    dnnl_memory_t x, y, scratchpad;
} cache_entry;

typedef struct onednn_layer {
    dynq_engine_layer_desc desc;
    int8_t *codes; /* INT8: our own copy of the weights, to make new layouts from */
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t attributes;
    dnnl_memory_t plain; /* the weights as [n][k] */
    uint64_t calls;
    cache_entry entries[CACHE_ENTRIES];
    packed_weights weights[CACHE_ENTRIES];
    void *dense_x, *dense_y; /* for max_rows; NULL until rows with gaps are met */
} onednn_layer;

static dynq_status layer_create(const dynq_engine_layer_desc *desc, void **result,
                                dynq_error *error);
static void layer_free(void *pointer);
static dynq_status product_f32(void *layer, size_t rows, const float *x, size_t x_stride, float *y,
                               size_t y_stride);
static dynq_status product_s32(void *layer, size_t rows, const uint8_t *q, size_t q_stride,
                               int32_t *acc, size_t acc_stride);

static char version[32];

static const dynq_engine engine = {
    .size = sizeof engine,
    .name = "onednn",
    .version = version,
    .has_fp32 = 1,
    .has_int8 = 1,
    .layer_create = layer_create,
    .layer_free = layer_free,
    .product_f32 = product_f32,
    .product_s32 = product_s32,
};

static void set_up(void)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(version, sizeof version, "%d.%d.%d", v->major, v->minor, v->patch);
}

const dynq_engine *dynq_onednn_engine(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up);
    return &engine;
}

/* One OpenMP thread for what this thread does next. Returns what to put back afterwards. */
static int enter_single_thread(void)
{
    const int threads = omp_get_max_threads();
    if (threads != 1) {
        omp_set_num_threads(1);
    }
    return threads;
}

static void leave_single_thread(int threads)
{
    if (threads != 1) {
        omp_set_num_threads(threads);
    }
}

static dynq_status status_of(dnnl_status_t status)
{
    if (status == dnnl_success) {
        return DYNQ_OK;
    }
    return status == dnnl_out_of_memory ? DYNQ_ERR_MEMORY : DYNQ_ERR_ENGINE;
}

static void drop_weights(packed_weights *weights)
{
    if (weights != NULL && --weights->users == 0) {
        dnnl_memory_destroy(weights->memory);
        weights->memory = NULL;
    }
}

static void drop_entry(cache_entry *entry)
{
    dnnl_primitive_destroy(entry->primitive);
    drop_weights(entry->weights);
    dnnl_memory_destroy(entry->x);
    dnnl_memory_destroy(entry->y);
    dnnl_memory_destroy(entry->scratchpad);
    *entry = (cache_entry){0};
}

/* The place of `rows`, or a free one, or that of the least recently used entry, emptied. */
static cache_entry *find_entry(onednn_layer *layer, size_t rows)
{
    cache_entry *oldest = &layer->entries[0];
    for (size_t i = 0; i < CACHE_ENTRIES; i++) {
        cache_entry *entry = &layer->entries[i];
        if (entry->rows == rows) {
            return entry;
        }
        oldest = entry->last_use < oldest->last_use ? entry : oldest;
    }
    drop_entry(oldest);
    return oldest;
}

static dnnl_status_t reorder(const onednn_layer *layer, dynq_onednn_layout layout,
                             dnnl_memory_t packed)
{
    dynq_onednn_layout plain;
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_status_t status = dnnl_memory_get_memory_desc(layer->plain, &plain);
    if (status == dnnl_success) {
        status = dnnl_reorder_primitive_desc_create(&description, plain, layer->engine, layout,
                                                    layer->engine, NULL);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_create(&primitive, description);
    }
    if (status == dnnl_success) {
        const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, layer->plain}, {DNNL_ARG_TO, packed}};
        status = dnnl_primitive_execute(primitive, layer->stream, 2, arguments);
    }
    if (status == dnnl_success) {
        status = dnnl_stream_wait(layer->stream);
    }
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(description);
    return status;
}

/* Weights in `layout`: those that are there, or a new copy. */
static dnnl_status_t share_weights(onednn_layer *layer, dynq_onednn_layout layout,
                                   packed_weights **result)
{
    packed_weights *place = NULL;
    for (size_t i = 0; i < CACHE_ENTRIES; i++) {
        packed_weights *weights = &layer->weights[i];
        dynq_onednn_layout present;
        if (weights->memory == NULL) {
            place = weights;
        } else if (dnnl_memory_get_memory_desc(weights->memory, &present) == dnnl_success &&
                   dnnl_memory_desc_equal(present, layout)) {
            weights->users++;
            *result = weights;
            return dnnl_success;
        }
    }
    /* As many places as entries, and the entry that asks has none yet: one is free. */
    dnnl_memory_t memory = NULL;
    dnnl_status_t status = dnnl_memory_create(&memory, layout, layer->engine, DNNL_MEMORY_ALLOCATE);
    if (status == dnnl_success) {
        status = reorder(layer, layout, memory);
    }
    if (status != dnnl_success) {
        dnnl_memory_destroy(memory);
        return status;
    }
    *place = (packed_weights){.memory = memory, .users = 1};
    *result = place;
    return dnnl_success;
}

static dnnl_status_t create_memory(const onednn_layer *layer, const_dnnl_primitive_desc_t from,
                                   dnnl_query_t what, void *data, dnnl_memory_t *memory)
{
    return dnnl_memory_create(memory, dnnl_primitive_desc_query_md(from, what, 0), layer->engine,
                              data);
}

/* Everything the primitive of this description runs with. */
static dnnl_status_t fill_entry(onednn_layer *layer, dnnl_primitive_desc_t description,
                                cache_entry *entry)
{
    dnnl_status_t status = dnnl_primitive_create(&entry->primitive, description);
    if (status == dnnl_success) {
        status = share_weights(layer,
                               dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0),
                               &entry->weights);
    }
    if (status == dnnl_success) {
        status = create_memory(layer, description, dnnl_query_src_md, DNNL_MEMORY_NONE, &entry->x);
    }
    if (status == dnnl_success) {
        status = create_memory(layer, description, dnnl_query_dst_md, DNNL_MEMORY_NONE, &entry->y);
    }
    if (status == dnnl_success) {
        status = create_memory(layer, description, dnnl_query_scratchpad_md, DNNL_MEMORY_ALLOCATE,
                               &entry->scratchpad);
    }
    return status;
}

/* The entry of `rows`, made if it is not there. */
static dnnl_status_t entry_of(onednn_layer *layer, size_t rows, cache_entry **result)
{
    cache_entry *entry = find_entry(layer, rows);
    if (entry->rows == 0) {
        const dynq_onednn_product product = {
            .precision = layer->desc.precision,
            .rows = (dnnl_dim_t)rows,
            .k = (dnnl_dim_t)layer->desc.k,
            .n = (dnnl_dim_t)layer->desc.n,
        };
        dnnl_primitive_desc_t description = NULL;
        dnnl_status_t status =
            dynq_onednn_describe(&product, layer->engine, layer->attributes, &description);
        if (status == dnnl_success) {
            status = fill_entry(layer, description, entry);
            dnnl_primitive_desc_destroy(description);
        }
        if (status != dnnl_success) {
            drop_entry(entry);
            return status;
        }
        entry->rows = rows;
    }
    entry->last_use = ++layer->calls;
    *result = entry;
    return dnnl_success;
}

static dnnl_status_t prepare(onednn_layer *layer)
{
    const dynq_engine_layer_desc *desc = &layer->desc;
    const int int8 = desc->precision == DYNQ_PRECISION_INT8;
    cache_entry *entry = NULL;
    dnnl_status_t status = dnnl_engine_create(&layer->engine, dnnl_cpu, 0);
    if (status == dnnl_success) {
        status = dnnl_stream_create(&layer->stream, layer->engine, dnnl_stream_default_flags);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_create(&layer->attributes);
    }
    if (status == dnnl_success) {
        status =
            dnnl_primitive_attr_set_scratchpad_mode(layer->attributes, dnnl_scratchpad_mode_user);
    }
    if (status == dnnl_success) {
        /* FP32 means FP32, whatever the process-wide default says. */
        status = dnnl_primitive_attr_set_fpmath_mode(layer->attributes, dnnl_fpmath_mode_strict);
    }
    if (status == dnnl_success) {
        /* oneDNN only reads this memory, but has no type that says so. */
        void *plain = int8 ? (void *)layer->codes : (void *)(uintptr_t)desc->weights_f32;
        status =
            dynq_onednn_wrap_matrix(layer->engine, int8 ? dnnl_s8 : dnnl_f32, (dnnl_dim_t)desc->n,
                                    (dnnl_dim_t)desc->k, plain, &layer->plain);
    }
    /* The most likely number of rows, so that a run with it does not pay, and failure shows now. */
    return status == dnnl_success ? entry_of(layer, desc->max_rows, &entry) : status;
}

static dynq_status layer_create(const dynq_engine_layer_desc *desc, void **result,
                                dynq_error *error)
{
    const dynq_status checked = dynq_engine_check_layer(&engine, desc, error);
    if (checked != DYNQ_OK) {
        return checked;
    }
    const unsigned runtime = dnnl_version()->cpu_runtime;
    if (runtime != DNNL_RUNTIME_OMP && runtime != DNNL_RUNTIME_SEQ) {
        return dynq_engine_fail(error, DYNQ_ERR_UNSUPPORTED, &engine, desc,
                                "this build of oneDNN cannot be held to one thread; install one "
                                "for OpenMP or without threads");
    }
    onednn_layer *layer = calloc(1, sizeof *layer);
    if (layer == NULL) {
        return dynq_engine_fail(error, DYNQ_ERR_MEMORY, &engine, desc, "out of memory");
    }
    layer->desc = *desc;
    layer->desc.weights_s8 = NULL;
    dnnl_status_t status = dnnl_out_of_memory;
    if (desc->precision == DYNQ_PRECISION_INT8) {
        layer->codes = calloc(desc->n, desc->k);
        if (layer->codes != NULL) {
            memcpy(layer->codes, desc->weights_s8, desc->n * desc->k);
        }
    }
    if (desc->precision == DYNQ_PRECISION_FP32 || layer->codes != NULL) {
        const int threads = enter_single_thread();
        status = prepare(layer);
        leave_single_thread(threads);
    }
    if (status != dnnl_success) {
        layer_free(layer);
        char reason[48] = "out of memory";
        if (status != dnnl_out_of_memory) {
            snprintf(reason, sizeof reason, "oneDNN reports status %d", (int)status);
        }
        return dynq_engine_fail(error, status_of(status), &engine, desc, reason);
    }
    *result = layer;
    return DYNQ_OK;
}

static void layer_free(void *pointer)
{
    onednn_layer *layer = pointer;
    if (layer == NULL) {
        return;
    }
    for (size_t i = 0; i < CACHE_ENTRIES; i++) {
        drop_entry(&layer->entries[i]);
    }
    dnnl_memory_destroy(layer->plain);
    dnnl_primitive_attr_destroy(layer->attributes);
    dnnl_stream_destroy(layer->stream);
    dnnl_engine_destroy(layer->engine);
    free(layer->codes);
    free(layer->dense_x);
    free(layer->dense_y);
    free(layer);
}

static void copy_rows(size_t rows, size_t row_bytes, const void *from, size_t from_stride, void *to,
                      size_t to_stride)
{
    const char *source = from;
    char *target = to;
    for (size_t m = 0; m < rows; m++) {
        memcpy(target + m * to_stride, source + m * from_stride, row_bytes);
    }
}

static dnnl_status_t execute(onednn_layer *layer, size_t rows, void *x, void *y)
{
    cache_entry *entry = NULL;
    const int threads = enter_single_thread();
    dnnl_status_t status = entry_of(layer, rows, &entry);
    if (status == dnnl_success) {
        status = dnnl_memory_set_data_handle(entry->x, x);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_set_data_handle(entry->y, y);
    }
    if (status == dnnl_success) {
        const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, entry->x},
                                             {DNNL_ARG_WEIGHTS, entry->weights->memory},
                                             {DNNL_ARG_DST, entry->y},
                                             {DNNL_ARG_SCRATCHPAD, entry->scratchpad}};
        status = dnnl_primitive_execute(entry->primitive, layer->stream, 4, arguments);
    }
    if (status == dnnl_success) {
        status = dnnl_stream_wait(layer->stream);
    }
    leave_single_thread(threads);
    return status;
}

/* Strides and sizes in bytes from here on: x_bytes and y_bytes of one row without its gap. */
static dynq_status product(onednn_layer *layer, size_t rows, const void *x, size_t x_stride,
                           size_t x_bytes, void *y, size_t y_stride, size_t y_bytes)
{
    const int x_gaps = rows > 1 && x_stride != x_bytes;
    const int y_gaps = rows > 1 && y_stride != y_bytes;
    if (x_gaps && layer->dense_x == NULL) {
        layer->dense_x = calloc(layer->desc.max_rows, x_bytes);
    }
    if (y_gaps && layer->dense_y == NULL) {
        layer->dense_y = calloc(layer->desc.max_rows, y_bytes);
    }
    if ((x_gaps && layer->dense_x == NULL) || (y_gaps && layer->dense_y == NULL)) {
        return DYNQ_ERR_MEMORY;
    }
    if (x_gaps) {
        copy_rows(rows, x_bytes, x, x_stride, layer->dense_x, x_bytes);
    }
    void *const source = x_gaps ? layer->dense_x : (void *)(uintptr_t)x;
    const dnnl_status_t status = execute(layer, rows, source, y_gaps ? layer->dense_y : y);
    if (status == dnnl_success && y_gaps) {
        copy_rows(rows, y_bytes, layer->dense_y, y_bytes, y, y_stride);
    }
    return status_of(status);
}

static dynq_status product_f32(void *pointer, size_t rows, const float *x, size_t x_stride,
                               float *y, size_t y_stride)
{
    onednn_layer *layer = pointer;
    const dynq_engine_layer_desc *desc = &layer->desc;
    const dynq_status status =
        dynq_engine_check_call(desc, DYNQ_PRECISION_FP32, rows, x_stride, y_stride);
    if (status != DYNQ_OK || rows == 0) {
        return status;
    }
    return product(layer, rows, x, x_stride * sizeof *x, desc->k * sizeof *x, y,
                   y_stride * sizeof *y, desc->n * sizeof *y);
}

static dynq_status product_s32(void *pointer, size_t rows, const uint8_t *q, size_t q_stride,
                               int32_t *acc, size_t acc_stride)
{
    onednn_layer *layer = pointer;
    const dynq_engine_layer_desc *desc = &layer->desc;
    const dynq_status status =
        dynq_engine_check_call(desc, DYNQ_PRECISION_INT8, rows, q_stride, acc_stride);
    if (status != DYNQ_OK || rows == 0) {
        return status;
    }
    return product(layer, rows, q, q_stride, desc->k, acc, acc_stride * sizeof *acc,
                   desc->n * sizeof *acc);
}
