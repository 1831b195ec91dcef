#include "tools/formats_command.h"

#include "tools/table.h"

#include <math.h>
#include <stdio.h>

/* What a table of layers has columns for. */
static const struct {
    formats_kind kind;
    const char *heading;
} layer_columns[] = {
    {{DYNQ_FORMAT_FP16, FORMATS_FLOAT}, "fp16"},
    {{DYNQ_FORMAT_BF16, FORMATS_FLOAT}, "bf16"},
    {{DYNQ_FORMAT_INT8, FORMATS_COLUMN}, "int8 col"},
    {{DYNQ_FORMAT_INT4, FORMATS_COLUMN}, "int4 col"},
    {{DYNQ_FORMAT_INT4, FORMATS_GROUPS}, "int4 /32"},
    {{DYNQ_FORMAT_INT2, FORMATS_GROUPS}, "int2 /32"},
};

#define LAYER_COLUMNS (sizeof layer_columns / sizeof *layer_columns)

static void add_significant(table *rows, const char *format, double value)
{
    char text[32];
    snprintf(text, sizeof text, format, value);
    table_text(rows, text);
}

static void add_sqnr(table *rows, double sqnr)
{
    if (sqnr == (double)INFINITY) {
        table_text(rows, "exact");
    } else {
        table_number(rows, sqnr, 1);
    }
}

/* "fp16", "int8 column". */
static void add_kind(table *rows, formats_kind kind)
{
    char name[32];
    const char *scaling = formats_scaling_name(kind.scaling);
    snprintf(name, sizeof name, "%s%s%s", dynq_format_name(kind.format),
             scaling[0] == '\0' ? "" : " ", scaling);
    table_text(rows, name);
}

/* What the formats can hold; integers as scaled for all of it. */
static void print_limits(const formats_report *measured, table_format format)
{
    table *rows = table_create();
    table_column(rows, "format", TABLE_LEFT);
    table_column(rows, "bits", TABLE_RIGHT);
    table_column(rows, "largest", TABLE_RIGHT);
    table_column(rows, "least normal", TABLE_RIGHT);
    table_column(rows, "least", TABLE_RIGHT);
    table_column(rows, "step", TABLE_RIGHT);
    table_column(rows, "digits", TABLE_RIGHT);
    for (size_t i = 0; i < FORMATS_COUNT; i++) {
        const dynq_format of = (dynq_format)(DYNQ_FORMAT_FP64 + i);
        const formats_limits limits = formats_limits_of(of);
        const int is_float = limits.exponent > 0;
        const double scale = is_float ? 1 : measured->results[formats_first_kind(of)].largest_scale;
        table_text(rows, dynq_format_name(of));
        table_integer(rows, dynq_format_bits(of));
        add_significant(rows, "%.5g", scale * limits.largest);
        if (is_float) {
            add_significant(rows, "%.3g", limits.least_normal);
        } else {
            table_empty(rows);
        }
        add_significant(rows, "%.3g", scale * limits.least);
        add_significant(rows, "%.3g", scale * limits.epsilon);
        table_number(rows, limits.digits, 1);
    }
    table_print(rows, format, stdout);
    table_free(rows);
}

static void print_errors(const formats_report *measured, table_format format)
{
    table *rows = table_create();
    table_column(rows, "stored as", TABLE_LEFT);
    table_column(rows, "SQNR dB", TABLE_RIGHT);
    table_column(rows, "cosine", TABLE_RIGHT);
    table_column(rows, "largest error", TABLE_RIGHT);
    table_column(rows, "bytes", TABLE_RIGHT);
    table_column(rows, "bits/value", TABLE_RIGHT);
    for (size_t kind = 0; kind < FORMATS_KINDS; kind++) {
        const formats_result *result = &measured->results[kind];
        add_kind(rows, formats_kinds[kind]);
        add_sqnr(rows, formats_sqnr(result));
        table_number(rows, formats_cosine(result), 6);
        add_significant(rows, "%.3g", result->largest_error);
        table_integer(rows, result->bytes);
        table_number(rows, formats_bits_per_value(measured, kind), 3);
    }
    table_print(rows, format, stdout);
    table_free(rows);
}

