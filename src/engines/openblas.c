#include <dynq/openblas.h>

#include "src/engines/layer_desc.h"

#include <cblas.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is fastest depends on the kernels OpenBLAS chose for this CPU. */
typedef struct blas_core {
    const char *name;
    size_t gemv_rows; /* so many rows go one by one through sgemv: sgemm would pack all weights */
    bool small_gemm;  /* has sgemm kernels that read both matrices where they lie */
} blas_core;

static const blas_core known_cores[] = {{"Haswell", 3, false},
                                        {"Zen", 3, false},
                                        {"SkylakeX", 1, true},
                                        {"Cooperlake", 1, true},
                                        {"SapphireRapids", 1, true}};

static const blas_core other_core = {"", 1, false};

/* sgemm takes the small kernels up to these sizes (x times transposed weights); measured to pay up
 * to SMALL_ROWS rows and from SMALL_COLUMNS columns a call. */
enum {
    SMALL_RESULTS = 1200,
    SMALL_PRODUCTS = 1000000,
    SMALL_K = 32,
    SMALL_ROWS = 16,
    SMALL_COLUMNS = 16
};

typedef struct blas_layer {
    dynq_engine_layer_desc desc;
    const blas_core *core;
    float *transposed; /* [k][n]: sgemm packs it 5 to 25 % faster than [n][k] */
} blas_layer;

static dynq_status layer_create(const dynq_engine_layer_desc *desc, void **result,
                                dynq_error *error);
static void layer_free(void *layer);
static dynq_status product_f32(void *layer, size_t rows, const float *x, size_t x_stride, float *y,
                               size_t y_stride);

static char version[64];

static const dynq_engine engine = {
    .size = sizeof engine,
    .name = "openblas",
    .version = version,
    .has_fp32 = 1,
    .layer_create = layer_create,
    .layer_free = layer_free,
    .product_f32 = product_f32,
};

/* "OpenBLAS 0.3.21 NO_LAPACKE ..." becomes "0.3.21 SkylakeX". The kernels belong to the version: an
 * OpenBLAS older than the CPU may fall back to SSE3, four times slower, and a report must show it.
 */
static void set_up(void)
{
    openblas_set_num_threads(1);
    const char *number = openblas_get_config();
    if (strncmp(number, "OpenBLAS ", 9) == 0) {
        number += 9;
    }
    snprintf(version, sizeof version, "%.*s %s", (int)strcspn(number, " "), number,
             openblas_get_corename());
}

const dynq_engine *dynq_openblas_engine(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up);
    return &engine;
}

static const blas_core *find_core(void)
{
    const char *name = openblas_get_corename();
    for (size_t i = 0; i < sizeof known_cores / sizeof known_cores[0]; i++) {
        if (strcmp(known_cores[i].name, name) == 0) {
            return &known_cores[i];
        }
    }
    return &other_core;
}

static dynq_status layer_create(const dynq_engine_layer_desc *desc, void **result,
                                dynq_error *error)
{
    const dynq_status status = dynq_engine_check_layer(&engine, desc, error);
    if (status != DYNQ_OK) {
        return status;
    }
    if (openblas_get_parallel() == OPENBLAS_OPENMP) {
        return dynq_engine_fail(error, DYNQ_ERR_UNSUPPORTED, &engine, desc,
                                "an OpenMP build of OpenBLAS starts threads of its own; install "
                                "its pthread or serial build");
    }
    blas_layer *layer = calloc(1, sizeof *layer);
    float *transposed = dynq_engine_alloc_weights(desc->k * desc->n * sizeof *transposed);
    if (layer == NULL || transposed == NULL) {
        free(layer);
        free(transposed);
        return dynq_engine_fail(error, DYNQ_ERR_MEMORY, &engine, desc, "out of memory");
    }
    cblas_somatcopy(CblasRowMajor, CblasTrans, (blasint)desc->n, (blasint)desc->k, 1.0f,
                    desc->weights_f32, (blasint)desc->k, transposed, (blasint)desc->n);
    *layer = (blas_layer){.desc = *desc, .core = find_core(), .transposed = transposed};
    *result = layer;
    return DYNQ_OK;
}

static void layer_free(void *pointer)
{
    blas_layer *layer = pointer;
    if (layer != NULL) {
        free(layer->transposed);
        free(layer);
    }
}

static void row_by_row(const blas_layer *layer, size_t rows, const float *x, size_t x_stride,
                       float *y, size_t y_stride)
{
    const blasint k = (blasint)layer->desc.k, n = (blasint)layer->desc.n;
    for (size_t m = 0; m < rows; m++) {
        /* Adding to zeros: with beta = 0 some releases multiply what is in y, and NaN stays. */
        memset(y + m * y_stride, 0, layer->desc.n * sizeof *y);
        cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1.0f, layer->desc.weights_f32, k,
                    x + m * x_stride, 1, 1.0f, y + m * y_stride, 1);
    }
}

/* Columns of one call that stays with the small kernels; 0: they are no gain. */
static size_t small_columns(const blas_layer *layer, size_t rows)
{
    const size_t k = layer->desc.k;
    if (!layer->core->small_gemm || k < SMALL_K) {
        return 0;
    }
    const size_t by_products = SMALL_PRODUCTS / k / rows;
    const size_t by_results = SMALL_RESULTS / rows;
    const size_t columns = by_products < by_results ? by_products : by_results;
    if (columns >= layer->desc.n) {
        return layer->desc.n;
    }
    return rows <= SMALL_ROWS ? columns / SMALL_COLUMNS * SMALL_COLUMNS : 0;
}

/* One thread, OpenBLAS 0.3.21, microseconds for K x N = 784 x 512 on an Emerald Rapids Xeon
 * (SkylakeX kernels), plain sgemm first and this function second: M = 2: 25, 24; M = 4: 134, 28;
 * M = 8: 153, 60; M = 16: 198, 139; M = 64: 364, 334. */
static dynq_status product_f32(void *pointer, size_t rows, const float *x, size_t x_stride,
                               float *y, size_t y_stride)
{
    const blas_layer *layer = pointer;
    const dynq_status status =
        dynq_engine_check_call(&layer->desc, DYNQ_PRECISION_FP32, rows, x_stride, y_stride);
    if (status != DYNQ_OK || rows == 0) {
        return status;
    }
    const size_t k = layer->desc.k, n = layer->desc.n;
    if (rows <= layer->core->gemv_rows) {
        row_by_row(layer, rows, x, x_stride, y, y_stride);
        return DYNQ_OK;
    }
    const size_t columns = small_columns(layer, rows);
    if (columns == 0) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)rows, (blasint)n,
                    (blasint)k, 1.0f, x, (blasint)x_stride, layer->transposed, (blasint)n, 0.0f, y,
                    (blasint)y_stride);
        return DYNQ_OK;
    }
    for (size_t first = 0; first < n; first += columns) {
        const size_t count = n - first < columns ? n - first : columns;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)rows, (blasint)count,
                    (blasint)k, 1.0f, x, (blasint)x_stride, layer->desc.weights_f32 + first * k,
                    (blasint)k, 0.0f, y + first, (blasint)y_stride);
    }
    return DYNQ_OK;
}
