/* The measures against sums in long double, in the order of the definition. */
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

enum { CASES = 300, LARGEST_ROWS = 9, LARGEST_COLUMNS = 70 };

typedef struct oracle {
    long double signal, noise, error, percent, cosine, least_cosine, divergence, worst_divergence;
    long double largest;
    size_t largest_row, largest_column, elements, with_percent, cosines, rows, agreeing;
} oracle;

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void add_elements(oracle *self, size_t columns, const float *x, const float *y)
{
    long double product = 0, xx = 0, yy = 0;
    for (size_t c = 0; c < columns; c++) {
        const long double expected = (long double)x[c], error = fabsl((long double)y[c] - expected);
        self->signal += expected * expected;
        self->noise += error * error;
        self->error += error;
        self->elements++;
        if (x[c] != 0) {
            self->percent += 100 * error / fabsl(expected);
            self->with_percent++;
        }
        if (error > self->largest) {
            self->largest = error;
            self->largest_row = self->rows;
            self->largest_column = c;
        }
        product += expected * (long double)y[c];
        xx += expected * expected;
        yy += (long double)y[c] * (long double)y[c];
    }
    if (xx > 0 && yy > 0) {
        const long double cosine = product / sqrtl(xx * yy);
        self->least_cosine = self->cosines == 0 ? cosine : fminl(cosine, self->least_cosine);
        self->cosine += cosine;
        self->cosines++;
    }
}

static long double log_of_sum(size_t columns, const float *x)
{
    long double sum = 0;
    for (size_t c = 0; c < columns; c++) {
        sum += expl((long double)x[c]); /* never overflows in the wider exponent of the oracle */
    }
    return logl(sum);
}

static void add_classes(oracle *self, size_t columns, const float *x, const float *y)
{
    size_t right = 0, answer = 0;
    long double divergence = 0;
    const long double x_sum = log_of_sum(columns, x), y_sum = log_of_sum(columns, y);
    for (size_t c = 0; c < columns; c++) {
        const long double p = (long double)x[c] - x_sum, q = (long double)y[c] - y_sum;
        divergence += expl(p) * (p - q);
        right = x[c] > x[right] ? c : right;
        answer = y[c] > y[answer] ? c : answer;
    }
    self->agreeing += right == answer;
    self->divergence += divergence;
    self->worst_divergence = fmaxl(self->worst_divergence, divergence);
    self->rows++;
}

/* Rows whose magnitudes differ, some zero, some alike. */
static void fill_case(uint32_t *state, size_t count, float *x, float *y)
{
    const float size = ldexpf(1.0f, (int)(draw(state) % 13) - 6); /* logits that expl() can take */
    const float noise = ldexpf(1.0f, -(int)(draw(state) % 24));
    const uint32_t zeros = draw(state) % 4;
    samples_fill(x, count, draw(state));
    samples_fill(y, count, draw(state));
    for (size_t i = 0; i < count; i++) {
        x[i] = zeros > 1 && draw(state) % zeros == 0 ? 0.0f : x[i] * size;
        y[i] = draw(state) % 16 == 0 ? x[i] : x[i] + y[i] * noise * size;
    }
}

static void check(const char *name, size_t number, double measure, long double expected,
                  long double tolerance)
{
    cr_assert(fabsl((long double)measure - expected) <= tolerance,
              "case %zu: %s is %.17g, not %.17Lg", number, name, measure, expected);
}

static void check_case(size_t number, const dynq_metrics *metrics, const oracle *o)
{
    const dynq_metrics_summary s = dynq_metrics_result(metrics);
    const long double relative = 1e-13L;
    cr_assert_eq(metrics->rows, o->rows);
    cr_assert_eq(metrics->elements, o->elements);
    cr_assert_eq(metrics->pct_elements, o->with_percent);
    cr_assert_eq(metrics->cosine_rows, o->cosines);
    if (o->signal > 0 && o->noise > 0) {
        check("sqnr_db", number, s.sqnr_db, 10 * log10l(o->signal / o->noise), 1e-11L);
    }
    check("max_abs_error", number, s.max_abs_error, o->largest, 0);
    cr_assert(s.max_abs_row == o->largest_row && s.max_abs_column == o->largest_column,
              "case %zu: [%zu][%zu]", number, (size_t)s.max_abs_row, (size_t)s.max_abs_column);
    check("mean_abs_error", number, s.mean_abs_error, o->error / (long double)o->elements,
          relative * o->error);
    if (o->with_percent > 0) {
        check("mean_abs_pct_error", number, s.mean_abs_pct_error,
              o->percent / (long double)o->with_percent, relative * o->percent);
    }
    if (o->cosines > 0) {
        check("cosine_mean", number, s.cosine_mean, o->cosine / (long double)o->cosines, relative);
        check("cosine_min", number, s.cosine_min, o->least_cosine, relative);
    }
    check("top1_agreement", number, s.top1_agreement,
          (long double)o->agreeing / (long double)o->rows, 1e-15L);
    /* Logits up to 64 are known to 64 epsilon, and so are their differences. */
    check("divergence_mean", number, s.divergence_mean, o->divergence / (long double)o->rows,
          1e-13L + relative * o->divergence);
    check("divergence_max", number, s.divergence_max, o->worst_divergence,
          1e-13L + relative * o->worst_divergence);
}

/* Random shapes, strides, magnitudes and cuts into calls. */
Test(compare, measures_agree_with_long_double)
{
    uint32_t state = 7;
    const size_t room = (size_t)LARGEST_ROWS * (LARGEST_COLUMNS + 5);
    float *x = malloc(room * sizeof *x), *y = malloc(room * sizeof *y);
    cr_assert(x != NULL && y != NULL);
    for (size_t number = 0; number < CASES; number++) {
        const size_t columns = 1 + draw(&state) % LARGEST_COLUMNS;
        const size_t x_stride = columns + draw(&state) % 6, y_stride = columns + draw(&state) % 6;
        dynq_metrics metrics = {0};
        oracle expected = {0};
        for (uint32_t call = draw(&state) % 3 + 1; call > 0; call--) {
            const size_t rows = 1 + draw(&state) % LARGEST_ROWS;
            fill_case(&state, room, x, y);
            dynq_metrics_add(&metrics, rows, columns, x, x_stride, y, y_stride);
            dynq_metrics_add_classes(&metrics, DYNQ_SCORES_LOGITS, rows, columns, x, x_stride, y,
                                     y_stride);
            for (size_t r = 0; r < rows; r++) {
                add_elements(&expected, columns, x + r * x_stride, y + r * y_stride);
                add_classes(&expected, columns, x + r * x_stride, y + r * y_stride);
            }
        }
        check_case(number, &metrics, &expected);
    }
    free(x);
    free(y);
}
