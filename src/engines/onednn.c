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
#include "src/engines/onednn_weights.h"
#include "src/engines/onednn_whole.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From the OpenMP specification. <omp.h> belongs to a compiler, but the runtime to ask is the one
 * that oneDNN runs on. */
extern int omp_get_max_threads(void);
extern void omp_set_num_threads(int threads);

/* The whole layer in one primitive spares a pass over the sums, but is called with vectors made for
 * every range. INT8, one thread, s32 and our epilogue first, microseconds for K x N = 384 x 384 and
 * 768 x 3072 on a Emerald Rapids Xeon, oneDNN 2.6.3: M = 4: 2.9, 3.1 and 67, 65; M = 8: 5.1, 5.1
 * and 104, 97; M = 64: 35, 33 and 577, 478; M = 512: 301, 267 and 4532, 3819. */
enum { WHOLE_ROWS = 8 };

/* FP32 layers with many more inputs than columns: sgemm on [k][n] weights is faster than the packed
 * primitives. One thread, microseconds for K x N = 3072 x 768 on the same machine, primitive first:
 * M = 24: 886, 904; M = 64: 2173, 1841; M = 128: 4091, 3665; for 768 x 3072, M = 64: 2120, 2527. */
enum { SGEMM_ROWS = 32, SGEMM_INPUTS = 1024, SGEMM_INPUTS_PER_COLUMN = 3 };

typedef struct cache_entry {
    size_t rows; /* 0: a free place */
    int whole;   /* the layer, not the product */
    uint64_t last_use;
    dnnl_primitive_t primitive;
    dynq_onednn_weights *weights;
    dnnl_memory_t x, y, scratchpad;
} cache_entry;

typedef struct onednn_layer {
    dynq_engine_layer_desc desc;
    int8_t *codes; /* INT8: our own copy of the weights, to make new layouts from */
    dnnl_primitive_attr_t attributes;
    dynq_onednn_store store;
    uint64_t calls;
    cache_entry entries[DYNQ_ONEDNN_ENTRIES];
    dynq_onednn_whole whole;
    float *transposed;       /* FP32: [k][n] for sgemm, or NULL */
    void *dense_x, *dense_y; /* for max_rows; NULL until rows with gaps are met */
} onednn_layer;

static dynq_status layer_create(const dynq_engine_layer_desc *desc, void **result,
                                dynq_error *error);
static void layer_free(void *pointer);
static dynq_status product_f32(void *layer, size_t rows, const float *x, size_t x_stride, float *y,
                               size_t y_stride);
static dynq_status product_s32(void *layer, size_t rows, const uint8_t *q, size_t q_stride,
                               int32_t *acc, size_t acc_stride);
static dynq_status linear_s8(void *layer, size_t rows, float scale, int32_t zero, const uint8_t *q,
                             size_t q_stride, float *y, size_t y_stride);

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
    .linear_s8_rows = WHOLE_ROWS,
    .linear_s8 = linear_s8,
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

static void drop_entry(cache_entry *entry)
{
    dnnl_primitive_destroy(entry->primitive);
    dynq_onednn_weights_drop(entry->weights);
    dnnl_memory_destroy(entry->x);
    dnnl_memory_destroy(entry->y);
    dnnl_memory_destroy(entry->scratchpad);
    *entry = (cache_entry){0};
}

/* The place of such a primitive, or a free one, or that of the least recently used, emptied. */
static cache_entry *find_entry(onednn_layer *layer, size_t rows, int whole)
{
    cache_entry *oldest = &layer->entries[0];
    for (size_t i = 0; i < DYNQ_ONEDNN_ENTRIES; i++) {
        cache_entry *entry = &layer->entries[i];
        if (entry->rows == rows && entry->whole == whole) {
            return entry;
        }
        oldest = entry->last_use < oldest->last_use ? entry : oldest;
    }
    drop_entry(oldest);
    return oldest;
}

static dnnl_status_t create_memory(const onednn_layer *layer, const_dnnl_primitive_desc_t from,
                                   dnnl_query_t what, void *data, dnnl_memory_t *memory)
{
    return dnnl_memory_create(memory, dnnl_primitive_desc_query_md(from, what, 0),
                              layer->store.engine, data);
}

