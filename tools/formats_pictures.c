#include "tools/formats_pictures.h"

#include "tools/allocate.h"
#include "tools/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BINS        96
#define OCTAVES     32
#define MOST_TEETH  600
#define FLOAT_TEETH 100 /* on a side: more than these cannot be drawn apart */

/* The formats of the pictures and their colours, coarse ones first. */
static const struct {
    dynq_format format;
    const char *name;
    int tone;
} drawn[] = {
    {DYNQ_FORMAT_INT2, "int2", 5},   {DYNQ_FORMAT_INT4, "int4", 4}, {DYNQ_FORMAT_INT8, "int8", 3},
    {DYNQ_FORMAT_INT16, "int16", 6}, {DYNQ_FORMAT_BF16, "bf16", 2}, {DYNQ_FORMAT_FP16, "fp16", 1},
};

#define DRAWN (sizeof drawn / sizeof *drawn)

static double magnitude_of(const formats_report *tensor)
{
    return fmax(-tensor->min, tensor->max);
}

static double scale_of(const formats_report *tensor, dynq_format format)
{
    return tensor->results[formats_first_kind(format)].largest_scale;
}

/* The numbers of a format within [-limit, limit]; `values` has room for MOST_TEETH. */
static plot_comb comb_of(const formats_report *tensor, size_t which, double limit, double *values)
{
    const dynq_format format = drawn[which].format;
    const formats_limits limits = formats_limits_of(format);
    const int is_float = limits.exponent > 0;
    const double step = is_float ? formats_step_at(format, limit) : scale_of(tensor, format);
    const double end = is_float ? limits.largest : limits.largest * step;
    const double most = fmin(floor(fmin(limit, end) / step + 1e-3), limits.largest);
    plot_comb comb = {.name = drawn[which].name, .tone = drawn[which].tone, .values = values};
    if (most > (is_float ? FLOAT_TEETH : MOST_TEETH / 2 - 1)) {
        comb.solid = 1;
        values[0] = -end;
        values[1] = end;
        return comb;
    }
    for (double code = -most; code <= most; code++) {
        values[comb.count++] = code * step;
    }
    return comb;
}

static void add_combs(report *page, const char *title, const char *text,
                      const formats_report *tensor, double limit, const uint64_t *bins)
{
    double(*values)[MOST_TEETH] = allocate(DRAWN, sizeof *values);
    plot_comb combs[DRAWN];
    for (size_t i = 0; i < DRAWN; i++) {
        combs[i] = comb_of(tensor, i, limit, values[i]);
    }
    const svg_axis axis = {.title = "value", .low = -limit, .high = limit};
    report_figure_begin(page, title, text);
    plot_combs(&page->body, title, &axis, bins, bins != NULL ? BINS : 0, combs, DRAWN);
    report_figure_end(page);
    free(values);
}

static void add_histogram(report *page, const formats_report *tensor, const double *values)
{
    const double limit = magnitude_of(tensor);
    uint64_t bins[BINS] = {0};
    for (uint64_t i = 0; i < tensor->values; i++) {
        const double place = (values[i] / limit + 1) / 2 * BINS;
        const size_t bin = place >= BINS ? BINS - 1 : (size_t)place;
        bins[bin]++;
    }
    add_combs(page, "The values, and the numbers there are for them",
              "A tooth is a number that the format has, with one scale for the tensor; a band "
              "where they are closer than a picture can show.",
              tensor, limit, bins);
}

/* Near 0 as integers see it, and as the smallest floats do. */
static void add_near_zero(report *page, const formats_report *tensor)
{
    const double step = scale_of(tensor, DYNQ_FORMAT_INT4);
    add_combs(page, "Near 0", "One step of INT4 on either side.", tensor, 1.2 * step, NULL);
    const double tiny = formats_limits_of(DYNQ_FORMAT_FP16).least;
    if (step > 100 * tiny) {
        add_combs(page, "Very near 0",
                  "Below 6.1e-5 FP16 is subnormal: its steps are equal, as those of integers are. "
                  "BF16 goes on to 9.2e-41.",
                  tensor, 8.5 * tiny, NULL);
    }
}

