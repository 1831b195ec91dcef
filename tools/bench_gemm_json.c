#include "tools/bench_gemm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/machine.h"
#include "tools/output.h"

void gemm_command_line(char *text, size_t size)
{
    FILE *file = fopen("/proc/self/cmdline", "r");
    const size_t length = file != NULL ? fread(text, 1, size - 1, file) : 0;
    if (file != NULL) {
        fclose(file);
    }
    for (size_t i = 0; i + 1 < length; i++) {
        text[i] = text[i] == '\0' ? ' ' : text[i];
    }
    text[length] = '\0';
    const size_t program = strcspn(text, " ");
    for (size_t i = program; i > 0; i--) {
        if (text[i - 1] == '/') {
            memmove(text, text + i, length - i + 1);
            break;
        }
    }
}

static json_t *rates_json(const gemm_rates *rates)
{
    json_t *object = command_json_object();
    command_json_set(object, "int8_gops", command_json_number(1e-9 * rates->int8));
    command_json_set(object, "fp32_gflops", command_json_number(1e-9 * rates->fp32));
    command_json_set(object, "l2_gbs", command_json_number(1e-9 * rates->l2));
    command_json_set(object, "l3_gbs", command_json_number(1e-9 * rates->l3));
    command_json_set(object, "dram_gbs", command_json_number(1e-9 * rates->dram));
    return object;
}

static json_t *run_json(const gemm_bench *self, const gemm_point *point, int line)
{
    const gemm_run *run = &point->runs[line];
    const int which = self->lines[line].int8 ? 0 : 1;
    const gemm_summary compared = gemm_compare(self, point);
    json_t *object = command_json_object();
    command_json_set(object, "engine", command_json_string(self->lines[line].engine));
    command_json_set(object, "precision", command_json_string(self->lines[line].precision));
    command_json_set(object, "m", command_json_integer(point->shape.m));
    command_json_set(object, "k", command_json_integer(point->shape.k));
    command_json_set(object, "n", command_json_integer(point->shape.n));
    command_json_set(object, "threads", command_json_integer(point->threads));
    command_json_set(object, "cold", command_json_boolean(point->cold));
    command_json_set(object, "us_median", command_json_number(run->us.median));
    command_json_set(object, "us_min", command_json_number(run->us.min));
    command_json_set(object, "gops", command_json_number(run->gops));
    command_json_set(object, "fraction", command_json_number(run->fraction));
    command_json_set(object, "roofline_us", command_json_number(run->roofline_us));
    command_json_set(object, "beyond_us", command_json_number(run->us.median - run->roofline_us));
    command_json_set(object, "peak_gops", command_json_number(1e-9 * point->peak[which]));
    command_json_set(object, "read_gbs", command_json_number(1e-9 * point->read[which]));
    command_json_set(object, "repetitions", command_json_integer(run->us.count));
    command_json_set(object, "runs_each", command_json_integer(run->inner));
    command_json_set(object, "copies", command_json_integer(run->copies));
    if (line == GEMM_DYNAMIC) {
        command_json_set(object, "over_onednn", command_json_number(compared.over_onednn));
        command_json_set(object, "over_fp32", command_json_number(compared.over_fp32));
        command_json_set(object, "over_static", command_json_number(compared.over_static));
        command_json_set(object, "over_single", command_json_number(compared.over_single));
    }
    return object;
}

static json_t *summary_json(const gemm_bench *self)
{
    json_t *array = command_json_array();
    for (size_t i = 0; i < self->thread_count; i++) {
        for (int cold = 0; cold < 2; cold++) {
            for (int group = 0; group < GEMM_GROUPS; group++) {
                const gemm_summary sum = gemm_summarize(self, self->threads[i], cold, group);
                if (sum.points == 0) {
                    continue;
                }
                json_t *object = command_json_object();
                command_json_set(object, "rows", command_json_string(gemm_group_names[group]));
                command_json_set(object, "threads", command_json_integer(self->threads[i]));
                command_json_set(object, "cold", command_json_boolean(cold));
                command_json_set(object, "shapes", command_json_integer(sum.points));
                command_json_set(object, "fraction", command_json_number(sum.fraction));
                command_json_set(object, "over_onednn", command_json_number(sum.over_onednn));
                command_json_set(object, "over_fp32", command_json_number(sum.over_fp32));
                command_json_set(object, "over_static", command_json_number(sum.over_static));
                command_json_set(object, "over_single", command_json_number(sum.over_single));
                command_json_append(array, object);
            }
        }
    }
    return array;
}

void gemm_print_json(const gemm_bench *self)
{
    char command_line[512];
    json_t *object = command_json_new("bench-gemm");
    json_t *machine = machine_json(&self->cpu, self->kernel);
    json_t *peaks = command_json_array();
    json_t *runs = command_json_array();
    gemm_command_line(command_line, sizeof command_line);
    command_json_set(machine, "command", command_json_string(command_line));
    for (size_t i = 0; i < self->thread_count; i++) {
        json_t *rates = rates_json(&self->rates[i]);
        command_json_set(rates, "threads", command_json_integer(self->threads[i]));
        command_json_append(peaks, rates);
    }
    for (size_t i = 0; i < self->point_count; i++) {
        for (int line = 0; line < GEMM_LINES; line++) {
            if (self->lines[line].wanted) {
                command_json_append(runs, run_json(self, &self->points[i], line));
            }
        }
    }
    command_json_set(object, "machine", machine);
    command_json_set(object, "peak", rates_json(&self->single));
    command_json_set(object, "peaks", peaks);
    command_json_set(object, "runs", runs);
    command_json_set(object, "summary", summary_json(self));
    command_json_print(object);
}

void gemm_print_csv(const gemm_bench *self)
{
    static const char *const headings[] = {
        "engine",    "precision", "m",    "k",        "n",           "threads",   "cold",
        "us_median", "us_min",    "gops", "fraction", "roofline_us", "peak_gops", "read_gbs"};
    table *rows = table_create();
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++) {
        table_column(rows, headings[i], TABLE_LEFT);
    }
    for (size_t i = 0; i < self->point_count * GEMM_LINES; i++) {
        const gemm_point *point = &self->points[i / GEMM_LINES];
        const gemm_line *line = &self->lines[i % GEMM_LINES];
        const gemm_run *run = &point->runs[i % GEMM_LINES];
        if (!line->wanted) {
            continue;
        }
        table_text(rows, line->engine);
        table_text(rows, line->precision);
        table_integer(rows, point->shape.m);
        table_integer(rows, point->shape.k);
        table_integer(rows, point->shape.n);
        table_integer(rows, point->threads);
        table_integer(rows, (uint64_t)point->cold);
        table_number(rows, run->us.median, 4);
        table_number(rows, run->us.min, 4);
        table_number(rows, run->gops, 3);
        table_number(rows, run->fraction, 4);
        table_number(rows, run->roofline_us, 4);
        table_number(rows, 1e-9 * point->peak[line->int8 ? 0 : 1], 3);
        table_number(rows, 1e-9 * point->read[line->int8 ? 0 : 1], 3);
    }
    table_print(rows, TABLE_CSV, stdout);
    table_free(rows);
}