/* Everything the primitive of this description runs with. */
static dnnl_status_t fill_entry(onednn_layer *layer, dnnl_primitive_desc_t description,
                                cache_entry *entry)
{
    dnnl_status_t status = dnnl_primitive_create(&entry->primitive, description);
    if (status == dnnl_success) {
        status = dynq_onednn_weights_take(
            &layer->store, dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0),
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
static dnnl_status_t entry_of(onednn_layer *layer, size_t rows, int whole, cache_entry **result)
{
    cache_entry *entry = find_entry(layer, rows, whole);
    if (entry->rows == 0) {
        const dynq_onednn_product product = {
            .precision = layer->desc.precision,
            .rows = (dnnl_dim_t)rows,
            .k = (dnnl_dim_t)layer->desc.k,
            .n = (dnnl_dim_t)layer->desc.n,
            .whole = whole,
        };
        dnnl_primitive_desc_t description = NULL;
        dnnl_status_t status =
            dynq_onednn_describe(&product, layer->store.engine,
                                 whole ? layer->whole.attributes : layer->attributes, &description);
        if (status == dnnl_success) {
            status = fill_entry(layer, description, entry);
            dnnl_primitive_desc_destroy(description);
        }
        if (status != dnnl_success) {
            drop_entry(entry);
            return status;
        }
        entry->rows = rows;
        entry->whole = whole;
    }
    entry->last_use = ++layer->calls;
    *result = entry;
    return dnnl_success;
}

static dnnl_status_t prepare(onednn_layer *layer)
{
    const dynq_engine_layer_desc *desc = &layer->desc;
    const int int8 = desc->precision == DYNQ_PRECISION_INT8;
    dnnl_status_t status = dnnl_engine_create(&layer->store.engine, dnnl_cpu, 0);
    if (status == dnnl_success) {
        status = dnnl_stream_create(&layer->store.stream, layer->store.engine,
                                    dnnl_stream_default_flags);
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
        status = dynq_onednn_wrap_matrix(layer->store.engine, int8 ? dnnl_s8 : dnnl_f32,
                                         (dnnl_dim_t)desc->n, (dnnl_dim_t)desc->k, plain,
                                         &layer->store.plain);
    }
    return status;
}

static int wants_sgemm(const dynq_engine_layer_desc *desc)
{
    return desc->precision == DYNQ_PRECISION_FP32 && desc->max_rows >= SGEMM_ROWS &&
           desc->k >= SGEMM_INPUTS && desc->k / SGEMM_INPUTS_PER_COLUMN >= desc->n;
}

/* Copies of our own, where we need some; whether there was memory. */
static int copy_weights(onednn_layer *layer, const int8_t *codes)
{
    const size_t k = layer->desc.k, n = layer->desc.n;
    if (codes != NULL) {
        layer->codes = calloc(n, k);
        if (layer->codes == NULL) {
            return 0;
        }
        memcpy(layer->codes, codes, n * k);
    }
    if (wants_sgemm(&layer->desc)) {
        layer->transposed = dynq_engine_alloc_weights(k * n * sizeof *layer->transposed);
        for (size_t i = 0; layer->transposed != NULL && i < n * k; i++) {
            layer->transposed[i % k * n + i / k] = layer->desc.weights_f32[i];
        }
        return layer->transposed != NULL;
    }
    return 1;
}

/* The most likely primitive, so that a run with it does not pay, and failure shows now. */
static dnnl_status_t prepare_entry(onednn_layer *layer)
{
    const dynq_engine_layer_desc *desc = &layer->desc;
    cache_entry *entry = NULL;
    if (desc->precision == DYNQ_PRECISION_INT8 && desc->max_rows >= WHOLE_ROWS) {
        dnnl_status_t status =
            dynq_onednn_whole_create(&layer->whole, desc, layer->store.engine, layer->attributes);
        if (status == dnnl_success && layer->whole.attributes != NULL) {
            status = entry_of(layer, desc->max_rows, 1, &entry);
        }
        if (status == dnnl_success && entry != NULL) {
            return status;
        }
        dynq_onednn_whole_free(&layer->whole);
    }
    return entry_of(layer, desc->max_rows, 0, &entry);
}

/* Only OpenMP takes a number of threads from C. TBB, also under SYCL, starts none on one CPU. */
static int single_threaded(void)
{
    const unsigned runtime = dnnl_version()->cpu_runtime;
    cpu_set_t usable;
    return runtime == DNNL_RUNTIME_OMP || runtime == DNNL_RUNTIME_SEQ ||
           (sched_getaffinity(0, sizeof usable, &usable) == 0 && CPU_COUNT(&usable) == 1);
}

static dynq_status layer_create(const dynq_engine_layer_desc *desc, void **result,
                                dynq_error *error)
{
    const dynq_status checked = dynq_engine_check_layer(&engine, desc, error);
    if (checked != DYNQ_OK) {
        return checked;
    }
    if (!single_threaded()) {
        return dynq_engine_fail(error, DYNQ_ERR_UNSUPPORTED, &engine, desc,
                                "this build of oneDNN starts threads of its own; install one for "
                                "OpenMP, or start the program on one CPU (taskset)");
    }
    onednn_layer *layer = calloc(1, sizeof *layer);
    if (layer == NULL) {
        return dynq_engine_fail(error, DYNQ_ERR_MEMORY, &engine, desc, "out of memory");
    }
    memcpy(&layer->desc, desc, desc->size < sizeof *desc ? desc->size : sizeof *desc);
    layer->desc.weights_s8 = NULL;
    dnnl_status_t status = dnnl_out_of_memory;
    if (copy_weights(layer, desc->weights_s8)) {
        const int threads = enter_single_thread();
        status = prepare(layer);
        status = status == dnnl_success ? prepare_entry(layer) : status;
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
    for (size_t i = 0; i < DYNQ_ONEDNN_ENTRIES; i++) {
        drop_entry(&layer->entries[i]);
    }
    dnnl_memory_destroy(layer->store.plain);
    dynq_onednn_whole_free(&layer->whole);
    dnnl_primitive_attr_destroy(layer->attributes);
    dnnl_stream_destroy(layer->store.stream);
    dnnl_engine_destroy(layer->store.engine);
    free(layer->codes);
    free(layer->transposed);
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

static dnnl_status_t execute(onednn_layer *layer, size_t rows, int whole, void *x, void *y)
{
    cache_entry *entry = NULL;
    const int threads = enter_single_thread();
    dnnl_status_t status = entry_of(layer, rows, whole, &entry);
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
                                             {DNNL_ARG_SCRATCHPAD, entry->scratchpad},
                                             {DYNQ_ONEDNN_ARG_SCALES, layer->whole.scales_memory},
                                             {DNNL_ARG_BIAS, layer->whole.shifts_memory}};
        status =
            dnnl_primitive_execute(entry->primitive, layer->store.stream, whole ? 6 : 4, arguments);
    }
    if (status == dnnl_success) {
        status = dnnl_stream_wait(layer->store.stream);
    }
    leave_single_thread(threads);
    return status;
}

/* Strides and sizes in bytes from here on: x_bytes and y_bytes of one row without its gap. */
static dynq_status product(onednn_layer *layer, size_t rows, int whole, const void *x,
                           size_t x_stride, size_t x_bytes, void *y, size_t y_stride,
                           size_t y_bytes)
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
    const dnnl_status_t status = execute(layer, rows, whole, source, y_gaps ? layer->dense_y : y);
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
    if (layer->transposed != NULL && rows >= SGEMM_ROWS) {
        const int threads = enter_single_thread();
        const dnnl_status_t done =
            dnnl_sgemm('N', 'N', (dnnl_dim_t)rows, (dnnl_dim_t)desc->n, (dnnl_dim_t)desc->k, 1.0f,
                       x, (dnnl_dim_t)x_stride, layer->transposed, (dnnl_dim_t)desc->n, 0.0f, y,
                       (dnnl_dim_t)y_stride);
        leave_single_thread(threads);
        return status_of(done);
    }
    return product(layer, rows, 0, x, x_stride * sizeof *x, desc->k * sizeof *x, y,
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
    return product(layer, rows, 0, q, q_stride, desc->k, acc, acc_stride * sizeof *acc,
                   desc->n * sizeof *acc);
}

static dynq_status linear_s8(void *pointer, size_t rows, float scale, int32_t zero,
                             const uint8_t *q, size_t q_stride, float *y, size_t y_stride)
{
    onednn_layer *layer = pointer;
    const dynq_engine_layer_desc *desc = &layer->desc;
    dynq_status status =
        dynq_engine_check_call(desc, DYNQ_PRECISION_INT8, rows, q_stride, y_stride);
    if (status != DYNQ_OK || rows == 0) {
        return status;
    }
    status = dynq_onednn_whole_set(&layer->whole, desc, scale, zero);
    return status == DYNQ_OK ? product(layer, rows, 1, q, q_stride, desc->k, y,
                                       y_stride * sizeof *y, desc->n * sizeof *y)
                             : status;
}
