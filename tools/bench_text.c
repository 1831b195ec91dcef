#include "tools/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/baseline.h"
#include "tools/machine.h"
#include "tools/output.h"

const char bench_profile_note[] =
    "Microseconds of a run by node and phase. Profiled runs do products and epilogues apart and "
    "are slower: these times show where time goes, they are not the latency. A * in a name stands "
    "for "
    "the layers of a stack, added up.";

void bench_describe(const bench *self, char *text, size_t size)
{
    machine_describe(&self->cpu, self->kernel, text, size);
}

void bench_describe_baseline(const bench *self, char *text, size_t size)
{
    const int foreign = self->runs[0].baseline->table != NULL;
    snprintf(text, size, "Speedup is against %s in the same rounds (base)%s",
             foreign ? "the faster of OpenBLAS and oneDNN FP32"
                     : "the native FP32, because this build has neither OpenBLAS nor oneDNN",
             self->runs[0].baseline->dequantized
                 ? "; FP32 runs on the dequantized weights of the INT8 file."
                 : ".");
}

static void add_sequence(table *rows, const bench_point *point)
{
    if (point->sequence > 0) {
        table_integer(rows, point->sequence);
    } else {
        table_empty(rows);
    }
}

/* For a program: one line a run, everything in columns of its own. */
static void print_csv(const bench *self)
{
    static const char *const headings[] = {"engine",  "precision", "ranges",   "batch",
                                           "threads", "ms_median", "ms_min",   "ms_mean",
                                           "ms_sd",   "ms_p99",    "ms_first", "ms_create",
                                           "speedup", "baseline",  "sequence"};
    table *rows = table_create();
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++) {
        table_column(rows, headings[i], i < 3 || i == 13 ? TABLE_LEFT : TABLE_RIGHT);
    }
    for (size_t i = 0; i < self->run_count; i++) {
        const bench_run *run = &self->runs[i];
        table_text(rows, run->line->engine);
        table_text(rows, dynq_precision_name(run->line->precision));
        table_text(rows, run->line->ranges);
        table_integer(rows, run->point->batch);
        table_integer(rows, run->threads);
        table_number(rows, run->ms.median, 6);
        table_number(rows, run->ms.min, 6);
        table_number(rows, run->ms.mean, 6);
        table_number(rows, run->ms.sd, 6);
        table_number(rows, run->ms.p99, 6);
        table_number(rows, run->first_ms, 6);
        table_number(rows, run->create_ms, 6);
        table_number(rows, run->speedup, 4);
        table_text(rows, run->baseline->engine);
        add_sequence(rows, run->point);
    }
    table_print(rows, TABLE_CSV, stdout);
    table_free(rows);
}

/* Of microseconds: a tenth says nothing where one has tens of milliseconds. */
static int decimals_of_runs(const bench *self)
{
    double slowest = 0;
    for (size_t i = 0; i < self->run_count; i++) {
        slowest = fmax(slowest, self->runs[i].ms.median);
    }
    return slowest < 10 ? 1 : 0;
}

/* For a person: a heading for each batch and number of threads, then its lines. */
static void print_runs(const bench *self)
{
    static const char *const headings[] = {"median", "min", "mean", "+- sd", "P99", "speedup"};
    const size_t columns = sizeof headings / sizeof *headings;
    const int decimals = decimals_of_runs(self);
    table *rows = table_create();
    table_column(rows, "", TABLE_LEFT);
    for (size_t i = 0; i < columns; i++) {
        table_column(rows, headings[i], TABLE_RIGHT);
    }
    for (size_t i = 0; i < self->run_count; i++) {
        const bench_run *run = &self->runs[i];
        char name[120];
        if (i % self->line_count == 0) {
            bench_describe_point(self, run->point, run->threads, name, sizeof name);
            table_text(rows, name);
            for (size_t c = 0; c < columns; c++) {
                table_text(rows, "");
            }
        }
        snprintf(name, sizeof name, "  %s", run->line->name);
        table_text(rows, name);
        table_number(rows, 1e3 * run->ms.median, decimals);
        table_number(rows, 1e3 * run->ms.min, decimals);
        table_number(rows, 1e3 * run->ms.mean, decimals);
        table_number(rows, 1e3 * run->ms.sd, decimals);
        table_number(rows, 1e3 * run->ms.p99, decimals);
        if (run->line == run->baseline) {
            table_text(rows, "1 (base)");
        } else {
            table_number(rows, run->speedup, 2);
        }
    }
    table_print(rows, self->call->common.format, stdout);
    table_free(rows);
}

