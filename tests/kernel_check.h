/* The check of every kernel against "ref", bit for bit. A case is one call of one function of the
 * kernel table: its operands and results lie in memory that ends at, or begins behind, an unmapped
 * page, operands read-only. A case follows from the seed, its function and its index alone. */
#ifndef DYNQ_TESTS_KERNEL_CHECK_H
#define DYNQ_TESTS_KERNEL_CHECK_H

#include "kernels/kernel.h"
#include "tests/guarded.h"

#include <stdio.h>

typedef enum case_input {
    INPUT_X, /* x or q */
    INPUT_PANELS,
    INPUT_PRODUCTS, /* of an epilogue alone */
    INPUT_OTHER,
    INPUT_KEYS,
    INPUT_VALUES,
    INPUT_WEIGHT,
    INPUT_BIAS,
    INPUT_RESIDUAL,
    INPUT_COLUMN_SCALE,
    INPUT_COLUMN_SUM,
    INPUT_ROW_SCALE, /* or the inverse */
    INPUT_ROW_ZERO,
    INPUT_IDS,
    INPUT_LEVELS,
    INPUT_COUNT
} case_input;

typedef enum case_filling {
    FILLING_MODERATE, /* what networks have */
    FILLING_EQUAL,    /* one value */
    FILLING_FINITE,   /* any exponent */
    FILLING_ANY,      /* infinities and NaN as well */
    FILLING_COUNT
} case_filling;

extern const char *const case_filling_names[FILLING_COUNT];

typedef enum output_kind {
    OUTPUT_CODES,
    OUTPUT_INTEGERS,
    OUTPUT_FLOATS,        /* two NaN are equal */
    OUTPUT_RANGES,        /* of given numbers */
    OUTPUT_SCRATCH,       /* nobody's but the function's */
    OUTPUT_RESULT_RANGES, /* of numbers that may have become NaN: all that are not finite are equal
                           */
} output_kind;

/* Memory that a function writes: rows x columns elements, and what lies between rows is not its. */
typedef struct case_output {
    output_kind kind;
    const char *name;
    size_t rows, columns, stride;
    size_t bytes;
    guarded memory;
    uint8_t *place;              /* of `bytes` bytes in `memory` */
    uint8_t *initial, *expected; /* [bytes]: before the call, and after that of "ref" */
} case_output;

typedef struct case_shape {
    size_t rows, columns, k;
} case_shape;

enum { CASE_OUTPUTS = 3, CASE_MOST_SLACK = 4096 };

typedef struct kernel_case {
    uint64_t random; /* state of the generator */
    size_t index;
    int at_end;              /* memory ends at an unmapped page, or else begins behind one ... */
    size_t slack;            /* ... with so many bytes between */
    const case_shape *timed; /* not NULL: no random case but a plain one of this shape ... */
    dynq_activation timed_activation; /* ... with this activation */
    dynq_weight_codes timed_codes;    /* ... and these weights in a product of INT8 */
    dynq_format timed_format;         /* ... and weights of a product of FP32 in this format */
    const char *codes;                /* what the codes of a product are like */
    case_filling filling;
    guarded inputs[INPUT_COUNT];
    case_output outputs[CASE_OUTPUTS];
    size_t output_count;
    char reason[256]; /* what is wrong with the last call */
    union {
        dynq_gemm_s8 gemm_s8;
        dynq_gemm_f32 gemm_f32;
        dynq_quantize_block quantize;
        dynq_float_block floats;
        dynq_embed_block embed;
        dynq_pool_block pool;
        dynq_attention_block attention;
        dynq_error_block errors;
        struct {
            size_t rows, columns, stride;
            const void *products;
            dynq_dequantize dequantize;
            dynq_epilogue epilogue;
        } products;
    } call;
} kernel_case;

/* How one function of the kernel table is checked. */
typedef struct check_function {
    const char *name;
    void (*make)(kernel_case *c);
    void (*run)(const kernel_case *c, const dynq_kernel *kernel);
    void (*describe)(const kernel_case *c, FILE *out);
} check_function;

/* One for each function of the kernel table, NULL past the last. */
const check_function *check_function_at(size_t index);
const check_function *check_function_find(const char *name);
extern const check_function check_gemm_s8, check_gemm_f32, check_epilogue_s32, check_epilogue_f32;
extern const check_function check_range, check_quantize, check_activate, check_add, check_multiply,
    check_softmax, check_layer_norm, check_normalize;
extern const check_function check_embed, check_pool, check_errors;
extern const check_function check_attention_f32, check_attention_prepare, check_attention_s8;

/* kernel_check_case.c: making a case. */
void case_create(kernel_case *c);
void case_free(kernel_case *c);
/* Empties the case and seeds its generator. */
void case_begin(kernel_case *c, uint64_t seed, const char *function, size_t index);

uint64_t case_random(kernel_case *c);
/* low to high, both included. */
size_t case_between(kernel_case *c, size_t low, size_t high);
/* True once in `one_in` times, never in a timed case: what is not plain is left to chance. */
int case_chance(kernel_case *c, size_t one_in);
/* Elements between two rows. */
size_t case_gap(kernel_case *c, size_t most);
dynq_activation case_activation(kernel_case *c);
case_filling case_some_filling(kernel_case *c);

/* Room for an operand: the writable side, and what the kernel is given for it. */
void *case_room(kernel_case *c, case_input input, size_t bytes);
const void *case_view(const kernel_case *c, case_input input, const void *room);
const float *case_floats(kernel_case *c, case_input input, size_t count, case_filling filling);
const int32_t *case_integers(kernel_case *c, case_input input, size_t count, int64_t low,
                             int64_t high);
/* A result; the caller may change what is there `initial`ly. */
case_output *case_result(kernel_case *c, output_kind kind, const char *name, size_t rows,
                         size_t columns, size_t stride);
/* The results' range, of `rows` rows: often one, or one for each row, or none. */
dynq_range_bits *case_result_range(kernel_case *c, size_t rows, size_t *range_step);
/* Of functions on rows: the first cases go through all small widths; now and then one is long. */
case_shape case_float_shape(kernel_case *c);
/* Elements from the first of row 0 to the last of the last row. */
size_t case_span(size_t rows, size_t stride, size_t columns);

/* kernel_check_codes.c: what weights are like, and panels of codes or groups of them for a product
 * that has its shape; also the sums of its columns. Codes of the case's own choice, or those that
 * are timed. */
typedef enum weight_kind {
    WEIGHTS_RANDOM,
    WEIGHTS_CORNERS,
    WEIGHTS_LOWEST,
    WEIGHTS_HIGHEST,
    WEIGHTS_HOSTILE
} weight_kind;

void case_codes(kernel_case *c, weight_kind kind, dynq_gemm_s8 *gemm, int32_t *column_sum);

/* kernel_check_run.c: one call in a case that is made, from the same beginning each time. Returns
 * whether it stayed in its memory and gave the bits of "ref", which comes first; if not, `reason`
 * says what is wrong. */
int case_run_reference(kernel_case *c, const check_function *function, const dynq_kernel *ref);
int case_run(kernel_case *c, const check_function *function, const dynq_kernel *kernel);
void case_catch_signals(void);

/* kernel_check_bench.c: times these kernels, the last of them "ref". */
void bench_kernels(const dynq_kernel *const *kernels, size_t count);
/* kernel_check_bench_codes.c: weights of 4 and 2 bits and in groups against those of INT8. */
void bench_codes(const dynq_kernel *const *kernels, size_t count);

#endif
