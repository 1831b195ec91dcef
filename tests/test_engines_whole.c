/* linear_s8 of the oneDNN engine against plain loops in double precision. */
#include <dynq/engine.h>

#ifdef DYNQ_HAVE_ONEDNN
#include <dynq/onednn.h>

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Codes are small enough for CPUs where oneDNN adds pairs of products in 16 bits. */
enum { K = 130, N = 100, ROWS = 40, GAP = 3, CODE = 60 };

static uint8_t q[ROWS * (K + GAP)];
static int8_t codes[N * K];
static float scales[N], bias[N], y[ROWS * (N + GAP)];
static int32_t sums[N];

static void *make_layer(const float *column_scale, const float *column_bias)
{
    for (size_t i = 0; i < sizeof q; i++) {
        q[i] = (uint8_t)(i * 2654435761u >> 7);
    }
    memset(sums, 0, sizeof sums);
    for (size_t i = 0; i < N * K; i++) {
        codes[i] = (int8_t)((int)(i * 2246822519u >> 9 & 0xffff) % (2 * CODE + 1) - CODE);
        sums[i / K] += codes[i];
    }
    for (size_t c = 0; c < N; c++) {
        scales[c] = 0.001f * (float)(c + 1);
        bias[c] = (float)c - 50.0f;
    }
    const dynq_engine_layer_desc desc = {.size = sizeof desc,
                                         .name = "fc",
                                         .precision = DYNQ_PRECISION_INT8,
                                         .k = K,
                                         .n = N,
                                         .max_rows = ROWS,
                                         .weights_s8 = codes,
                                         .column_scale = column_scale,
                                         .column_sum = sums,
                                         .bias = column_bias};
    void *layer = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_onednn_engine()->layer_create(&desc, &layer, &error), DYNQ_OK, "%s",
                 error.message);
    return layer;
}

static double exact(size_t m, size_t c, size_t gap, float scale, int32_t zero, double *size)
{
    double sum = 0;
    *size = 0;
    for (size_t j = 0; j < K; j++) {
        sum += (q[m * (K + gap) + j] - zero) * codes[c * K + j];
        *size += 255.0 * abs(codes[c * K + j]);
    }
    const double factor = (double)scale * scales[c];
    *size *= factor;
    return sum * factor;
}

/* Whether the result is right, within the rounding of a few steps, and the gaps are as they were.
 */
static void expect_right(void *layer, size_t rows, size_t gap, float scale, int32_t zero,
                         const float *column_bias)
{
    memset(y, 0xff, sizeof y); /* NaN */
    cr_assert_eq(dynq_onednn_engine()->linear_s8(layer, rows, scale, zero, q, K + gap, y, N + gap),
                 DYNQ_OK);
    for (size_t i = 0; i < ROWS * (N + gap); i++) {
        const size_t m = i / (N + gap), c = i % (N + gap);
        if (m >= rows || c >= N) {
            cr_assert(isnan(y[i]), "row %zu, column %zu of %zu rows is written", m, c, rows);
            continue;
        }
        double size = 0;
        const double shift = column_bias == NULL ? 0 : column_bias[c];
        const double wanted = exact(m, c, gap, scale, zero, &size) + shift;
        cr_assert(fabs(y[i] - wanted) <= 0x1p-21 * (size + fabs(shift)),
                  "row %zu, column %zu of %zu rows: %g, not %g", m, c, rows, (double)y[i], wanted);
    }
}

Test(engines, whole_layers_match_plain_loops)
{
    const dynq_engine *engine = dynq_onednn_engine();
    for (size_t gap = 0; gap <= GAP; gap += GAP) {
        void *biased = make_layer(scales, bias), *bare = make_layer(scales, NULL);
        for (size_t rows = 1; rows <= ROWS; rows++) {
            const int32_t zero = (int32_t)(rows * 37 % 256);
            expect_right(biased, rows, gap, 0.02f, zero, bias);
            expect_right(bare, rows, gap, 0.02f, zero, NULL);
        }
        expect_right(biased, ROWS, gap, 3e4f, 0, bias);
        expect_right(biased, ROWS, gap, 2e-9f, 255, bias);
        engine->layer_free(biased);
        engine->layer_free(bare);
    }
}

Test(engines, whole_layers_refuse_scales_that_might_overflow)
{
    const dynq_engine *engine = dynq_onednn_engine();
    static const float refused[] = {0, 1e-30f, 1e30f, NAN};
    static float huge[N];
    huge[N - 1] = 1e30f;
    void *layer = make_layer(scales, bias), *without = make_layer(NULL, NULL);
    void *biased = make_layer(scales, huge);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        cr_assert_eq(engine->linear_s8(layer, 9, refused[i], 7, q, K, y, N), DYNQ_ERR_UNSUPPORTED);
    }
    cr_assert_eq(engine->linear_s8(layer, ROWS + 1, 1, 7, q, K, y, N), DYNQ_ERR_LIMIT);
    cr_assert_eq(engine->linear_s8(without, 9, 1, 7, q, K, y, N), DYNQ_ERR_UNSUPPORTED);
    cr_assert_eq(engine->linear_s8(biased, 9, 1, 7, q, K, y, N), DYNQ_ERR_UNSUPPORTED);
    engine->layer_free(layer);
    engine->layer_free(without);
    engine->layer_free(biased);
}
#endif
