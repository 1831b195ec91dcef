#include "tools/bench_gemm.h"

#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <dynq/calibration.h>
#include <dynq/graph.h>
#include <dynq/quantize.h>

#include "tools/allocate.h"
#include "tools/random.h"

/* What a session allocates beside its weights, to be touched before a cold call. */
#define MAX_BLOCKS 64
#define CACHE_LINE 64

/* Models that hold weights of their own, as many as copies were ever asked for. */
typedef struct model_list {
    dynq_model **items;
    size_t count;
} model_list;

enum { MODELS_DYNAMIC, MODELS_STATIC, MODELS_FP32, MODELS_KINDS };

struct gemm_weights {
    size_t k, n;
    float *weight, *bias;
    dynq_calibration *calibration;
    dynq_scheme scheme;
    model_list models[MODELS_KINDS];
};

typedef struct block {
    const volatile unsigned char *bytes;
    size_t size;
} block;

/* One copy: a session, and the memory that it works in. */
typedef struct copy {
    dynq_session *session;
    dynq_binding bindings[2];
    block blocks[MAX_BLOCKS];
    size_t block_count;
    size_t smallest_weights; /* blocks from this size on are weights */
} copy;

struct gemm_layer {
    copy *copies;
    size_t count, next, rows;
};

size_t gemm_weight_bytes(int line, size_t k, size_t n)
{
    return k * n * (line <= GEMM_ONEDNN_INT8 ? 1 : sizeof(float));
}

size_t gemm_copy_bytes(int line, size_t rows, size_t k, size_t n)
{
    const size_t weights = gemm_weight_bytes(line, k, n);
    switch (line) {
    case GEMM_ONEDNN_INT8: return 2 * weights + rows * (k + n * sizeof(int32_t));
    case GEMM_ONEDNN_FP32:
    case GEMM_OPENBLAS_FP32: return 2 * weights; /* and transposed */
    case GEMM_DYNAMIC:
    case GEMM_STATIC: return weights + rows * k;
    default: return weights;
    }
}

static dynq_status make_fp32(const gemm_weights *self, dynq_model **model, dynq_error *error)
{
    const dynq_tensor weight = {
        .dtype = DYNQ_F32, .rank = 2, .shape = {self->n, self->k}, .data = self->weight};
    const dynq_tensor bias = {.dtype = DYNQ_F32, .rank = 1, .shape = {self->n}, .data = self->bias};
    dynq_graph *graph = dynq_graph_create(NULL);
    if (graph == NULL) {
        allocate_failed();
    }
    const dynq_value x = dynq_input(graph, "x", self->k);
    dynq_output(graph, "y", dynq_linear(graph, "layer", x, &weight, &bias));
    return dynq_graph_finish(graph, model, error);
}

static dynq_status make_int8(const gemm_weights *self, int is_static, dynq_model **model,
                             dynq_error *error)
{
    const dynq_quantize_options options = {
        .size = sizeof options,
        .range = is_static ? DYNQ_RANGE_STATIC : DYNQ_RANGE_DYNAMIC,
        .scope = DYNQ_SCOPE_TENSOR,
        .scheme = self->scheme,
        .calibration = is_static ? self->calibration : NULL,
    };
    return dynq_quantize(self->models[MODELS_FP32].items[0], &options, model, error);
}

/* Model `index` of its kind, made when it is first asked for. */
static dynq_status model_at(gemm_weights *self, int kind, size_t index, dynq_model **model,
                            dynq_error *error)
{
    model_list *list = &self->models[kind];
    while (list->count <= index) {
        list->items = allocate_again(list->items, list->count + 1, sizeof(dynq_model *));
        dynq_model **place = &list->items[list->count];
        const dynq_status status = kind == MODELS_FP32
                                       ? make_fp32(self, place, error)
                                       : make_int8(self, kind == MODELS_STATIC, place, error);
        if (status != DYNQ_OK) {
            return status;
        }
        list->count++;
    }
    *model = list->items[index];
    return DYNQ_OK;
}

dynq_status gemm_weights_create(const gemm_bench *bench, size_t k, size_t n, const float *x,
                                size_t elements, gemm_weights **result, dynq_error *error)
{
    uint64_t state = bench->call->common.seed;
    gemm_weights *self = allocate(1, sizeof *self);
    *self = (gemm_weights){.k = k,
                           .n = n,
                           .weight = random_floats(&state, k * n),
                           .bias = random_floats(&state, n),
                           .scheme = (dynq_scheme)bench->options->scheme};
    dynq_model *model = NULL;
    dynq_status status = model_at(self, MODELS_FP32, 0, &model, error);
    if (status == DYNQ_OK) {
        status = dynq_calibration_create(model, NULL, &self->calibration, error);
    }
    if (status == DYNQ_OK) {
        status = dynq_calibration_observe(self->calibration, "x", elements / k, k, x, 0, error);
    }
    if (status != DYNQ_OK) {
        gemm_weights_free(self);
        return status;
    }
    *result = self;
    return DYNQ_OK;
}

void gemm_weights_free(gemm_weights *self)
{
    if (self == NULL) {
        return;
    }
    for (int kind = 0; kind < MODELS_KINDS; kind++) {
        for (size_t i = 0; i < self->models[kind].count; i++) {
            dynq_model_free(self->models[kind].items[i]);
        }
        free(self->models[kind].items);
    }
    dynq_calibration_free(self->calibration);
    free(self->weight);
    free(self->bias);
    free(self);
}

