/* The foreign engines against plain loops: FP32 within the rounding of any order of summation, INT8
 * to the bit. Each engine is tested where the build has it. */
#include <dynq/cpu.h>
#include <dynq/engine.h>
#ifdef DYNQ_HAVE_OPENBLAS
#include <cblas.h>
#include <dynq/openblas.h>
#endif
#ifdef DYNQ_HAVE_ONEDNN
#include <dynq/onednn.h>
#endif

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

typedef const dynq_engine *(*engine_source)(void);

static const engine_source sources[] = {
#ifdef DYNQ_HAVE_OPENBLAS
    dynq_openblas_engine,
#endif
#ifdef DYNQ_HAVE_ONEDNN
    dynq_onednn_engine,
#endif
    NULL};

/* One layer with room for its inputs and results, gaps between rows included. */
typedef struct sample {
    const dynq_engine *engine;
    dynq_engine_layer_desc desc;
    void *layer;
    size_t x_stride, y_stride;
    float *w, *x, *y;
    int8_t *codes;
    uint8_t *q;
    int32_t *acc;
} sample;

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void *array(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    cr_assert(memory != NULL);
    return memory;
}

/* Without VNNI oneDNN saturates sums of two products in 16 bits: 2 * 255 * 64 still fits. */
static int largest_code(void)
{
    dynq_cpu cpu;
    dynq_cpu_query(&cpu);
    return (cpu.features & DYNQ_CPU_AVX512_VNNI) != 0 ? 127 : 64;
}

static sample sample_create(const dynq_engine *engine, dynq_precision precision, size_t k, size_t n,
                            size_t max_rows, size_t gap)
{
    const int top = largest_code();
    uint32_t state = (uint32_t)(k * 131 + n);
    sample s = {
        .engine = engine,
        .desc = {.size = sizeof s.desc,
                 .name = "fc1",
                 .precision = precision,
                 .k = k,
                 .n = n,
                 .max_rows = max_rows},
        .x_stride = k + gap,
        .y_stride = n + gap,
    };
    s.w = array(n * k, sizeof *s.w);
    s.codes = array(n * k, 1);
    s.x = array(max_rows * s.x_stride, sizeof *s.x);
    s.q = array(max_rows * s.x_stride, 1);
    s.y = array(max_rows * s.y_stride, sizeof *s.y);
    s.acc = array(max_rows * s.y_stride, sizeof *s.acc);
    for (size_t i = 0; i < n * k; i++) {
        const uint32_t value = next(&state);
        s.w[i] = (float)value * 0x1p-23f - 1.0f;
        s.codes[i] = (int8_t)((int)(value % (uint32_t)(2 * top + 1)) - top);
    }
    for (size_t i = 0; i < max_rows * s.x_stride; i++) {
        const uint32_t value = next(&state);
        s.x[i] = (float)value * 0x1p-22f - 2.0f;
        s.q[i] = (uint8_t)(value % 7 == 0 ? 255 : value);
    }
    /* INT8 weights are lent for the call only: give some that are gone afterwards. */
    int8_t *lent = array(n * k, 1);
    memcpy(lent, s.codes, n * k);
    s.desc.weights_f32 = precision == DYNQ_PRECISION_FP32 ? s.w : NULL;
    s.desc.weights_s8 = precision == DYNQ_PRECISION_INT8 ? lent : NULL;
    dynq_error error = {0};
    cr_assert_eq(engine->layer_create(&s.desc, &s.layer, &error), DYNQ_OK, "%s", error.message);
    memset(lent, 99, n * k);
    free(lent);
    s.desc.weights_s8 = NULL;
    return s;
}

static void sample_free(sample *s)
{
    s->engine->layer_free(s->layer);
    free(s->w);
    free(s->codes);
    free(s->x);
    free(s->q);
    free(s->y);
    free(s->acc);
}

/* Whether the result is right and the gaps are as they were. */
static int check_f32(sample *s, size_t rows)
{
    const size_t k = s->desc.k, n = s->desc.n;
    memset(s->y, 0xff, s->desc.max_rows * s->y_stride * sizeof *s->y); /* NaN */
    if (s->engine->product_f32(s->layer, rows, s->x, s->x_stride, s->y, s->y_stride) != DYNQ_OK) {
        return 0;
    }
    for (size_t m = 0; m < s->desc.max_rows; m++) {
        for (size_t c = 0; c < s->y_stride; c++) {
            const float value = s->y[m * s->y_stride + c];
            if (m >= rows || c >= n) {
                if (!isnan(value)) {
                    return 0;
                }
                continue;
            }
            double sum = 0, size = 0;
            for (size_t i = 0; i < k; i++) {
                const double term = (double)s->x[m * s->x_stride + i] * s->w[c * k + i];
                sum += term;
                size += fabs(term);
            }
            if (!(fabs(value - sum) <= (double)(k + 1) * 0x1p-24 * size)) {
                return 0;
            }
        }
    }
    return 1;
}