static void print_layers(const formats_job *job, table_format format)
{
    table *rows = table_create();
    table_column(rows, "SQNR dB of", TABLE_NAME);
    for (size_t i = 0; i < LAYER_COLUMNS; i++) {
        table_column(rows, layer_columns[i].heading, TABLE_RIGHT);
    }
    for (size_t i = 0; i < job->source.count; i++) {
        table_text(rows, job->reports[i].name);
        for (size_t c = 0; c < LAYER_COLUMNS; c++) {
            const size_t kind = formats_kind_number(layer_columns[c].kind);
            add_sqnr(rows, formats_sqnr(&job->reports[i].results[kind]));
        }
    }
    table_print(rows, format, stdout);
    table_free(rows);
}

/* One line for each format of each tensor, and of all where there are several; every number. */
static void print_csv(const formats_job *job)
{
    static const char *const headings[] = {
        "tensor",        "format",   "scaling",    "bits",    "largest", "least_normal",
        "least",         "step_min", "step_max",   "digits",  "sqnr_db", "cosine",
        "max_abs_error", "bytes",    "overflowed", "vanished"};
    table *rows = table_create();
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++) {
        table_column(rows, headings[i], i < 3 ? TABLE_LEFT : TABLE_RIGHT);
    }
    const size_t count = job->source.count;
    for (size_t i = 0; i < (count > 1 ? count + 1 : count); i++) {
        const formats_report *measured = i < count ? &job->reports[i] : &job->all;
        for (size_t kind = 0; kind < FORMATS_KINDS; kind++) {
            const formats_kind of = formats_kinds[kind];
            const formats_result *result = &measured->results[kind];
            const formats_limits limits = formats_limits_of(of.format);
            const int is_float = of.scaling == FORMATS_FLOAT;
            const double low = is_float ? 1 : result->least_scale;
            const double high = is_float ? 1 : result->largest_scale;
            table_text(rows, i < count ? measured->name : "(all)");
            table_text(rows, dynq_format_name(of.format));
            table_text(rows, is_float ? NULL : formats_scaling_name(of.scaling));
            table_integer(rows, dynq_format_bits(of.format));
            add_significant(rows, "%.9g", high * limits.largest);
            add_significant(rows, "%.9g", low * limits.least_normal);
            add_significant(rows, "%.9g", low * limits.least);
            add_significant(rows, "%.9g", low * limits.epsilon);
            add_significant(rows, "%.9g", high * limits.epsilon);
            table_number(rows, limits.digits, 2);
            table_number(rows, formats_sqnr(result), 4);
            table_number(rows, formats_cosine(result), 9);
            add_significant(rows, "%.9g", result->largest_error);
            table_integer(rows, result->bytes);
            table_integer(rows, result->overflowed);
            table_integer(rows, result->vanished);
        }
    }
    table_print(rows, TABLE_CSV, stdout);
    table_free(rows);
}

void formats_print_tables(const formats_job *job)
{
    const table_format format = job->call->common.format;
    const size_t count = job->source.count;
    char text[256];
    if (format == TABLE_CSV) {
        print_csv(job);
        return;
    }
    formats_describe_job(job, text, sizeof text);
    printf("%s\n\nWhat the formats can hold. Steps of floats are those at 1, of integers those\n"
           "of %s.\n\n",
           text, count > 1 ? "the largest scale of a tensor" : "one scale for the tensor");
    print_limits(&job->all, format);
    printf("\nWhat becomes of the values. Integers have scales for the tensor, for each\n"
           "column or for each group of %d inputs of a column.\n\n",
           FORMATS_GROUP);
    print_errors(&job->all, format);
    for (size_t kind = 0; kind < FORMATS_KINDS; kind++) {
        if (formats_warning(&job->all, kind, text, sizeof text)) {
            printf("\n%s\n", text);
        }
    }
    if (count > 1) {
        printf("\n");
        print_layers(job, format);
    }
}