/* An allocator like the library's own, that remembers what is not weights. */
static void *take_block(void *context, size_t size, size_t alignment)
{
    copy *self = context;
    void *bytes = NULL;
    const int huge = size >= DYNQ_HUGE_BYTES;
    if (posix_memalign(&bytes, huge ? DYNQ_HUGE_BYTES : alignment, size) != 0) {
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (huge) {
        madvise(bytes, size / DYNQ_HUGE_BYTES * DYNQ_HUGE_BYTES, MADV_HUGEPAGE);
    }
#endif
    if (size < self->smallest_weights && self->block_count < MAX_BLOCKS) {
        self->blocks[self->block_count++] = (block){bytes, size};
    }
    return bytes;
}

static void release_block(void *context, void *bytes)
{
    copy *self = context;
    for (size_t i = 0; i < self->block_count; i++) {
        if (self->blocks[i].bytes == bytes) {
            self->blocks[i] = self->blocks[--self->block_count];
        }
    }
    free(bytes);
}

static dynq_status create_copy(const gemm_bench *bench, const gemm_layer_request *request,
                               dynq_model *model, const gemm_weights *weights, copy *self,
                               dynq_error *error)
{
    const gemm_line *line = &bench->lines[request->line];
    /* Sessions allocate weights in FP32 only: one block of all of them. */
    self->smallest_weights = line->int8 ? SIZE_MAX : weights->k * weights->n * sizeof(float);
    const dynq_allocator allocator = {
        .allocate = take_block, .release = release_block, .context = self};
    const dynq_session_options options = {
        .size = sizeof options,
        .max_rows = request->rows,
        .kernel = bench->call->common.kernel,
        .engine = line->table,
        .precision = line->int8 ? DYNQ_PRECISION_INT8 : DYNQ_PRECISION_FP32,
        .scope = bench->options->granularity == 2 ? DYNQ_SCOPE_ROW : DYNQ_SCOPE_TENSOR,
        .pool = request->pool,
        .allocator = &allocator,
    };
    const dynq_status status = dynq_session_create(model, &options, &self->session, error);
    if (status != DYNQ_OK) {
        return status;
    }
    self->bindings[0] = (dynq_binding){
        .slot = dynq_session_slot(self->session, "x"),
        .data = (void *)(uintptr_t)request->x, /* inputs are only read */
        .bytes = request->rows * weights->k * sizeof(float),
    };
    self->bindings[1] = (dynq_binding){
        .slot = dynq_session_output_slot(self->session, "y"),
        .data = request->y,
        .bytes = request->rows * weights->n * sizeof(float),
    };
    return DYNQ_OK;
}

dynq_status gemm_layer_create(const gemm_bench *bench, gemm_weights *weights,
                              const gemm_layer_request *request, gemm_layer **result,
                              dynq_error *error)
{
    gemm_layer *self = allocate(1, sizeof *self);
    *self = (gemm_layer){.copies = allocate(request->copies, sizeof *self->copies),
                         .rows = request->rows};
    const int line = request->line;
    const int kind = line == GEMM_STATIC       ? MODELS_STATIC
                     : bench->lines[line].int8 ? MODELS_DYNAMIC
                                               : MODELS_FP32;
    /* The others' sessions have weights of their own. */
    const int in_model = line == GEMM_DYNAMIC || line == GEMM_STATIC || line == GEMM_OPENBLAS_FP32;
    dynq_status status = DYNQ_OK;
    for (; self->count < request->copies && status == DYNQ_OK; self->count++) {
        dynq_model *model = NULL;
        status = model_at(weights, kind, in_model ? self->count : 0, &model, error);
        if (status == DYNQ_OK) {
            status = create_copy(bench, request, model, weights, &self->copies[self->count], error);
        }
    }
    if (status != DYNQ_OK) {
        gemm_layer_free(self);
        return status;
    }
    *result = self;
    return DYNQ_OK;
}

void gemm_layer_free(gemm_layer *self)
{
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        dynq_session_free(self->copies[i].session);
    }
    free(self->copies);
    free(self);
}

static void touch(const copy *self)
{
    for (size_t i = 0; i < self->block_count; i++) {
        for (size_t at = 0; at < self->blocks[i].size; at += CACHE_LINE) {
            (void)self->blocks[i].bytes[at];
        }
    }
}

static dynq_status call(const gemm_layer *self, copy *with, dynq_error *error)
{
    const dynq_batch batch = {.size = sizeof batch, .rows = self->rows};
    return dynq_session_run(with->session, &batch, with->bindings, 2, error);
}

static dynq_status time_hot(const gemm_layer *self, size_t calls, double *ns, dynq_error *error)
{
    dynq_status status = DYNQ_OK;
    if (calls > 1) { /* a single call is long: one more would not make its caches warmer */
        status = call(self, &self->copies[0], error);
    }
    const uint64_t start = statistics_now_ns();
    for (size_t i = 0; i < calls && status == DYNQ_OK; i++) {
        status = call(self, &self->copies[0], error);
    }
    *ns = (double)(statistics_now_ns() - start);
    return status;
}

static dynq_status time_cold(gemm_layer *self, size_t calls, double *ns, dynq_error *error)
{
    dynq_status status = DYNQ_OK;
    *ns = 0;
    for (size_t i = 0; i < calls && status == DYNQ_OK; i++) {
        copy *with = &self->copies[self->next];
        self->next = (self->next + 1) % self->count;
        touch(with);
        const uint64_t start = statistics_now_ns();
        status = call(self, with, error);
        *ns += (double)(statistics_now_ns() - start);
    }
    return status;
}

dynq_status gemm_layer_time(gemm_layer *self, size_t calls, double *us, dynq_error *error)
{
    double ns = 0;
    const dynq_status status =
        self->count == 1 ? time_hot(self, calls, &ns, error) : time_cold(self, calls, &ns, error);
    *us = 1e-3 * ns / (double)calls;
    return status;
}