static int check_s32(sample *s, size_t rows)
{
    const size_t k = s->desc.k, n = s->desc.n;
    const size_t bytes = s->desc.max_rows * s->y_stride * sizeof *s->acc;
    int32_t *expected = malloc(bytes);
    if (expected == NULL) {
        return 0;
    }
    memset(expected, 0xa5, bytes);
    memset(s->acc, 0xa5, bytes);
    for (size_t m = 0; m < rows; m++) {
        for (size_t c = 0; c < n; c++) {
            int32_t sum = 0;
            for (size_t i = 0; i < k; i++) {
                sum += (int32_t)s->q[m * s->x_stride + i] * s->codes[c * k + i];
            }
            expected[m * s->y_stride + c] = sum;
        }
    }
    const dynq_status status =
        s->engine->product_s32(s->layer, rows, s->q, s->x_stride, s->acc, s->y_stride);
    const int equal = status == DYNQ_OK && memcmp(s->acc, expected, bytes) == 0;
    free(expected);
    return equal;
}

static int check(sample *s, size_t rows)
{
    return s->desc.precision == DYNQ_PRECISION_FP32 ? check_f32(s, rows) : check_s32(s, rows);
}

static int has(const dynq_engine *engine, dynq_precision precision)
{
    return precision == DYNQ_PRECISION_FP32 ? engine->has_fp32 : engine->has_int8;
}

/* Calls `body` for each engine and each product it has. */
static void for_each(void (*body)(const dynq_engine *engine, dynq_precision precision))
{
    for (size_t i = 0; sources[i] != NULL; i++) {
        const dynq_engine *engine = sources[i]();
        for (int p = DYNQ_PRECISION_FP32; p <= DYNQ_PRECISION_INT8; p++) {
            if (has(engine, (dynq_precision)p)) {
                body(engine, (dynq_precision)p);
            }
        }
    }
}

/* More numbers of rows than a cache of primitives holds, twice. */
static void every_number_of_rows(const dynq_engine *engine, dynq_precision precision)
{
    static const size_t shapes[][2] = {{1, 1},   {1, 7},   {7, 1},     {17, 5},
                                       {33, 70}, {64, 16}, {130, 100}, {784, 40}};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        for (size_t gap = 0; gap <= 3; gap += 3) {
            sample s = sample_create(engine, precision, shapes[i][0], shapes[i][1], 70, gap);
            for (size_t rows = 1; rows <= 70; rows++) {
                cr_assert(check(&s, rows), "%s: %zu rows, k %zu, n %zu, gap %zu", engine->name,
                          rows, s.desc.k, s.desc.n, gap);
            }
            cr_assert(check(&s, 1) && check(&s, 70));
            sample_free(&s);
        }
    }
}

Test(engines, products_match_plain_loops)
{
    for_each(every_number_of_rows);
}

/* Columns above what one call of small kernels takes, so that calls are split with a tail. */
static void wide_layers(const dynq_engine *engine, dynq_precision precision)
{
    static const size_t rows[] = {1, 2, 3, 4, 8, 15, 16, 17, 24, 32, 39};
    static const size_t shapes[][2] = {{64, 1203}, {3000, 301}, {20, 650}};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        sample s = sample_create(engine, precision, shapes[i][0], shapes[i][1], 39, 5);
        for (size_t r = 0; r < COUNT(rows); r++) {
            cr_assert(check(&s, rows[r]), "%s: %zu rows, k %zu, n %zu", engine->name, rows[r],
                      s.desc.k, s.desc.n);
        }
        sample_free(&s);
    }
}

Test(engines, wide_layers_match_plain_loops)
{
    for_each(wide_layers);
}

static void rows_in_any_order(const dynq_engine *engine, dynq_precision precision)
{
    sample s = sample_create(engine, precision, 40, 24, 50, 0);
    uint32_t state = 7;
    for (int i = 0; i < 400; i++) {
        const size_t rows = 1 + next(&state) % 50;
        cr_assert(check(&s, rows), "%s: call %d, %zu rows", engine->name, i, rows);
    }
    sample_free(&s);
}

Test(engines, rows_may_change_with_every_call)
{
    for_each(rows_in_any_order);
}

