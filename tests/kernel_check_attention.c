/* Cases of attention: one head of one segment, some or all of its queries. */
#include "tests/kernel_check.h"

#include <math.h>
#include <stdbool.h>

/* With many keys mostly few queries: the cases run under emulation, too. */
enum { BLOCK_QUERIES = 96, HEAD_STRIDE = 384, MANY_KEYS = 70, FEW_QUERIES = 20 };

static const char *const filling_names[FILLING_COUNT] = {"moderate", "equal", "finite", "any"};

/* Mostly what networks have, and short; every width of a head now and then, and many blocks. */
static case_shape attention_shape(kernel_case *c)
{
    if (c->timed != NULL) {
        return *c->timed;
    }
    case_shape s = {.rows = case_between(c, 1, 70)};
    if (case_chance(c, 6)) {
        s.rows = case_between(c, 1, 300);
    }
    switch (case_between(c, 0, 7)) {
    case 0: s.columns = 64; break;
    case 1:
    case 2: s.columns = case_between(c, 1, 70); break;
    case 3: s.columns = case_chance(c, 4) ? case_between(c, 100, DYNQ_MAX_HEAD) : 16; break;
    default: s.columns = 32; break;
    }
    if (s.columns > 70 && s.rows > 130) {
        s.rows = case_between(c, 1, 130);
    }
    return s;
}

static const float *attention_input(kernel_case *c, case_input input, case_filling filling,
                                    size_t *stride)
{
    const dynq_attention_block *b = &c->call.attention;
    *stride = c->timed != NULL ? HEAD_STRIDE : b->dim + case_gap(c, 9);
    return case_floats(c, input, case_span(b->keys, *stride, b->dim), filling);
}

/* All rows of one kind, or only the keys and values with a rare outlier of any kind. */
static void make_inputs(kernel_case *c)
{
    dynq_attention_block *b = &c->call.attention;
    const case_filling filling = case_some_filling(c);
    case_filling own[3] = {filling, filling, filling};
    if (filling != FILLING_MODERATE) {
        own[case_between(c, 0, 2)] = FILLING_MODERATE;
        own[case_between(c, 0, 2)] = FILLING_MODERATE;
    }
    b->q = attention_input(c, INPUT_X, own[0], &b->q_stride);
    b->k = attention_input(c, INPUT_KEYS, own[1], &b->k_stride);
    b->v = attention_input(c, INPUT_VALUES, own[2], &b->v_stride);
}

static void make_attention(kernel_case *c)
{
    dynq_attention_block *b = &c->call.attention;
    const case_shape s = attention_shape(c);
    *b = (dynq_attention_block){.keys = s.rows, .dim = s.columns, .queries = s.rows};
    const bool many = c->timed == NULL && s.rows > MANY_KEYS;
    if (case_chance(c, 4) || (many && !case_chance(c, 16))) {
        b->first = case_between(c, 0, s.rows - 1);
        b->queries = case_between(c, 1, s.rows - b->first);
    }
    if (many && b->queries > FEW_QUERIES && !case_chance(c, 16)) {
        b->queries = case_between(c, 1, FEW_QUERIES);
    }
    b->scale = 1.0f / sqrtf((float)b->dim);
    if (case_chance(c, 8)) {
        b->scale = ldexpf(1.0f, (int)case_between(c, 0, 60) - 30);
    }
    b->causal = case_chance(c, 3);
    make_inputs(c);
    b->y_stride = c->timed != NULL ? HEAD_STRIDE : b->dim + case_gap(c, 9);
    const case_output *y = case_result(c, OUTPUT_FLOATS, "y", b->queries, b->dim, b->y_stride);
    b->y = (float *)(void *)y->place - b->first * b->y_stride;
    b->range = case_result_range(c, b->queries, &b->range_step);
}

static void make_prepared(kernel_case *c)
{
    dynq_attention_block *b = &c->call.attention;
    make_attention(c);
    const size_t bytes = dynq_attention_bytes(b->keys, b->dim);
    b->prepared = case_result(c, OUTPUT_SCRATCH, "prepared", 1, bytes, bytes)->place;
}

static void run_f32(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->attention_f32(&c->call.attention);
}

/* All queries at once; timed, the function alone. */
static void run_prepare(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->attention_prepare(&c->call.attention);
    if (c->timed == NULL) {
        kernel->attention_s8(&c->call.attention);
    }
}

/* In several calls: what a query gives does not depend on them. "ref" takes one after the other. */
static void run_s8(const kernel_case *c, const dynq_kernel *kernel)
{
    const dynq_attention_block *whole = &c->call.attention;
    const size_t most = c->timed != NULL ? BLOCK_QUERIES : 1 + c->index % BLOCK_QUERIES;
    kernel->attention_prepare(whole);
    for (size_t i = 0; i < whole->queries; i += most) {
        dynq_attention_block part = *whole;
        part.first += i;
        part.queries = whole->queries - i < most ? whole->queries - i : most;
        if (part.range != NULL) {
            part.range += i * part.range_step;
        }
        kernel->attention_s8(&part);
    }
}

static void describe_attention(const kernel_case *c, FILE *out)
{
    const dynq_attention_block *b = &c->call.attention;
    fprintf(out,
            "keys %zu, queries %zu from %zu, dim %zu, strides %zu %zu %zu %zu, scale %g, %s "
            "numbers%s%s",
            b->keys, b->queries, b->first, b->dim, b->q_stride, b->k_stride, b->v_stride,
            b->y_stride, (double)b->scale, filling_names[c->filling], b->causal ? ", causal" : "",
            b->range == NULL     ? ""
            : b->range_step == 0 ? ", range"
                                 : ", range of each query");
}

const check_function check_attention_f32 = {.name = "attention_f32",
                                            .make = make_attention,
                                            .run = run_f32,
                                            .describe = describe_attention};
const check_function check_attention_prepare = {.name = "attention_prepare",
                                                .make = make_prepared,
                                                .run = run_prepare,
                                                .describe = describe_attention};
const check_function check_attention_s8 = {
    .name = "attention_s8", .make = make_prepared, .run = run_s8, .describe = describe_attention};
