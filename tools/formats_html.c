#include "tools/formats_command.h"

#include "tools/formats_pictures.h"
#include "tools/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The headline numbers. */
static const struct {
    formats_kind kind;
    const char *label;
} headlines[] = {
    {{DYNQ_FORMAT_FP16, FORMATS_FLOAT}, "FP16"},
    {{DYNQ_FORMAT_BF16, FORMATS_FLOAT}, "BF16"},
    {{DYNQ_FORMAT_INT8, FORMATS_COLUMN}, "INT8, a scale for each column"},
    {{DYNQ_FORMAT_INT4, FORMATS_GROUPS}, "INT4, a scale for 32 inputs"},
};

#define HEADLINES (sizeof headlines / sizeof *headlines)

static void add_cards(report *page, const formats_report *all)
{
    report_card cards[HEADLINES];
    char values[HEADLINES][32], notes[HEADLINES][80];
    for (size_t i = 0; i < HEADLINES; i++) {
        const size_t kind = formats_kind_number(headlines[i].kind);
        const formats_result *result = &all->results[kind];
        const double sqnr = formats_sqnr(result);
        snprintf(values[i], sizeof values[i], "%.1f dB", sqnr);
        if (!isfinite(sqnr)) {
            snprintf(values[i], sizeof values[i], sqnr > 0 ? "exact" : "overflow");
        }
        const double cosine = formats_cosine(result);
        char similar[40] = "";
        if (!isnan(cosine)) {
            snprintf(similar, sizeof similar, ", cosine %.5f", cosine);
        }
        snprintf(notes[i], sizeof notes[i], "%.2f bits for a value%s",
                 formats_bits_per_value(all, kind), similar);
        cards[i] = (report_card){headlines[i].label, values[i], notes[i]};
    }
    report_cards(page, cards, HEADLINES);
}

static void name_of(size_t kind, char *name, size_t size)
{
    const char *scaling = formats_scaling_name(formats_kinds[kind].scaling);
    snprintf(name, size, "%s%s%s", dynq_format_name(formats_kinds[kind].format),
             scaling[0] == '\0' ? "" : " ", scaling);
}

/* One bar for each kind that loses something that can be measured. */
static void add_sqnr(report *page, const formats_report *all)
{
    char names[FORMATS_KINDS][32];
    const char *categories[FORMATS_KINDS];
    double values[FORMATS_KINDS];
    size_t count = 0;
    for (size_t kind = 0; kind < FORMATS_KINDS; kind++) {
        const double sqnr = formats_sqnr(&all->results[kind]);
        if (isfinite(sqnr) && sqnr > 0) {
            name_of(kind, names[count], sizeof names[count]);
            categories[count] = names[count];
            values[count++] = sqnr;
        }
    }
    if (count == 0) {
        return;
    }
    const plot_series series = {
        .name = "signal to quantization noise", .tone = 1, .values = values};
    const plot_bars bars = {.description = "signal to quantization noise of every format",
                            .unit = "dB",
                            .decimals = 1,
                            .categories = categories,
                            .category_count = count,
                            .series = &series,
                            .series_count = 1};
    report_figure_begin(page, "Signal to noise",
                        "6 dB are one bit. Formats that hold every value as it is are left out.");
    plot_bars_draw(&page->body, &bars);
    report_figure_end(page);
}

