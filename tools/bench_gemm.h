/* What the parts of `dynq bench gemm` share. */
#ifndef DYNQ_TOOLS_BENCH_GEMM_H
#define DYNQ_TOOLS_BENCH_GEMM_H

#include "tools/command.h"
#include "tools/statistics.h"

#include <dynq/cpu.h>
#include <dynq/model.h>
#include <dynq/probe.h>
#include <dynq/session.h>

typedef struct gemm_options {
    const char *shapes, *engines;
    option_sizes threads;
    uint64_t repeat, cold_mib;
    int weights;     /* 1 hot, 2 cold, 3 both */
    int cold;        /* the same as weights = 2 */
    int scheme;      /* a dynq_scheme: the choices are in the same order */
    int granularity; /* 1 tensor, 2 row */
} gemm_options;

typedef struct gemm_shape {
    size_t m, k, n;
} gemm_shape;

/* What is measured beside each other. */
enum {
    GEMM_DYNAMIC, /* native INT8, the range found in every run */
    GEMM_STATIC,  /* native INT8, the range known */
    GEMM_ONEDNN_INT8,
    GEMM_ONEDNN_FP32,
    GEMM_OPENBLAS_FP32,
    GEMM_NATIVE_FP32,
    GEMM_LINES
};

typedef struct gemm_line {
    const char *heading; /* of its column */
    const char *engine;
    const char *precision; /* "int8", "int8-static", "fp32" */
    int int8;
    int wanted; /* in this build and not excluded */
    const dynq_engine *table;
} gemm_line;

/* One line at one point; all zero where it was not measured. */
typedef struct gemm_run {
    statistics us;        /* of one call */
    size_t inner, copies; /* calls of a sample; copies of the weights that take turns */
    double roofline_us, fraction, gops;
} gemm_run;

/* Rates of the machine, per second; NAN where a level is unknown. */
typedef struct gemm_rates {
    double int8, fp32, l2, l3, dram;
} gemm_rates;

/* A shape at one number of threads, hot or cold. */
typedef struct gemm_point {
    gemm_shape shape;
    uint32_t threads;
    int cold;
    double peak[2], read[2]; /* medians of the rounds: [0] INT8, [1] FP32 and weights of its size */
    gemm_run runs[GEMM_LINES];
} gemm_point;

typedef struct gemm_bench {
    const command_call *call;
    const gemm_options *options;
    gemm_line lines[GEMM_LINES];
    gemm_shape *shapes;
    size_t shape_count;
    uint32_t *threads; /* ascending, each once, at most the usable CPUs */
    size_t thread_count;
    gemm_rates single;  /* of one thread */
    gemm_rates *rates;  /* by threads */
    gemm_point *points; /* by threads, then hot before cold, then shapes */
    size_t point_count;
    dynq_cpu cpu;
    const char *kernel;
    size_t cold_bytes; /* what the weights of one engine rotate over */
    int capped;        /* less than that somewhere, because of the limit on memory */
} gemm_bench;

/* bench_gemm_measure.c: everything, by threads, then shapes. Prints its error. */
exit_code gemm_measure(gemm_bench *self);

/* bench_gemm_peak.c */
/* Bytes that cannot stay in the last cache. */
size_t gemm_beyond_caches(const dynq_cpu *cpu);
dynq_status gemm_measure_rates(const gemm_bench *self, dynq_thread_pool *pool, gemm_rates *rates,
                               dynq_error *error);

/* Probes of one point: amounts that take as long as a sample. */
typedef struct gemm_probe {
    dynq_probe *probe;
    int cold;
    size_t bytes[2], passes[2]; /* read at once, how often */
    size_t total, next;         /* cold: of the memory, and where to go on */
    double operations[2];
} gemm_probe;

/* `bytes`: of the weights in INT8 and in FP32. */
dynq_status gemm_probe_open(const gemm_bench *self, dynq_thread_pool *pool, int cold,
                            const size_t bytes[2], gemm_probe *probe, dynq_error *error);
void gemm_probe_close(gemm_probe *probe);
/* [0] INT8, [1] FP32: operations a second, and bytes a second from where such weights are. */
dynq_status gemm_probe_sample(gemm_probe *probe, int which, double *peak, double *read,
                              dynq_error *error);

/* bench_gemm_layer.c: weights of one K x N, as models. */
typedef struct gemm_weights gemm_weights;
/* `x` are `elements` activations, for the static range. */
dynq_status gemm_weights_create(const gemm_bench *self, size_t k, size_t n, const float *x,
                                size_t elements, gemm_weights **weights, dynq_error *error);
void gemm_weights_free(gemm_weights *weights);

/* A line at one point, with as many copies of its weights as take turns. */
typedef struct gemm_layer gemm_layer;
typedef struct gemm_layer_request {
    int line; /* GEMM_... */
    size_t rows, copies;
    const float *x;
    float *y;
    dynq_thread_pool *pool;
} gemm_layer_request;
dynq_status gemm_layer_create(const gemm_bench *self, gemm_weights *weights,
                              const gemm_layer_request *request, gemm_layer **layer,
                              dynq_error *error);
void gemm_layer_free(gemm_layer *layer);
/* The mean of `calls` calls in microseconds. With several copies each call takes the next; its
 * session's own memory is warm, as in a network, only the weights are not. */
dynq_status gemm_layer_time(gemm_layer *layer, size_t calls, double *us, dynq_error *error);
/* Bytes that one more copy needs, and how many bytes of weights a run reads. */
size_t gemm_copy_bytes(int line, size_t rows, size_t k, size_t n);
size_t gemm_weight_bytes(int line, size_t k, size_t n);

/* bench_gemm_summary.c */
enum { GEMM_GROUPS = 4 };
extern const char *const gemm_group_names[GEMM_GROUPS];
/* Geometric means over the points of a group (rows of M) at one number of threads, hot or cold; NAN
 * where there is nothing to compare. */
typedef struct gemm_summary {
    size_t points;
    double fraction;    /* of the roofline, the dynamic layer */
    double over_onednn; /* time of oneDNN INT8 by ours */
    double over_fp32;   /* time of the best FP32 by ours */
    double over_static; /* our dynamic time by our static time */
    double over_single; /* time of one thread by ours */
} gemm_summary;
gemm_summary gemm_summarize(const gemm_bench *self, uint32_t threads, int cold, int group);
/* Of one point; NAN where there is nothing to compare. */
gemm_summary gemm_compare(const gemm_bench *self, const gemm_point *point);

/* bench_gemm_text.c, bench_gemm_json.c: the results on stdout. */
void gemm_print(const gemm_bench *self);
void gemm_print_csv(const gemm_bench *self);
void gemm_print_json(const gemm_bench *self);
/* The command as it was typed, without the folder of the program. */
void gemm_command_line(char *text, size_t size);

#endif
