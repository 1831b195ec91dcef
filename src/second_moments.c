/* X^T X of what linear layers read. A part of the batch runs, taps keep its rows, then blocks of
 * the matrices are multiplied by the kernel: products are summed in FP32 over up to BLOCK_ROWS
 * rows, and these sums in double. */
#include <dynq/second_moments.h>

#include "src/cpu.h"
#include "src/error.h"
#include "src/kernel_choice.h"
#include "src/options.h"
#include "src/pack.h"
#include "src/parts.h"
#include "src/threads.h"

#include <string.h>

#define BLOCK_ROWS    256
#define BLOCK_COLUMNS 64 /* rows of a matrix that one product makes */

/* Multiply-adds in a nanosecond, roughly, to decide about sharing. */
#define PRODUCTS_PER_NANOSECOND 20

/* What is summed of one value. */
typedef struct moments_value {
    size_t node, columns;
    uint64_t rows;
    double *matrix; /* [columns][columns]; NULL: too large */
    float *panels;  /* rows of the part: for each BLOCK_ROWS of them [columns / 16][rows][16] */
    size_t tapped;  /* how many there are */
} moments_value;

/* What a thread works in. */
typedef struct moments_scratch {
    float *transposed; /* [BLOCK_COLUMNS][BLOCK_ROWS] */
    float *products;   /* [BLOCK_COLUMNS][columns] */
} moments_scratch;

struct dynq_second_moments {
    dynq_allocator allocator;
    dynq_model *model;
    const dynq_kernel *kernel;
    dynq_session *session;
    dynq_thread_pool *pool; /* NULL: one thread */
    moments_value *values;
    size_t value_count, value_capacity;
    moments_scratch *scratch; /* [workers] */
    size_t workers, input_count, max_rows;
    float **outputs;
    dynq_binding *bindings; /* inputs, then outputs */
    size_t *offsets;
};

/* ---- products ---- */

static float *block_panels(const moments_value *value, size_t first_row)
{
    return value->panels + first_row * dynq_packed_panels(value->columns) * DYNQ_PANEL;
}

static size_t block_rows(const moments_value *value, size_t first_row)
{
    const size_t left = value->tapped - first_row;
    return left < BLOCK_ROWS ? left : BLOCK_ROWS;
}

/* Copies the rows of a part: panels of 16 columns are what kernels multiply with. */
static void keep_rows(void *context, size_t node, size_t rows, size_t columns, const float *data,
                      size_t row_stride)
{
    moments_value *value = context;
    (void)node;
    value->tapped = rows;
    for (size_t first = 0; first < rows; first += BLOCK_ROWS) {
        const size_t count = block_rows(value, first);
        float *panel = block_panels(value, first);
        for (size_t c = 0; c < columns; c += DYNQ_PANEL) {
            const size_t width = columns - c < DYNQ_PANEL ? columns - c : DYNQ_PANEL;
            for (size_t r = 0; r < count; r++) {
                memcpy(panel + r * DYNQ_PANEL, data + (first + r) * row_stride + c,
                       width * sizeof *data);
            }
            panel += count * DYNQ_PANEL;
        }
    }
}

/* Adds rows [first, first + rows) of the matrix from column `first` on; the rest is its mirror. */
static void add_block(const dynq_second_moments *self, const moments_value *value, size_t first,
                      size_t rows, const moments_scratch *scratch)
{
    const size_t columns = value->columns - first;
    for (size_t row = 0; row < value->tapped; row += BLOCK_ROWS) {
        const size_t count = block_rows(value, row);
        const float *panels = block_panels(value, row) + first * count;
        for (size_t c = 0; c < rows; c++) {
            const float *lane = panels + c / DYNQ_PANEL * DYNQ_PANEL * count + c % DYNQ_PANEL;
            for (size_t r = 0; r < count; r++) {
                scratch->transposed[c * BLOCK_ROWS + r] = lane[r * DYNQ_PANEL];
            }
        }
        const dynq_gemm_f32 gemm = {.rows = rows,
                                    .columns = columns,
                                    .k = count,
                                    .x = scratch->transposed,
                                    .x_stride = BLOCK_ROWS,
                                    .panels = panels,
                                    .format = DYNQ_FORMAT_FP32,
                                    .products = scratch->products,
                                    .products_stride = columns};
        self->kernel->gemm_f32(&gemm);
        for (size_t c = 0; c < rows; c++) {
            double *sums = value->matrix + (first + c) * value->columns + first;
            for (size_t i = 0; i < columns; i++) {
                sums[i] += (double)scratch->products[c * columns + i];
            }
        }
    }
}

