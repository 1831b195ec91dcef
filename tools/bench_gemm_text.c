#include "tools/bench_gemm.h"

#include <math.h>
#include <stdio.h>

#include "tools/baseline.h"
#include "tools/machine.h"

static const char legend[] =
    "Microseconds of one layer, FP32 in to FP32 out, medians of interleaved rounds. int8: range "
    "found in every call; static: range known before; dnn-i8: oneDNN INT8 with our range, "
    "quantization and epilogue; dnn-f32, blas-f32, own-f32: FP32 of oneDNN, OpenBLAS and dynq. "
    "roof %: what int8 reaches of the roofline, which is the longer of all operations at the "
    "peak and all weights at the bandwidth, both measured in the same rounds. vs i8, vs f32: how "
    "many times as fast int8 is as oneDNN INT8 and as the fastest foreign FP32.";
static const char legend_single[] = " vs 1t: and as itself with one thread.";

static int has_line(const gemm_bench *self, int line)
{
    return self->lines[line].wanted;
}

/* Three digits or more, so that a column stays narrow. */
static void add_us(table *rows, double us)
{
    table_number(rows, us, us < 99.995 ? 2 : us < 999.95 ? 1 : 0);
}

static void print_rates(const gemm_bench *self)
{
    static const char *const headings[] = {"INT8 GOPS", "FP32 GFLOPS", "L2 GB/s", "L3 GB/s",
                                           "DRAM GB/s"};
    table *rows = table_create();
    table_column(rows, "the machine's limits", TABLE_LEFT);
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++) {
        table_column(rows, headings[i], TABLE_RIGHT);
    }
    for (size_t i = 0; i < self->thread_count; i++) {
        const gemm_rates *rates = &self->rates[i];
        char name[32];
        snprintf(name, sizeof name, "%u thread%s", self->threads[i],
                 self->threads[i] == 1 ? "" : "s");
        table_text(rows, name);
        table_number(rows, 1e-9 * rates->int8, 0);
        table_number(rows, 1e-9 * rates->fp32, 0);
        table_number(rows, 1e-9 * rates->l2, 1);
        table_number(rows, 1e-9 * rates->l3, 1);
        table_number(rows, 1e-9 * rates->dram, 1);
    }
    table_print(rows, self->call->common.format, stdout);
    table_free(rows);
}

/* Where there is a column that compares with one thread, it takes the place of our FP32. */
static int shows(const gemm_bench *self, int line, int single)
{
    return has_line(self, line) && !(single && line == GEMM_NATIVE_FP32);
}

static table *begin_points(const gemm_bench *self, const char *first, table_align align, int single)
{
    table *rows = table_create();
    table_column(rows, first, align);
    for (int line = 0; line < GEMM_LINES; line++) {
        if (shows(self, line, single)) {
            table_column(rows, self->lines[line].heading, TABLE_RIGHT);
        }
    }
    if (has_line(self, GEMM_DYNAMIC)) {
        table_column(rows, "roof %", TABLE_RIGHT);
        table_column(rows, "vs i8", TABLE_RIGHT);
        table_column(rows, "vs f32", TABLE_RIGHT);
        if (single) {
            table_column(rows, "vs 1t", TABLE_RIGHT);
        }
    }
    return rows;
}

static void add_point(const gemm_bench *self, const gemm_point *point, int single, table *rows)
{
    for (int line = 0; line < GEMM_LINES; line++) {
        if (shows(self, line, single)) {
            add_us(rows, point->runs[line].us.median);
        }
    }
    if (has_line(self, GEMM_DYNAMIC)) {
        const gemm_summary compared = gemm_compare(self, point);
        table_number(rows, 100 * compared.fraction, 1);
        table_number(rows, compared.over_onednn, 2);
        table_number(rows, compared.over_fp32, 2);
        if (single) {
            table_number(rows, compared.over_single, 2);
        }
    }
}

static int same_table(const gemm_bench *self, const gemm_point *a, const gemm_point *b)
{
    const int same_layer = a->shape.k == b->shape.k && a->shape.n == b->shape.n;
    return a->threads == b->threads && a->cold == b->cold &&
           (same_layer || self->call->common.format == TABLE_MARKDOWN);
}

