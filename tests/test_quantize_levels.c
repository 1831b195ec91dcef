/* Levels and steps of weights: against numpy, and against a search that tries more. */
#include <dynq/quantize.h>

#include "tests/samples.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { K = 70, N = 18, WEIGHTS = N * K };

/* x -> fc -> y, simulated. */
static dynq_model *simulate(const float *w, dynq_quantize_options options)
{
    const dynq_tensor weight = {.dtype = DYNQ_F32, .rank = 2, .shape = {N, K}, .data = w};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_output(g, "y", dynq_linear(g, "fc", dynq_input(g, "x", K), &weight, NULL));
    dynq_model *from = NULL, *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_graph_finish(g, &from, NULL), DYNQ_OK);
    options.size = sizeof options;
    options.simulate = DYNQ_SWITCH_ON;
    cr_assert_eq(dynq_quantize(from, &options, &model, &error), DYNQ_OK, "%s", error.message);
    dynq_model_free(from);
    return model;
}

static void simulated_weights(const float *w, const dynq_quantize_options *options, float *result)
{
    dynq_model *model = simulate(w, *options);
    cr_assert_eq(dynq_model_weights(model, 1, result, WEIGHTS), DYNQ_OK);
    dynq_model_free(model);
}

static double error_of(const float *w, const dynq_quantize_options *options)
{
    static float restored[WEIGHTS];
    simulated_weights(w, options, restored);
    double sum = 0.0;
    for (size_t i = 0; i < WEIGHTS; i++) {
        const double error = (double)restored[i] - (double)w[i];
        sum += error * error;
    }
    return sum;
}

/* Sums of twelve uniform numbers: nearly normal. */
static void fill_normal(float *w, uint32_t seed)
{
    static float uniform[12 * WEIGHTS];
    samples_fill(uniform, 12 * WEIGHTS, seed);
    for (size_t i = 0; i < WEIGHTS; i++) {
        w[i] = 0.0f;
        for (size_t j = 0; j < 12; j++) {
            w[i] += uniform[12 * i + j];
        }
    }
}

Test(quantize_levels, fixed_tables)
{
    static const dynq_format formats[] = {DYNQ_FORMAT_INT4, DYNQ_FORMAT_INT2};
    static const dynq_levels kinds[] = {DYNQ_LEVELS_UNIFORM, DYNQ_LEVELS_LOG};
    int8_t table[16];
    for (size_t f = 0; f < 2; f++) {
        for (size_t l = 0; l < 2; l++) {
            const size_t count = dynq_fixed_levels(formats[f], kinds[l], table);
            cr_assert_eq(count, f == 0 ? 16 : 4);
            for (size_t i = 1; i < count; i++) {
                cr_assert_gt(table[i], table[i - 1]);
                cr_assert(l == 1 || table[i] - table[i - 1] == table[1] - table[0]);
            }
            for (size_t i = 0; i < count && l == 1; i++) {
                const int far = table[i] == 127 ? 128 : abs(table[i]);
                cr_assert_eq(far & (far - 1), 0, "%d", table[i]);
            }
        }
    }
    cr_assert_eq(dynq_fixed_levels(DYNQ_FORMAT_INT8, DYNQ_LEVELS_UNIFORM, table), 0);
    cr_assert_eq(dynq_fixed_levels(DYNQ_FORMAT_INT4, DYNQ_LEVELS_CLUSTERS, table), 0);
    cr_assert_eq(dynq_fixed_levels(DYNQ_FORMAT_INT4, DYNQ_LEVELS_AFFINE, table), 0);
    cr_assert_eq(dynq_fixed_levels(DYNQ_FORMAT_INT4, DYNQ_LEVELS_LOG, NULL), 0);
}

static void read_floats(FILE *file, float *values)
{
    for (size_t i = 0; i < WEIGHTS; i++) {
        uint32_t bits = 0;
        cr_assert_eq(fscanf(file, "%8x", &bits), 1);
        memcpy(&values[i], &bits, sizeof bits);
    }
}

/* A rule says all that a case of the file names. */
static void check_golden(const float *w, const char *rule_text, const float *expected)
{
    static float got[WEIGHTS];
    char pattern[128];
    dynq_quantize_rule rule;
    dynq_error error = {0};
    cr_assert_eq(dynq_quantize_rule_parse(rule_text, pattern, sizeof pattern, &rule, &error),
                 DYNQ_OK, "%s", error.message);
    const dynq_quantize_options options = {.rules = &rule, .rule_count = 1};
    simulated_weights(w, &options, got);
    for (size_t i = 0; i < WEIGHTS; i++) {
        cr_assert(got[i] == expected[i], "%s: weight %zu of column %zu, %a: %a, not %a", rule_text,
                  i % K, i / K, (double)w[i], (double)got[i], (double)expected[i]);
    }
}

Test(quantize_levels, the_values_of_numpy)
{
    static float w[WEIGHTS], expected[WEIGHTS];
    FILE *file = fopen(DYNQ_GOLDEN_DIR "/quantize_levels.txt", "r");
    cr_assert_not_null(file);
    read_floats(file, w);
    char format[16], levels[16], granularity[16], rule[128];
    size_t cases = 0;
    while (fscanf(file, "%15s %15s %15s", format, levels, granularity) == 3) {
        const bool affine = strcmp(levels, "affine") == 0;
        const bool only = strcmp(format, "int16") == 0; /* which has no levels to choose */
        snprintf(rule, sizeof rule, "*=%s,weights-%s,no-clip-weights%s%s", format, granularity,
                 only     ? ""
                 : affine ? ",levels-"
                          : ",",
                 only ? "" : levels);
        read_floats(file, expected);
        check_golden(w, rule, expected);
        cases++;
    }
    fclose(file);
    cr_assert_eq(cases, 34);
}