/* Blocks take turns, so that each worker has long and short ones. */
static void add_blocks(void *context, size_t worker)
{
    const dynq_second_moments *self = context;
    size_t turn = 0;
    for (size_t i = 0; i < self->value_count; i++) {
        const moments_value *value = &self->values[i];
        for (size_t first = 0; value->matrix != NULL && first < value->columns;
             first += BLOCK_COLUMNS) {
            const size_t left = value->columns - first;
            if (turn++ % self->workers == worker) {
                add_block(self, value, first, left < BLOCK_COLUMNS ? left : BLOCK_COLUMNS,
                          &self->scratch[worker]);
            }
        }
    }
}

static void add_part(dynq_second_moments *self)
{
    uint64_t products = 0;
    for (size_t i = 0; i < self->value_count; i++) {
        moments_value *value = &self->values[i];
        value->rows += value->tapped;
        products += value->tapped * value->columns * value->columns / 2;
    }
    const dynq_task task = {.function = add_blocks,
                            .context = self,
                            .chunks = self->workers,
                            .nanoseconds = products / PRODUCTS_PER_NANOSECOND};
    if (self->workers > 1 && dynq_thread_pool_take(self->pool)) {
        dynq_thread_pool_share(self->pool, &task);
        dynq_thread_pool_give(self->pool);
        return;
    }
    for (size_t i = 0; i < self->workers; i++) {
        add_blocks(self, i);
    }
}

static void mirror(const moments_value *value)
{
    const size_t n = value->columns;
    for (size_t i = 0; value->matrix != NULL && i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            value->matrix[i * n + j] = value->matrix[j * n + i];
        }
    }
}

/* ---- creation ---- */

static dynq_status out_of_memory(dynq_error *error)
{
    return dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for second moments");
}

static moments_value *find_value(const dynq_second_moments *self, size_t node)
{
    for (size_t i = 0; i < self->value_count; i++) {
        if (self->values[i].node == node) {
            return &self->values[i];
        }
    }
    return NULL;
}

static bool add_value(dynq_second_moments *self, size_t node)
{
    const size_t columns = self->model->nodes[node].n;
    moments_value *values = dynq_grow(&self->allocator, self->values, self->value_count,
                                      self->value_count + 1, sizeof *values, &self->value_capacity);
    if (values == NULL) {
        return false;
    }
    self->values = values;
    moments_value *value = &values[self->value_count++];
    *value = (moments_value){.node = node, .columns = columns};
    if (columns > DYNQ_MAX_MOMENTS_COLUMNS) {
        return true;
    }
    value->matrix = dynq_alloc(&self->allocator, columns * columns, sizeof *value->matrix);
    value->panels =
        dynq_alloc(&self->allocator, dynq_packed_f32_count(self->max_rows, columns), sizeof(float));
    return value->matrix != NULL && value->panels != NULL;
}

static bool add_values(dynq_second_moments *self)
{
    for (size_t i = 0; i < self->model->node_count; i++) {
        const dynq_node *node = &self->model->nodes[i];
        self->input_count += dynq_is_input(node);
        if (node->op == DYNQ_OP_LINEAR && find_value(self, node->inputs[0]) == NULL &&
            !add_value(self, node->inputs[0])) {
            return false;
        }
    }
    return true;
}

static bool add_scratch(dynq_second_moments *self)
{
    size_t columns = 1;
    for (size_t i = 0; i < self->value_count; i++) {
        const moments_value *value = &self->values[i];
        columns = value->matrix != NULL && value->columns > columns ? value->columns : columns;
    }
    self->scratch = dynq_alloc(&self->allocator, self->workers, sizeof *self->scratch);
    for (size_t i = 0; self->scratch != NULL && i < self->workers; i++) {
        moments_scratch *s = &self->scratch[i];
        s->transposed = dynq_alloc(&self->allocator, BLOCK_COLUMNS * BLOCK_ROWS, sizeof(float));
        s->products = dynq_alloc(&self->allocator, BLOCK_COLUMNS * columns, sizeof(float));
        if (s->transposed == NULL || s->products == NULL) {
            return false;
        }
    }
    return self->scratch != NULL;
}