static void print_title(const gemm_bench *self, const gemm_point *point)
{
    const char *plural = point->threads == 1 ? "" : "s";
    const char *where = point->cold ? "cold" : "hot";
    if (self->call->common.format == TABLE_MARKDOWN) {
        printf("\n%u thread%s, %s weights:\n\n", point->threads, plural, where);
        return;
    }
    const double bytes = (double)point->shape.k * (double)point->shape.n;
    printf("\nK %zu, N %zu, %u thread%s, %s weights: %.2f MB at %.1f GB/s, FP32 at %.1f GB/s\n",
           point->shape.k, point->shape.n, point->threads, plural, where, 1e-6 * bytes,
           1e-9 * point->read[0], 1e-9 * point->read[1]);
}

/* A table for each K x N, or in Markdown for all of them. */
static void print_points(const gemm_bench *self)
{
    const int markdown = self->call->common.format == TABLE_MARKDOWN;
    for (size_t i = 0; i < self->point_count;) {
        const gemm_point *first = &self->points[i];
        const int single = first->threads > 1 && self->threads[0] == 1;
        table *rows = markdown ? begin_points(self, "M x K x N", TABLE_LEFT, single)
                               : begin_points(self, "M", TABLE_RIGHT, single);
        print_title(self, first);
        for (; i < self->point_count && same_table(self, first, &self->points[i]); i++) {
            const gemm_shape *shape = &self->points[i].shape;
            char name[64];
            snprintf(name, sizeof name, "%zu x %zu x %zu", shape->m, shape->k, shape->n);
            if (markdown) {
                table_text(rows, name);
            } else {
                table_integer(rows, shape->m);
            }
            add_point(self, &self->points[i], single, rows);
        }
        table_print(rows, self->call->common.format, stdout);
        table_free(rows);
    }
}

static void add_summary(const gemm_bench *self, uint32_t threads, int cold, int group, table *rows)
{
    const gemm_summary sum = gemm_summarize(self, threads, cold, group);
    if (sum.points == 0) {
        return;
    }
    char name[64];
    snprintf(name, sizeof name, "%s, %u thread%s, %s", gemm_group_names[group], threads,
             threads == 1 ? "" : "s", cold ? "cold" : "hot");
    table_text(rows, name);
    table_integer(rows, sum.points);
    table_number(rows, 100 * sum.fraction, 1);
    table_number(rows, sum.over_onednn, 2);
    table_number(rows, sum.over_fp32, 2);
    table_number(rows, sum.over_static, 3);
    table_number(rows, sum.over_single, 2);
}

static void print_summary(const gemm_bench *self)
{
    static const char *const headings[] = {"shapes", "roof %",     "vs i8",
                                           "vs f32", "dyn/static", "vs 1t"};
    table *rows = table_create();
    table_column(rows, "geometric means", TABLE_LEFT);
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++) {
        table_column(rows, headings[i], TABLE_RIGHT);
    }
    for (size_t i = 0; i < self->thread_count; i++) {
        for (int cold = 0; cold < 2; cold++) {
            for (int group = 0; group < GEMM_GROUPS; group++) {
                add_summary(self, self->threads[i], cold, group, rows);
            }
        }
    }
    puts("");
    table_print(rows, self->call->common.format, stdout);
    table_free(rows);
}

void gemm_print(const gemm_bench *self)
{
    char text[1024];
    machine_describe(&self->cpu, self->kernel, text, sizeof text);
    option_print_wrapped(stdout, text, 0, 0);
    gemm_command_line(text, sizeof text);
    printf("Command: `%s`\n\n", text);
    print_rates(self);
    puts("");
    snprintf(text, sizeof text, "%s%s", legend, self->thread_count > 1 ? legend_single : "");
    option_print_wrapped(stdout, text, 0, 0);
    if (baseline_warning(text, sizeof text)) {
        option_print_wrapped(stdout, text, 0, 0);
    }
    print_points(self);
    if (has_line(self, GEMM_DYNAMIC)) {
        print_summary(self);
    }
}