/* What a caller waits for before the first result. */
static void print_starts(const bench *self)
{
    table *rows = table_create();
    table_column(rows, "until the first result", TABLE_LEFT);
    table_column(rows, "batch", TABLE_RIGHT);
    if (self->points[0].sequence > 0) {
        table_column(rows, "sequence", TABLE_RIGHT);
    }
    table_column(rows, "threads", TABLE_RIGHT);
    table_column(rows, "session ms", TABLE_RIGHT);
    table_column(rows, "first run ms", TABLE_RIGHT);
    for (size_t i = 0; i < self->run_count; i++) {
        const bench_run *run = &self->runs[i];
        table_text(rows, run->line->name);
        table_integer(rows, run->point->batch);
        if (self->points[0].sequence > 0) {
            add_sequence(rows, run->point);
        }
        table_integer(rows, run->threads);
        table_number(rows, run->create_ms, 3);
        table_number(rows, run->first_ms, 3);
    }
    puts("");
    table_print(rows, self->call->common.format, stdout);
    table_free(rows);
}

/* Nine columns must fit a terminal: a fraction of a microsecond says nothing where there are
 * thousands. */
static int decimals_of(double total)
{
    return total < 1000 ? 2 : total < 10000 ? 1 : 0;
}

static void add_profile_rows(table *rows, const bench_node *nodes, size_t count, double total)
{
    const int decimals = decimals_of(total);
    for (size_t i = 0; i < count; i++) {
        const bench_node *node = &nodes[i];
        table_text(rows, node->name);
        for (size_t phase = 0; phase < BENCH_PHASES; phase++) {
            table_number(rows, node->us[phase], decimals);
        }
        table_number(rows, bench_node_total(node), decimals);
        table_number(rows, total > 0 ? 100 * bench_node_total(node) / total : NAN, 1);
    }
}

static void print_profile(const bench *self, const bench_profile *profile)
{
    const double total = bench_profile_total(profile);
    double sums[BENCH_PHASES] = {0};
    bench_node *layers = NULL;
    char point[120];
    table *rows = table_create();
    table_column(rows, "node", TABLE_NAME);
    for (size_t phase = 0; phase < BENCH_PHASES; phase++) {
        table_column(rows, bench_phase_names[phase], TABLE_RIGHT);
    }
    table_column(rows, "us", TABLE_RIGHT);
    table_column(rows, "share %", TABLE_RIGHT);
    if (self->options->explain_nodes) {
        add_profile_rows(rows, profile->nodes, profile->node_count, total);
    } else {
        const size_t count = bench_sum_layers(profile, &layers);
        add_profile_rows(rows, layers, count, total);
    }
    for (size_t i = 0; i < profile->node_count; i++) {
        for (size_t phase = 0; phase < BENCH_PHASES; phase++) {
            sums[phase] += profile->nodes[i].us[phase];
        }
    }
    table_text(rows, "all");
    for (size_t phase = 0; phase < BENCH_PHASES; phase++) {
        table_number(rows, sums[phase], decimals_of(total));
    }
    table_number(rows, total, decimals_of(total));
    table_number(rows, 100, 1);
    table_text(rows, "share %");
    for (size_t phase = 0; phase < BENCH_PHASES; phase++) {
        table_number(rows, total > 0 ? 100 * sums[phase] / total : NAN, 1);
    }
    table_number(rows, 100, 1);
    table_text(rows, "");
    bench_describe_point(self, profile->point, profile->threads, point, sizeof point);
    printf("\n%s, %s:\n\n", profile->line->name, point);
    table_print(rows, self->call->common.format, stdout);
    table_free(rows);
    free(layers);
}