static bool add_bindings(dynq_second_moments *self)
{
    const dynq_model *model = self->model;
    self->outputs = dynq_alloc(&self->allocator, model->output_count, sizeof *self->outputs);
    self->bindings = dynq_alloc(&self->allocator, self->input_count + model->output_count,
                                sizeof *self->bindings);
    self->offsets = dynq_alloc(&self->allocator, DYNQ_PART_ROWS + 1, sizeof *self->offsets);
    if (self->outputs == NULL || self->bindings == NULL || self->offsets == NULL) {
        return false;
    }
    for (size_t i = 0; i < model->output_count; i++) {
        size_t count = 0;
        if (!dynq_size_multiply(self->max_rows, model->nodes[model->outputs[i].node].n, &count)) {
            return false;
        }
        self->outputs[i] = dynq_alloc(&self->allocator, count, sizeof(float));
        if (self->outputs[i] == NULL) {
            return false;
        }
        self->bindings[self->input_count + i] =
            (dynq_binding){.data = self->outputs[i], .bytes = count * sizeof(float)};
    }
    return true;
}

static dynq_status create_session(dynq_second_moments *self, const char *kernel, dynq_error *error)
{
    const dynq_model *model = self->model;
    dynq_tap *taps = dynq_alloc(&self->allocator, self->value_count, sizeof *taps);
    if (taps == NULL) {
        return out_of_memory(error);
    }
    size_t count = 0;
    for (size_t i = 0; i < self->value_count; i++) {
        moments_value *value = &self->values[i];
        if (value->matrix != NULL) {
            taps[count++] = (dynq_tap){
                .node = model->nodes[value->node].name, .function = keep_rows, .context = value};
        }
    }
    const dynq_session_options options = {.size = sizeof options,
                                          .max_rows = self->max_rows,
                                          .max_segments = DYNQ_PART_ROWS,
                                          .kernel = kernel,
                                          .precision = DYNQ_PRECISION_FP32,
                                          .pool = self->pool,
                                          .allocator = &self->allocator,
                                          .taps = taps,
                                          .tap_count = count};
    const dynq_status status = dynq_session_create(self->model, &options, &self->session, error);
    for (size_t i = 0; status == DYNQ_OK && i < model->output_count; i++) {
        self->bindings[self->input_count + i].slot =
            dynq_session_output_slot(self->session, model->outputs[i].name);
    }
    dynq_release(&self->allocator, taps);
    return status;
}

static dynq_status fill(dynq_second_moments *self, const dynq_second_moments_options *o,
                        dynq_error *error)
{
    dynq_status status = dynq_kernel_choose(o->kernel, &self->kernel, error);
    if (status == DYNQ_OK && o->threads > 1) {
        const dynq_thread_pool_options options = {
            .size = sizeof options, .threads = o->threads, .allocator = &self->allocator};
        status = dynq_thread_pool_create(&options, &self->pool, error);
    }
    if (status != DYNQ_OK) {
        return status;
    }
    self->workers = self->pool == NULL ? 1 : dynq_thread_pool_threads(self->pool);
    self->max_rows = dynq_parts_rows(o->max_rows);
    return add_values(self) && add_scratch(self) && add_bindings(self)
               ? create_session(self, o->kernel, error)
               : out_of_memory(error);
}

dynq_status dynq_second_moments_create(dynq_model *model,
                                       const dynq_second_moments_options *options,
                                       dynq_second_moments **moments, dynq_error *error)
{
    dynq_second_moments_options o;
    if (model == NULL || moments == NULL || !dynq_options_copy(&o, sizeof o, options)) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "second moments: model or result is NULL, the size of the options is not "
                         "set, or a field is unknown to this version");
    }
    const dynq_allocator allocator = dynq_allocator_or_default(o.allocator);
    dynq_second_moments *self = dynq_alloc(&allocator, 1, sizeof *self);
    if (self == NULL) {
        return out_of_memory(error);
    }
    self->allocator = allocator;
    self->model = dynq_model_retain(model);
    const dynq_status status = fill(self, &o, error);
    if (status != DYNQ_OK) {
        dynq_second_moments_free(self);
        return status;
    }
    *moments = self;
    return DYNQ_OK;
}