/* A layer can be made by one thread and called by another, and different layers at once. */
static void *run_layer(void *argument)
{
    sample *s = argument;
    for (size_t i = 0; i < 120; i++) {
        if (!check(s, 1 + i * 7 % 40)) {
            return argument;
        }
    }
    return NULL;
}

static void layers_at_once(const dynq_engine *engine, dynq_precision precision)
{
    enum { THREADS = 4 };
    sample samples[THREADS];
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        samples[i] = sample_create(engine, precision, 96 + i, 80 - i, 40, i % 2);
    }
    for (size_t i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, run_layer, &samples[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        cr_assert_null(failed, "%s: thread %zu", engine->name, i);
        sample_free(&samples[i]);
    }
}

Test(engines, layers_run_at_once_on_several_threads)
{
    for_each(layers_at_once);
}

static void expect_refused(const dynq_engine *engine, dynq_engine_layer_desc desc,
                           dynq_status expected)
{
    dynq_error error = {0};
    void *layer = &error;
    cr_assert_eq(engine->layer_create(&desc, &layer, &error), expected, "%s", engine->name);
    cr_assert_eq(layer, &error, "written although it failed");
    cr_assert_eq(error.status, expected);
    cr_assert_not_null(strstr(error.message, "fc?1"), "%s", error.message);
    cr_assert_not_null(strstr(error.message, engine->name));
    cr_assert_eq(engine->layer_create(&desc, &layer, NULL), expected);
}

Test(engines, impossible_layers_are_refused)
{
    const float w[6] = {0};
    const int8_t codes[6] = {0};
    for (size_t i = 0; sources[i] != NULL; i++) {
        const dynq_engine *engine = sources[i]();
        const dynq_engine_layer_desc fp32 = {.size = sizeof fp32,
                                             .name = "fc\n1",
                                             .precision = DYNQ_PRECISION_FP32,
                                             .k = 3,
                                             .n = 2,
                                             .max_rows = 4,
                                             .weights_f32 = w};
        dynq_engine_layer_desc desc = fp32;
        desc.weights_s8 = codes;
        expect_refused(engine, desc, DYNQ_ERR_ARGUMENT);
        desc = fp32;
        desc.weights_f32 = NULL;
        expect_refused(engine, desc, DYNQ_ERR_ARGUMENT);
        desc = fp32;
        desc.precision = (dynq_precision)0;
        expect_refused(engine, desc, DYNQ_ERR_ARGUMENT);
        desc = fp32;
        desc.k = 0;
        expect_refused(engine, desc, DYNQ_ERR_ARGUMENT);
        desc = fp32;
        desc.n = (size_t)INT32_MAX + 1;
        expect_refused(engine, desc, DYNQ_ERR_LIMIT);
        if (!engine->has_int8) {
            desc = fp32;
            desc.precision = DYNQ_PRECISION_INT8;
            desc.weights_f32 = NULL;
            desc.weights_s8 = codes;
            expect_refused(engine, desc, DYNQ_ERR_UNSUPPORTED);
        }
        engine->layer_free(NULL);
    }
}

static void impossible_calls(const dynq_engine *engine, dynq_precision precision)
{
    sample s = sample_create(engine, precision, 9, 6, 4, 0);
    const size_t far = (size_t)INT32_MAX + 1;
    const size_t calls[][3] = {{5, 9, 6}, {2, 8, 6}, {2, 9, 5}, {2, far, 6}, {2, 9, far}};
    const dynq_status expected[] = {DYNQ_ERR_LIMIT, DYNQ_ERR_ARGUMENT, DYNQ_ERR_ARGUMENT,
                                    DYNQ_ERR_LIMIT, DYNQ_ERR_LIMIT};
    for (size_t i = 0; i < COUNT(calls); i++) {
        const size_t *c = calls[i];
        const dynq_status status = precision == DYNQ_PRECISION_FP32
                                       ? engine->product_f32(s.layer, c[0], s.x, c[1], s.y, c[2])
                                       : engine->product_s32(s.layer, c[0], s.q, c[1], s.acc, c[2]);
        cr_assert_eq(status, expected[i], "%s: call %zu", engine->name, i);
    }
    if (precision == DYNQ_PRECISION_INT8) {
        cr_assert_eq(engine->product_f32(s.layer, 1, s.x, 9, s.y, 6), DYNQ_ERR_ARGUMENT);
    } else if (engine->has_int8) {
        cr_assert_eq(engine->product_s32(s.layer, 1, s.q, 9, s.acc, 6), DYNQ_ERR_ARGUMENT);
    }
    cr_assert(check(&s, 0) && check(&s, 4));
    sample_free(&s);
}