static void add_table(report *page, const formats_report *all)
{
    static const report_column columns[] = {
        {"stored as", 0},     {"bits", 1},   {"largest", 1},          {"least", 1},
        {"smallest step", 1}, {"digits", 1}, {"SQNR dB", 1},          {"cosine", 1},
        {"largest error", 1}, {"bytes", 1},  {"bits for a value", 1},
    };
    report_table_begin(page, NULL, columns, sizeof columns / sizeof *columns);
    for (size_t kind = 0; kind < FORMATS_KINDS; kind++) {
        const formats_result *result = &all->results[kind];
        const formats_limits limits = formats_limits_of(formats_kinds[kind].format);
        const int is_float = formats_kinds[kind].scaling == FORMATS_FLOAT;
        const double low = is_float ? 1 : result->least_scale;
        const double high = is_float ? 1 : result->largest_scale;
        char name[32];
        name_of(kind, name, sizeof name);
        report_cell(page, "%s", name);
        report_cell(page, "%u", dynq_format_bits(formats_kinds[kind].format));
        report_cell(page, "%.4g", high * limits.largest);
        report_cell(page, "%.3g", low * limits.least);
        report_cell(page, "%.3g", is_float ? limits.least : low);
        report_cell_number(page, limits.digits, 1);
        const double sqnr = formats_sqnr(result);
        if (sqnr == (double)INFINITY) {
            report_cell(page, "exact");
        } else {
            report_cell_number(page, sqnr, 1);
        }
        report_cell_number(page, formats_cosine(result), 6);
        if (isfinite(result->largest_error)) {
            report_cell(page, "%.3g", result->largest_error);
        } else {
            report_cell_number(page, result->largest_error, 0);
        }
        report_cell(page, "%llu", (unsigned long long)result->bytes);
        report_cell_number(page, formats_bits_per_value(all, kind), 2);
    }
    report_table_end(page);
}

static void add_formats(report *page)
{
    char notes[FORMATS_COUNT][120];
    plot_bit_row rows[FORMATS_COUNT];
    for (size_t i = 0; i < FORMATS_COUNT; i++) {
        const dynq_format format = (dynq_format)(DYNQ_FORMAT_FP64 + i);
        const formats_limits limits = formats_limits_of(format);
        if (limits.exponent > 0) {
            snprintf(notes[i], sizeof notes[i],
                     "%u exponent, %u fraction: %.2g to %.3g, %.1f digits", limits.exponent,
                     limits.fraction, limits.least, limits.largest, limits.digits);
        } else {
            snprintf(notes[i], sizeof notes[i], "codes -%.0f to %.0f, times a scale",
                     limits.largest, limits.largest);
        }
        rows[i] =
            (plot_bit_row){dynq_format_name(format), notes[i], limits.exponent, limits.fraction};
    }
    report_figure_begin(page, "Bits",
                        "The exponent is the range, the fraction is the precision. A scale is an "
                        "exponent that many integers share.");
    plot_bits(&page->body, "the bits of every format", rows, FORMATS_COUNT);
    report_figure_end(page);
}

/* The layer that has most to lose, or the only one. */
static size_t hardest(const formats_job *job)
{
    const size_t kind = formats_first_kind(DYNQ_FORMAT_INT8);
    size_t worst = 0;
    double least = INFINITY;
    for (size_t i = 0; i < job->source.count; i++) {
        const double sqnr = formats_sqnr(&job->reports[i].results[kind]);
        if (sqnr < least) {
            least = sqnr;
            worst = i;
        }
    }
    return worst;
}

exit_code formats_write_html(const formats_job *job)
{
    const formats_options *options = job->call->options;
    const size_t shown = hardest(job);
    double *values = NULL;
    char title[600], text[400];
    report page = {0};
    const exit_code code =
        formats_source_read(job->call, &job->source, &job->source.items[shown], &values);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    const char *path = job->call->arguments[0], *slash = strrchr(path, '/');
    snprintf(title, sizeof title, "%s%s%s: number formats", slash != NULL ? slash + 1 : path,
             options->tensor != NULL ? ", " : "", options->tensor != NULL ? options->tensor : "");
    formats_describe_job(job, text, sizeof text);
    report_begin(&page, title, text);
    add_cards(&page, &job->all);
    report_section(
        &page, "What is lost",
        "Integers have one scale for the tensor, for each column or for each group of 32 "
        "inputs: the largest magnitude divided by the largest code.");
    for (size_t kind = 0; kind < FORMATS_KINDS; kind++) {
        if (formats_warning(&job->all, kind, text, sizeof text)) {
            report_paragraph(&page, text);
        }
    }
    add_sqnr(&page, &job->all);
    add_formats(&page);
    add_table(&page, &job->all);
    formats_add_pictures(&page, &job->reports[shown], values, job->source.count > 1);
    if (job->source.count > 1) {
        formats_add_layers(&page, job->reports, job->source.count);
    }
    dynq_error error = {0};
    const dynq_status status = report_write(&page, options->html, &error);
    report_free(&page);
    free(values);
    return status == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(job->call->command, status, &error, options->html);
}