void bench_print(const bench *self)
{
    char text[1024];
    if (self->call->common.format == TABLE_CSV) {
        print_csv(self);
        return;
    }
    bench_describe(self, text, sizeof text);
    option_print_wrapped(stdout, text, 0, 0);
    bench_describe_baseline(self, text, sizeof text);
    option_print_wrapped(stdout, text, 0, 0);
    if (baseline_warning(text, sizeof text)) {
        option_print_wrapped(stdout, text, 0, 0);
    }
    puts("\nMicroseconds of a run:\n");
    print_runs(self);
    print_starts(self);
    if (self->profile_count > 0) {
        puts("");
        option_print_wrapped(stdout, bench_profile_note, 0, 0);
    }
    for (size_t i = 0; i < self->profile_count; i++) {
        print_profile(self, &self->profiles[i]);
    }
}

static void set_point(json_t *object, const bench_point *point)
{
    command_json_set(object, "batch", command_json_integer(point->batch));
    command_json_set(object, "sequence",
                     point->sequence > 0 ? command_json_integer(point->sequence) : json_null());
    command_json_set(object, "rows", command_json_integer(bench_point_rows(point)));
}

static json_t *run_json(const bench_run *run)
{
    json_t *object = command_json_object();
    command_json_set(object, "engine", command_json_string(run->line->engine));
    command_json_set(object, "precision",
                     command_json_string(dynq_precision_name(run->line->precision)));
    command_json_set(object, "ranges", command_json_string(run->line->ranges));
    command_json_set(object, "weights", command_json_string(run->line->weights));
    command_json_set(object, "dequantized", command_json_boolean(run->line->dequantized));
    set_point(object, run->point);
    command_json_set(object, "threads", command_json_integer(run->threads));
    command_json_set(object, "ms_median", command_json_number(run->ms.median));
    command_json_set(object, "ms_min", command_json_number(run->ms.min));
    command_json_set(object, "ms_mean", command_json_number(run->ms.mean));
    command_json_set(object, "ms_sd", command_json_number(run->ms.sd));
    command_json_set(object, "ms_p99", command_json_number(run->ms.p99));
    command_json_set(object, "ms_create", command_json_number(run->create_ms));
    command_json_set(object, "ms_first", command_json_number(run->first_ms));
    command_json_set(object, "repetitions", command_json_integer(run->ms.count));
    command_json_set(object, "runs_each", command_json_integer(run->inner));
    command_json_set(object, "speedup", command_json_number(run->speedup));
    command_json_set(object, "baseline", command_json_string(run->baseline->engine));
    return object;
}

static json_t *profile_json(const bench_profile *profile)
{
    json_t *object = command_json_object();
    json_t *nodes = command_json_array();
    for (size_t i = 0; i < profile->node_count; i++) {
        const bench_node *node = &profile->nodes[i];
        json_t *entry = command_json_object();
        command_json_set(entry, "name", command_json_string(node->name));
        for (size_t phase = 0; phase < BENCH_PHASES; phase++) {
            char key[32];
            snprintf(key, sizeof key, "%s_us", bench_phase_names[phase]);
            command_json_set(entry, key, command_json_number(node->us[phase]));
        }
        command_json_append(nodes, entry);
    }
    command_json_set(object, "engine", command_json_string(profile->line->engine));
    command_json_set(object, "precision",
                     command_json_string(dynq_precision_name(profile->line->precision)));
    command_json_set(object, "ranges", command_json_string(profile->line->ranges));
    set_point(object, profile->point);
    command_json_set(object, "threads", command_json_integer(profile->threads));
    command_json_set(object, "nodes", nodes);
    return object;
}

void bench_print_json(const bench *self)
{
    json_t *object = command_json_new("bench");
    json_t *runs = command_json_array();
    for (size_t i = 0; i < self->run_count; i++) {
        command_json_append(runs, run_json(&self->runs[i]));
    }
    command_json_set(object, "model", command_json_string(self->call->arguments[0]));
    command_json_set(object, "machine", machine_json(&self->cpu, self->kernel));
    command_json_set(object, "runs", runs);
    if (self->options->explain || self->options->explain_nodes) {
        json_t *profiles = command_json_array();
        for (size_t i = 0; i < self->profile_count; i++) {
            command_json_append(profiles, profile_json(&self->profiles[i]));
        }
        command_json_set(object, "explain", profiles);
    }
    command_json_print(object);
}