Test(engines, impossible_calls_are_refused)
{
    for_each(impossible_calls);
}

Test(engines, tables_are_complete)
{
    for (size_t i = 0; sources[i] != NULL; i++) {
        const dynq_engine *engine = sources[i]();
        cr_assert_eq(engine, sources[i]());
        cr_assert_eq(engine->size, sizeof *engine);
        cr_assert(engine->name[0] != '\0');
        cr_assert(engine->version[0] >= '0' && engine->version[0] <= '9', "%s", engine->version);
        cr_assert_eq(engine->has_fp32 != 0, engine->product_f32 != NULL);
        cr_assert_eq(engine->has_int8 != 0, engine->product_s32 != NULL);
        cr_assert(engine->linear_s8 == NULL || engine->has_int8);
    }
}

#ifdef DYNQ_HAVE_OPENBLAS
Test(engines, openblas_keeps_to_one_thread)
{
    const dynq_engine *engine = dynq_openblas_engine();
    cr_assert_eq(openblas_get_num_threads(), 1);
    cr_assert_not_null(strstr(engine->version, openblas_get_corename()), "%s", engine->version);
}

Test(engines, openblas_factors)
{
    /* l = {{2}, {1, 3}, {4, 5, 6}}; by columns, with numbers above the diagonal that stay. */
    const double product[9] = {4, 2, 8, -1, 10, 19, -2, -3, 77};
    const double factor[9] = {2, 1, 4, -1, 3, 5, -2, -3, 6};
    double a[9];
    const dynq_algebra *algebra = dynq_openblas_algebra();
    cr_assert_eq(algebra, dynq_openblas_algebra());
    cr_assert_eq(algebra->size, sizeof *algebra);
    cr_assert_str_eq(algebra->name, "openblas");
    cr_assert_eq(openblas_get_num_threads(), 1);
    memcpy(a, product, sizeof a);
    cr_assert_eq(algebra->cholesky(3, a), DYNQ_OK);
    for (size_t i = 0; i < 9; i++) {
        cr_assert_leq(fabs(a[i] - factor[i]), 1e-12, "%zu", i);
    }
    cr_assert_eq(algebra->cholesky_inverse(3, a), DYNQ_OK);
    cr_assert_eq(a[3], -1.0);
    const double inverse[3][3] = {{a[0], a[1], a[2]}, {a[1], a[4], a[5]}, {a[2], a[5], a[8]}};
    const double whole[3][3] = {{4, 2, 8}, {2, 10, 19}, {8, 19, 77}};
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++) {
            double sum = 0.0;
            for (size_t l = 0; l < 3; l++) {
                sum += inverse[i][l] * whole[l][j];
            }
            cr_assert_leq(fabs(sum - (double)(i == j)), 1e-10);
        }
    }
    double indefinite[4] = {1, 2, 0, 1};
    cr_assert_eq(algebra->cholesky(2, indefinite), DYNQ_ERR_NOT_FINITE);
    cr_assert_eq(algebra->cholesky(0, a), DYNQ_OK);
    cr_assert_eq(algebra->cholesky((size_t)1 << 31, a), DYNQ_ERR_LIMIT);
    cr_assert_eq(algebra->cholesky_inverse((size_t)1 << 31, a), DYNQ_ERR_LIMIT);
}
#endif

#ifdef DYNQ_HAVE_ONEDNN
extern int omp_get_max_threads(void);
extern void omp_set_num_threads(int threads);

static size_t threads_alive(void)
{
    DIR *directory = opendir("/proc/self/task");
    cr_assert_not_null(directory);
    size_t count = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    return count;
}

/* OpenMP's threads stay once they are started, so they would be seen afterwards. */
Test(engines, onednn_starts_no_thread_and_leaves_openmp_as_it_was)
{
    const dynq_engine *engine = dynq_onednn_engine();
    const int settings[] = {1, 3, 5};
    for (size_t i = 0; i < COUNT(settings); i++) {
        omp_set_num_threads(settings[i]);
        const size_t before = threads_alive();
        for (int p = DYNQ_PRECISION_FP32; p <= DYNQ_PRECISION_INT8; p++) {
            sample s = sample_create(engine, (dynq_precision)p, 300, 257, 64, 0);
            cr_assert_eq(omp_get_max_threads(), settings[i]);
            cr_assert(check(&s, 64) && check(&s, 1) && check(&s, 33));
            cr_assert_eq(omp_get_max_threads(), settings[i]);
            sample_free(&s);
        }
        cr_assert_eq(threads_alive(), before);
    }
}
#endif
