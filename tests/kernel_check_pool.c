/* Cases of embedding, pooling and errors. */
#include "tests/kernel_check.h"

#include <string.h>

/* Numbers of table rows: often the same one twice, often the first or the last. */
static void make_ids(kernel_case *c, size_t count)
{
    dynq_embed_block *b = &c->call.embed;
    if (case_chance(c, 3)) {
        b->first = case_between(c, 0, count - b->rows);
        return;
    }
    b->id_stride = 1 + case_gap(c, 2);
    b->ids = case_integers(c, INPUT_IDS, case_span(b->rows, b->id_stride, 1), 0,
                           (int64_t)(case_chance(c, 4) ? 0 : count - 1));
}

static void make_codes(kernel_case *c, size_t count)
{
    dynq_embed_block *b = &c->call.embed;
    const size_t bytes = count * b->columns;
    int8_t *codes = case_room(c, INPUT_PANELS, bytes);
    for (size_t i = 0; i < bytes; i++) {
        codes[i] = (int8_t)((int)case_between(c, 0, 254) - 127);
    }
    b->codes = case_view(c, INPUT_PANELS, codes);
    b->scale = case_floats(c, INPUT_ROW_SCALE, count, case_some_filling(c));
}

static void make_embed(kernel_case *c)
{
    dynq_embed_block *b = &c->call.embed;
    const case_shape s = case_float_shape(c);
    const size_t count = s.rows + case_gap(c, 9);
    *b = (dynq_embed_block){.rows = s.rows, .columns = s.columns};
    make_ids(c, count);
    if (case_chance(c, 2)) {
        b->table = case_floats(c, INPUT_X, count * b->columns, case_some_filling(c));
    } else {
        make_codes(c, count);
    }
    b->y_stride = b->columns + case_gap(c, 7);
    case_output *y = case_result(c, OUTPUT_FLOATS, "y", b->rows, b->columns, b->y_stride);
    b->y = (float *)(void *)y->place;
    if (case_chance(c, 3)) { /* adds to what is there */
        const size_t floats = case_span(b->rows, b->y_stride, b->columns);
        memcpy(y->initial, case_floats(c, INPUT_OTHER, floats, case_some_filling(c)), y->bytes);
        b->other = b->y;
        b->other_stride = b->y_stride;
    } else if (case_chance(c, 2)) {
        b->other_stride = b->columns + case_gap(c, 7);
        b->other = case_floats(c, INPUT_OTHER, case_span(b->rows, b->other_stride, b->columns),
                               case_some_filling(c));
    }
    b->range = case_result_range(c, b->rows, &b->range_step);
}

static void run_embed(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->embed(&c->call.embed);
}

static void describe_embed(const kernel_case *c, FILE *out)
{
    const dynq_embed_block *b = &c->call.embed;
    fprintf(out, "rows %zu, columns %zu, %s, %s %zu, y_stride %zu, other %s, other_stride %zu",
            b->rows, b->columns, b->table != NULL ? "floats" : "codes",
            b->ids != NULL ? "id_stride" : "first", b->ids != NULL ? b->id_stride : b->first,
            b->y_stride,
            b->other == NULL   ? "none"
            : b->other == b->y ? "in place"
                               : "apart",
            b->other_stride);
    fprintf(out, ", %s numbers", case_filling_names[c->filling]);
    if (b->range != NULL) {
        fprintf(out, ", range_step %zu", b->range_step);
    }
}

static void make_pool(kernel_case *c)
{
    dynq_pool_block *b = &c->call.pool;
    const case_shape s = case_float_shape(c);
    *b = (dynq_pool_block){.rows = s.rows, .columns = s.columns, .pooling = DYNQ_POOL_MEAN};
    if (c->timed == NULL) {
        b->pooling = (dynq_pooling)case_between(c, DYNQ_POOL_MEAN, DYNQ_POOL_MAX);
    }
    if (case_chance(c, 16)) {
        b->rows = case_between(c, 1, 300);
    }
    b->x_stride = b->columns + case_gap(c, 7);
    b->x =
        case_floats(c, INPUT_X, case_span(b->rows, b->x_stride, b->columns), case_some_filling(c));
    case_output *y = case_result(c, OUTPUT_FLOATS, "y", 1, b->columns, b->columns);
    b->y = (float *)(void *)y->place;
    size_t range_step;
    b->range = case_result_range(c, 1, &range_step);
}

static void run_pool(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->pool(&c->call.pool);
}

static void describe_pool(const kernel_case *c, FILE *out)
{
    const dynq_pool_block *b = &c->call.pool;
    fprintf(out, "%s, rows %zu, columns %zu, x_stride %zu, %s numbers%s",
            b->pooling == DYNQ_POOL_MEAN  ? "mean"
            : b->pooling == DYNQ_POOL_CLS ? "cls"
                                          : "max",
            b->rows, b->columns, b->x_stride, case_filling_names[c->filling],
            b->range != NULL ? ", range" : "");
}

/* Finite numbers, often many zeros of both signs in the reference. */
static void make_errors(kernel_case *c)
{
    dynq_error_block *b = &c->call.errors;
    const size_t columns = case_float_shape(c).columns;
    const case_filling filling = (case_filling)case_between(c, FILLING_MODERATE, FILLING_FINITE);
    *b = (dynq_error_block){.columns = columns};
    float *reference = case_room(c, INPUT_X, columns * sizeof *reference);
    memcpy(reference, case_floats(c, INPUT_OTHER, columns, filling), columns * sizeof *reference);
    for (size_t i = 0; i < columns; i++) {
        const size_t kind = case_between(c, 0, 9);
        reference[i] = kind == 0 ? 0.0f : kind == 1 ? -0.0f : reference[i];
    }
    b->reference = case_view(c, INPUT_X, reference);
    b->value = case_floats(c, INPUT_OTHER, columns, filling);
    case_output *sums = case_result(c, OUTPUT_CODES, "sums", 1, sizeof *b->sums, sizeof *b->sums);
    b->sums = (dynq_error_sums *)(void *)sums->place;
}

static void run_errors(const kernel_case *c, const dynq_kernel *kernel)
{
    kernel->errors(&c->call.errors);
}

static void describe_errors(const kernel_case *c, FILE *out)
{
    fprintf(out, "columns %zu", c->call.errors.columns);
}

const check_function check_embed = {
    .name = "embed", .make = make_embed, .run = run_embed, .describe = describe_embed};
const check_function check_pool = {
    .name = "pool", .make = make_pool, .run = run_pool, .describe = describe_pool};
const check_function check_errors = {
    .name = "errors", .make = make_errors, .run = run_errors, .describe = describe_errors};
