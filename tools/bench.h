/* What the parts of `dynq bench` share. */
#ifndef DYNQ_TOOLS_BENCH_H
#define DYNQ_TOOLS_BENCH_H

#include "tools/command.h"
#include "tools/requests.h"
#include "tools/runner.h"

#include <dynq/cpu.h>

typedef struct bench_options {
    option_sizes batches, sequences, threads;
    const char *data, *calibration, *html, *engine;
    uint64_t repeat;
    int explain, explain_nodes, bf16_dot;
    int granularity; /* a dynq_scope: the choices are in the same order */
    double min_speedup;
} bench_options;

/* Three engines in FP32, two in INT8 with dynamic and with static ranges. */
#define BENCH_MAX_LINES 7

/* What a run is given. */
typedef struct bench_point {
    size_t batch;    /* requests */
    size_t sequence; /* rows of each; 0: one, or as many as the texts of --data have */
    size_t *offsets; /* [batch + 1] */
} bench_point;

/* What is measured beside each other. */
typedef struct bench_line {
    char name[40];      /* "native int8-static" */
    const char *engine; /* "native" */
    const dynq_engine *table;
    dynq_model *model; /* borrowed */
    dynq_precision precision;
    const char *weights; /* format of its layers; FP32 where it is dequantized; "mixed" */
    const char *ranges;  /* "dynamic", "static", "mixed"; NULL in FP32 */
    int dequantized;     /* FP32 on the dequantized weights of an INT8 file */
    int tone;            /* of its bars */
} bench_line;

/* A line at one point and number of threads. */
typedef struct bench_run {
    const bench_line *line;
    const bench_point *point;
    size_t inner; /* runs of a repetition */
    uint32_t threads;
    statistics ms;              /* of one run */
    double create_ms, first_ms; /* making the session; its first run */
    double speedup;             /* against the baseline */
    const bench_line *baseline;
} bench_run;

/* Microseconds of one run in one node, split by phase. */
enum { BENCH_RANGE, BENCH_QUANTIZE, BENCH_GEMM, BENCH_EPILOGUE, BENCH_OTHER, BENCH_PHASES };
extern const char *const bench_phase_names[BENCH_PHASES];

typedef struct bench_node {
    char name[DYNQ_MAX_NAME + 1];
    double us[BENCH_PHASES];
} bench_node;

/* Where the time of one line goes at one point and number of threads. */
typedef struct bench_profile {
    const bench_line *line;
    const bench_point *point;
    uint32_t threads;
    bench_node *nodes;
    size_t node_count;
} bench_profile;

typedef struct bench {
    const command_call *call;
    const bench_options *options;
    dynq_model *model, *dynamic, *fixed; /* the file; made of it with dynamic and static ranges */
    bench_line lines[BENCH_MAX_LINES];
    size_t line_count;
    model_slot *slots; /* inputs of the model */
    bench_point *points;
    size_t point_count, sequence_count, batch_count; /* sequence by sequence */
    uint32_t *threads; /* ascending, each once, at most the usable CPUs */
    size_t thread_count;
    void **inputs; /* of each input of the model: rows of the largest point */
    size_t input_count;
    bench_run *runs; /* by threads, then point, then line */
    size_t run_count;
    bench_profile *profiles; /* empty without --explain */
    size_t profile_count;
    dynq_cpu cpu;
    const char *kernel;
} bench;

/* bench_lines.c: opens and quantizes the models and lists what is measured. Prints its error. */
exit_code bench_make_lines(bench *self);

/* bench_points.c: what is swept over, and the data. Prints its error. */
exit_code bench_make_points(bench *self);
size_t bench_point_rows(const bench_point *point);
/* "batch 8", "batch 8, sequence 128", "64 texts, 1428 tokens", and "2 threads". */
void bench_describe_point(const bench *self, const bench_point *point, uint32_t threads, char *text,
                          size_t size);

/* bench_measure.c */
exit_code bench_measure(bench *self);
exit_code bench_explain(bench *self);
double bench_node_total(const bench_node *node);
double bench_profile_total(const bench_profile *profile);

/* bench_text.c: the results on stdout, as the call asks. */
void bench_print(const bench *self);
void bench_print_json(const bench *self);
/* The machine and the build in one line. */
void bench_describe(const bench *self, char *text, size_t size);
/* What speedups are against. */
void bench_describe_baseline(const bench *self, char *text, size_t size);
extern const char bench_profile_note[];
/* Nodes of the layers of a stack, whose names differ in the number of the layer, added up. *nodes
 * is released with free(). */
size_t bench_sum_layers(const bench_profile *profile, bench_node **nodes);

/* bench_html.c: the page. Prints its error. */
exit_code bench_write_html(const bench *self);

#endif