/* Steps over magnitudes: floats keep theirs relative, integers absolute. */
static void add_steps(report *page, const formats_report *tensor, const double *values)
{
    uint64_t counts[OCTAVES] = {0};
    double steps[DRAWN][OCTAVES];
    plot_series series[DRAWN];
    int top = 0;
    frexp(magnitude_of(tensor), &top);
    const int first = top - OCTAVES;
    for (uint64_t i = 0; i < tensor->values; i++) {
        int exponent = 0;
        frexp(values[i], &exponent); /* in [2^(exponent - 1), 2^exponent) */
        if (values[i] != 0 && exponent > first) {
            counts[exponent - 1 - first]++;
        }
    }
    for (size_t s = 0; s < DRAWN; s++) {
        const formats_limits limits = formats_limits_of(drawn[s].format);
        for (int i = 0; i < OCTAVES; i++) {
            const double low = ldexp(1, first + i);
            const double step = limits.exponent > 0 ? formats_step_at(drawn[s].format, low)
                                                    : scale_of(tensor, drawn[s].format);
            const int held = limits.exponent == 0 || low <= limits.largest;
            steps[s][i] = held && step > 0 ? step : (double)NAN;
        }
        series[s] = (plot_series){drawn[s].name, drawn[s].tone, steps[s]};
    }
    const plot_steps plot = {.description = "the step of each format at each magnitude",
                             .x_title = "magnitude of a value",
                             .y_title = "step",
                             .first = first,
                             .count = OCTAVES,
                             .counts = counts,
                             .series = series,
                             .series_count = DRAWN};
    report_figure_begin(
        page, "Steps at every magnitude",
        "Integers have the same step everywhere; floats have finer ones for smaller "
        "values. Grey: where the values are.");
    plot_steps_draw(&page->body, &plot);
    report_figure_end(page);
}

void formats_add_pictures(report *page, const formats_report *tensor, const double *values,
                          int chosen)
{
    char heading[400];
    snprintf(heading, sizeof heading, "The steps of %s", tensor->name);
    report_section(page, heading,
                   chosen ? "The one that loses most in INT8 with one scale." : NULL);
    add_histogram(page, tensor, values);
    add_steps(page, tensor, values);
    add_near_zero(page, tensor);
}

void formats_add_layers(report *page, const formats_report *reports, size_t count)
{
    static const formats_kind kinds[] = {
        {DYNQ_FORMAT_FP16, FORMATS_FLOAT},  {DYNQ_FORMAT_BF16, FORMATS_FLOAT},
        {DYNQ_FORMAT_INT8, FORMATS_TENSOR}, {DYNQ_FORMAT_INT8, FORMATS_COLUMN},
        {DYNQ_FORMAT_INT4, FORMATS_COLUMN}, {DYNQ_FORMAT_INT4, FORMATS_GROUPS},
        {DYNQ_FORMAT_INT2, FORMATS_GROUPS}};
    static const char *const names[] = {"fp16",        "bf16",        "int8 tensor", "int8 column",
                                        "int4 column", "int4 groups", "int2 groups"};
    static const int tones[] = {1, 2, 0, 3, 6, 4, 5};
    enum { KINDS = sizeof kinds / sizeof *kinds };
    double *values = allocate(KINDS * count, sizeof *values);
    const char **layers = allocate(count, sizeof *layers);
    plot_series series[KINDS];
    double low = 0, high = 0;
    for (size_t s = 0; s < KINDS; s++) {
        for (size_t i = 0; i < count; i++) {
            const double sqnr = formats_sqnr(&reports[i].results[formats_kind_number(kinds[s])]);
            values[s * count + i] = sqnr;
            layers[i] = reports[i].name;
            low = isfinite(sqnr) ? fmin(low, sqnr) : low;
            high = isfinite(sqnr) ? fmax(high, sqnr) : high;
        }
        series[s] = (plot_series){names[s], tones[s], values + s * count};
    }
    const plot_dots dots = {.description = "signal to noise of every tensor",
                            .axis = svg_axis_around("SQNR, dB", low, high, 5),
                            .names = layers,
                            .count = count,
                            .series = series,
                            .series_count = KINDS};
    report_section(page, "Tensor by tensor", NULL);
    report_figure_begin(page, "Signal to noise of each", "Further right is better.");
    plot_dots_draw(&page->body, &dots);
    report_figure_end(page);
    free(layers);
    free(values);
}