/* The least error of one scale for `count` weights, over many steps of either sign. */
static double least_error(const float *w, size_t count, dynq_format format, bool negative)
{
    int8_t table[16];
    const size_t levels = dynq_fixed_levels(format, DYNQ_LEVELS_UNIFORM, table);
    double largest = 0.0, least = INFINITY;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)w[i]));
    }
    for (int s = -3000; s <= 3000; s++) {
        const double step = largest * s / 3000.0;
        double sum = 0.0;
        for (size_t i = 0; i < count; i++) {
            double nearest = INFINITY;
            for (size_t l = 0; l < levels; l++) {
                nearest = fmin(nearest, fabs((double)w[i] - step * table[l]));
            }
            sum += nearest * nearest;
        }
        least = s == 0 || (s < 0 && !negative) ? least : fmin(least, sum);
    }
    return least;
}

static void check_search(dynq_format format, dynq_weight_granularity granularity, size_t group)
{
    static float w[WEIGHTS];
    fill_normal(w, 11);
    const dynq_quantize_options options = {.weights = format, .weight_granularity = granularity};
    dynq_quantize_options by_largest = options;
    by_largest.clip_weights = DYNQ_SWITCH_OFF;
    double least = 0.0;
    for (size_t c = 0; c < N; c++) {
        for (size_t i = 0; i < K; i += group) {
            const size_t count = i + group < K ? group : K - i;
            least += least_error(w + c * K + i, count, format, group < K);
        }
    }
    const double found = error_of(w, &options);
    cr_assert_leq(found, 1.02 * least, "%g, least %g", found, least);
    cr_assert_leq(found, 0.98 * error_of(w, &by_largest));
}

Test(quantize_levels, steps_have_the_least_squared_error)
{
    check_search(DYNQ_FORMAT_INT4, DYNQ_WEIGHTS_PER_COLUMN, K);
    check_search(DYNQ_FORMAT_INT2, DYNQ_WEIGHTS_PER_COLUMN, K);
    check_search(DYNQ_FORMAT_INT4, DYNQ_WEIGHTS_PER_GROUP_32, 32);
    check_search(DYNQ_FORMAT_INT2, DYNQ_WEIGHTS_PER_GROUP_32, 32);
}

Test(quantize_levels, finer_is_better)
{
    static float w[WEIGHTS];
    fill_normal(w, 12);
    dynq_quantize_options o = {.weights = DYNQ_FORMAT_INT4};
    for (int group = 0; group < 2; group++) {
        o.weight_granularity = group ? DYNQ_WEIGHTS_PER_GROUP_32 : DYNQ_WEIGHTS_PER_COLUMN;
        for (int bits = 4; bits >= 2; bits -= 2) {
            o.weights = bits == 4 ? DYNQ_FORMAT_INT4 : DYNQ_FORMAT_INT2;
            o.levels = DYNQ_LEVELS_UNIFORM;
            const double uniform = error_of(w, &o);
            o.levels = DYNQ_LEVELS_LOG;
            const double log = error_of(w, &o);
            o.levels = DYNQ_LEVELS_CLUSTERS;
            o.table = DYNQ_TABLE_PER_TENSOR;
            const double tensor = error_of(w, &o);
            o.table = DYNQ_TABLE_PER_PANEL;
            const double panel = error_of(w, &o);
            o.table = 0;
            cr_assert(tensor < uniform && panel < uniform && uniform < log * 1.05,
                      "%d bits, group %d: uniform %g, log %g, clusters %g and %g", bits, group,
                      uniform, log, tensor, panel);
        }
    }
}

Test(quantize_levels, more_clusters_leave_less_error)
{
    static float w[WEIGHTS];
    fill_normal(w, 13);
    dynq_quantize_options o = {.levels = DYNQ_LEVELS_CLUSTERS, .table = DYNQ_TABLE_PER_TENSOR};
    const size_t counts[] = {2, 3, 8, 16, 50, 256};
    double before = INFINITY;
    for (size_t i = 0; i < COUNT(counts); i++) {
        o.clusters = counts[i];
        const double error = error_of(w, &o);
        cr_assert_lt(error, 0.7 * before, "%zu clusters", counts[i]);
        before = error;
    }
}

Test(quantize_levels, elements_lose_nothing)
{
    static float w[WEIGHTS];
    fill_normal(w, 14);
    dynq_quantize_options o = {.weight_granularity = DYNQ_WEIGHTS_PER_ELEMENT};
    const dynq_format formats[] = {DYNQ_FORMAT_INT2, DYNQ_FORMAT_INT4, DYNQ_FORMAT_INT8,
                                   DYNQ_FORMAT_INT16};
    for (size_t f = 0; f < COUNT(formats); f++) {
        for (int l = DYNQ_LEVELS_UNIFORM; l <= (int)DYNQ_LEVELS_AFFINE; l++) {
            o.weights = formats[f];
            o.levels = formats[f] == DYNQ_FORMAT_INT16 ? 0 : (dynq_levels)l;
            cr_assert_lt(error_of(w, &o), 1e-9);
        }
    }
}

Test(quantize_levels, many_bits_of_powers_of_two)
{
    static float w[WEIGHTS], restored[WEIGHTS];
    fill_normal(w, 15);
    const dynq_quantize_options o = {.levels = DYNQ_LEVELS_LOG, .clip_weights = DYNQ_SWITCH_OFF};
    simulated_weights(w, &o, restored);
    for (size_t i = 0; i < WEIGHTS; i++) {
        cr_assert(fabs((double)(restored[i] - w[i])) <= 0.34 * fabs((double)w[i]), "%g: %g",
                  (double)w[i], (double)restored[i]);
    }
}