void dynq_second_moments_free(dynq_second_moments *moments)
{
    if (moments == NULL) {
        return;
    }
    const dynq_allocator allocator = moments->allocator;
    dynq_session_free(moments->session);
    dynq_thread_pool_free(moments->pool);
    for (size_t i = 0; moments->scratch != NULL && i < moments->workers; i++) {
        dynq_release(&allocator, moments->scratch[i].transposed);
        dynq_release(&allocator, moments->scratch[i].products);
    }
    for (size_t i = 0; i < moments->value_count; i++) {
        dynq_release(&allocator, moments->values[i].matrix);
        dynq_release(&allocator, moments->values[i].panels);
    }
    for (size_t i = 0; moments->outputs != NULL && i < moments->model->output_count; i++) {
        dynq_release(&allocator, moments->outputs[i]);
    }
    dynq_release(&allocator, moments->scratch);
    dynq_release(&allocator, moments->values);
    dynq_release(&allocator, moments->outputs);
    dynq_release(&allocator, moments->bindings);
    dynq_release(&allocator, moments->offsets);
    dynq_model_free(moments->model);
    dynq_release(&allocator, moments);
}

/* ---- running ---- */

static dynq_parts_owner owner_of(const dynq_second_moments *self)
{
    return (dynq_parts_owner){.name = "second moments",
                              .model = self->model,
                              .session = self->session,
                              .longest = self->max_rows};
}

int dynq_second_moments_slot(const dynq_second_moments *moments, const char *name)
{
    if (moments == NULL || name == NULL) {
        return -1;
    }
    const dynq_parts_owner owner = owner_of(moments);
    return dynq_parts_slot(&owner, name);
}

static dynq_status run_parts(dynq_second_moments *self, const dynq_batch *batch,
                             const dynq_binding *bindings, dynq_error *error)
{
    dynq_part part = {0};
    while (part.row + part.rows < batch->rows) {
        part = dynq_parts_next(batch, part);
        const dynq_batch call = dynq_parts_batch(batch, part, self->offsets);
        dynq_error found = {0};
        dynq_parts_bind(part, bindings, self->input_count, self->bindings);
        const dynq_status status =
            dynq_session_run(self->session, &call, self->bindings,
                             self->input_count + self->model->output_count, &found);
        if (status != DYNQ_OK) {
            return dynq_fail(error, status, "rows %zu to %zu: %.400s", part.row,
                             part.row + part.rows - 1, found.message);
        }
        add_part(self);
    }
    return DYNQ_OK;
}

dynq_status dynq_second_moments_run(dynq_second_moments *moments, const dynq_batch *batch,
                                    const dynq_binding *bindings, size_t binding_count,
                                    dynq_error *error)
{
    dynq_batch b;
    if (moments == NULL || batch == NULL || !dynq_options_copy(&b, sizeof b, batch) ||
        bindings == NULL || binding_count != moments->input_count || b.rows == 0) {
        return dynq_fail(error, DYNQ_ERR_ARGUMENT,
                         "second moments: they, the batch or bindings are NULL, or there is not "
                         "one row or more and one binding for each input");
    }
    dynq_binding *bound = dynq_alloc(&moments->allocator, binding_count, sizeof *bound);
    if (bound == NULL) {
        return out_of_memory(error);
    }
    memcpy(bound, bindings, binding_count * sizeof *bound);
    const dynq_float_state before = dynq_float_state_set_default();
    const dynq_parts_owner owner = owner_of(moments);
    dynq_status status = dynq_parts_check(&owner, &b, bound, binding_count, error);
    if (status == DYNQ_OK) {
        status = run_parts(moments, &b, bound, error);
        for (size_t i = 0; i < moments->value_count; i++) {
            mirror(&moments->values[i]);
        }
    }
    dynq_float_state_restore(before);
    dynq_release(&moments->allocator, bound);
    return status;
}

dynq_status dynq_second_moments_get(const dynq_second_moments *moments, const char *name,
                                    size_t *columns, uint64_t *rows, const double **matrix)
{
    const long node = moments == NULL || name == NULL ? -1 : dynq_model_find(moments->model, name);
    const moments_value *value = node < 0 ? NULL : find_value(moments, (size_t)node);
    if (value == NULL) {
        return DYNQ_ERR_NOT_FOUND;
    }
    if (columns != NULL) {
        *columns = value->columns;
    }
    if (rows != NULL) {
        *rows = value->rows;
    }
    if (matrix != NULL) {
        *matrix = value->matrix;
    }
    return value->matrix == NULL ? DYNQ_ERR_LIMIT : DYNQ_OK;
}
