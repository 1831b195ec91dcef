/* Error-feedback rounding (Frantar et al., 2022, "GPTQ: Accurate Post-Training Quantization for
 * Generative Pre-trained Transformers"): inputs are rounded one after the other, and those still to
 * come are changed so that they make up for the error as far as inputs are alike. Inputs with most
 * energy come first, while there are many left to make up for them. Steps were chosen before, so
 * that any order fits groups. Then numbers and steps are made better in turns, each alone, by what
 * the others have left of the error. */
#include "src/weight_feedback.h"

#include "src/error.h"
#include "src/memory.h"

#include <dynq/format.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What is added to the diagonal, as a share of its mean: data is only a sample, and some inputs may
 * depend on each other exactly. */
#define DAMPING       0.01
#define MORE_DAMPING  10.0 /* times that where the matrix is not positive definite, */
#define DAMPING_TRIES 4    /* and so on */

#define BLOCK 128 /* inputs whose errors are passed on together to those behind them */
#define STRIP 64  /* columns that are rounded together */
#define TURNS 3   /* of better steps and numbers, */
#define FEW   16  /* with up to so many levels: with more, all that they gain is time lost */

/* Everything that columns share. */
typedef struct feedback_work {
    const dynq_feedback_task *task;
    size_t *order;  /* [k]: inputs, those with most energy first */
    double *factor; /* [k][k] in that order: the upper Cholesky factor of the inverse */
    double damping; /* added to the diagonal of the matrix */
    double *strip;  /* [k][STRIP]: weights that are left to round */
    double *errors; /* [BLOCK][STRIP] */
    double *pull;   /* [k]: the matrix times the error of a column */
    double *change; /* [k] */
} feedback_work;

/* ---- preparation ---- */

typedef struct input_energy {
    double diagonal;
    size_t input;
} input_energy;

static int compare_energies(const void *a, const void *b)
{
    const input_energy *x = a, *y = b;
    return x->diagonal != y->diagonal ? (x->diagonal < y->diagonal) - (x->diagonal > y->diagonal)
                                      : (x->input > y->input) - (x->input < y->input);
}

static dynq_status find_order(feedback_work *work)
{
    const size_t k = work->task->grid->k;
    input_energy *energies = dynq_alloc(work->task->allocator, k, sizeof *energies);
    if (energies == NULL) {
        return DYNQ_ERR_MEMORY;
    }
    for (size_t i = 0; i < k; i++) {
        energies[i] = (input_energy){.diagonal = work->task->matrix[i * k + i], .input = i};
    }
    qsort(energies, k, sizeof *energies, compare_energies);
    for (size_t i = 0; i < k; i++) {
        work->order[i] = energies[i].input;
    }
    dynq_release(work->task->allocator, energies);
    return DYNQ_OK;
}

/* The lower triangle, which LAPACK finds by columns, is the upper one by rows. */
static void copy_ordered(const feedback_work *work)
{
    const size_t k = work->task->grid->k;
    for (size_t i = 0; i < k; i++) {
        const double *row = work->task->matrix + work->order[i] * k;
        for (size_t j = i; j < k; j++) {
            work->factor[i * k + j] = row[work->order[j]];
        }
        work->factor[i * k + i] += work->damping;
    }
}

static dynq_status invert(const feedback_work *work)
{
    const dynq_algebra *algebra = work->task->algebra;
    const size_t k = work->task->grid->k;
    copy_ordered(work);
    dynq_status status = algebra->cholesky(k, work->factor);
    if (status == DYNQ_OK) {
        status = algebra->cholesky_inverse(k, work->factor);
    }
    if (status == DYNQ_OK) {
        status = algebra->cholesky(k, work->factor);
    }
    for (size_t i = 0; status == DYNQ_OK && i < k; i++) {
        const double pivot = work->factor[i * k + i];
        status = isfinite(pivot) && pivot > 0.0 ? DYNQ_OK : DYNQ_ERR_NOT_FINITE;
    }
    return status;
}

/* Nothing to do where no input was ever anything but 0: damping is then 0. */
static dynq_status prepare(feedback_work *work, dynq_error *error)
{
    const size_t k = work->task->grid->k;
    double trace = 0.0;
    for (size_t i = 0; i < k * k; i++) {
        if (!isfinite(work->task->matrix[i])) {
            return dynq_fail(error, DYNQ_ERR_NOT_FINITE,
                             "the second moments of inputs %zu and %zu are not finite", i / k,
                             i % k);
        }
        trace += i / k == i % k ? work->task->matrix[i] : 0.0;
    }
    work->damping = DAMPING * trace / (double)k;
    dynq_status status = work->damping > 0.0 ? DYNQ_ERR_NOT_FINITE : DYNQ_OK;
    for (int i = 0; status == DYNQ_ERR_NOT_FINITE && i < DAMPING_TRIES; i++) {
        work->damping *= i == 0 ? 1.0 : MORE_DAMPING;
        status = invert(work);
    }
    return status == DYNQ_OK
               ? DYNQ_OK
               : dynq_fail(error, status,
                           status == DYNQ_ERR_NOT_FINITE
                               ? "the second moments have no inverse: they are none of real data"
                               : "the Cholesky factors of %zu x %zu second moments failed",
                           k, k);
}

/* ---- rounding ---- */

/* Rounds the weights of place `j` in the order, and writes what passes their error on. */
static void round_input(const feedback_work *work, size_t first, size_t columns, size_t j,
                        double *errors, int16_t *numbers)
{
    const dynq_weight_grid *grid = work->task->grid;
    const size_t input = work->order[j];
    const double pivot = work->factor[j * grid->k + j];
    const double *wanted = work->strip + j * STRIP;
    for (size_t c = 0; c < columns; c++) {
        const int number = dynq_grid_number(grid, first + c, input, (float)wanted[c]);
        const double value = (double)dynq_grid_value(grid, first + c, input, number);
        numbers[(first + c) * grid->k + input] = (int16_t)number;
        errors[c] = (wanted[c] - value) / pivot;
    }
}

/* Takes the share of `count` rounded inputs, from place `from` on, away from place `j`. */
static void pass_on(const feedback_work *work, size_t from, size_t count, size_t j)
{
    const size_t k = work->task->grid->k;
    double *weights = work->strip + j * STRIP;
    for (size_t i = 0; i < count; i++) {
        const double share = work->factor[(from + i) * k + j];
        const double *errors = work->errors + i * STRIP;
        for (size_t c = 0; c < STRIP; c++) {
            weights[c] -= share * errors[c];
        }
    }
}

static void round_strip(const feedback_work *work, size_t first, size_t columns, int16_t *numbers)
{
    const size_t k = work->task->grid->k;
    memset(work->strip, 0, k * STRIP * sizeof *work->strip);
    memset(work->errors, 0, BLOCK * STRIP * sizeof *work->errors);
    for (size_t j = 0; j < k; j++) {
        for (size_t c = 0; c < columns; c++) {
            work->strip[j * STRIP + c] = (double)work->task->w[(first + c) * k + work->order[j]];
        }
    }
    for (size_t from = 0; from < k; from += BLOCK) {
        const size_t end = k - from < BLOCK ? k : from + BLOCK;
        for (size_t j = from; j < end; j++) {
            pass_on(work, from, j - from, j);
            round_input(work, first, columns, j, work->errors + (j - from) * STRIP, numbers);
        }
        for (size_t j = end; j < k; j++) {
            pass_on(work, from, end - from, j);
        }
    }
}

/* ---- turns ---- */

static double value_of(const feedback_work *work, size_t column, size_t input, int number)
{
    return (double)dynq_grid_value(work->task->grid, column, input, number);
}

/* pull -= the matrix, with what is added to its diagonal, times change[first .. end). */
static void change_pull(const feedback_work *work, size_t first, size_t end)
{
    const size_t k = work->task->grid->k;
    for (size_t i = first; i < end; i++) {
        const double change = work->change[i];
        const double *row = work->task->matrix + i * k;
        if (change == 0.0) {
            continue;
        }
        for (size_t j = 0; j < k; j++) {
            work->pull[j] -= change * row[j];
        }
        work->pull[i] -= change * work->damping;
    }
}

static void start_pull(const feedback_work *work, size_t column, const int16_t *numbers)
{
    const size_t k = work->task->grid->k;
    memset(work->pull, 0, k * sizeof *work->pull);
    for (size_t i = 0; i < k; i++) {
        work->change[i] =
            value_of(work, column, i, numbers[i]) - (double)work->task->w[column * k + i];
    }
    change_pull(work, 0, k);
}

/* The step as it can be stored. */
static float storable(const feedback_work *work, size_t column, double step)
{
    const float *scale = work->task->scale;
    if (scale == NULL) {
        return (float)step;
    }
    const float share = (float)step / scale[column];
    uint16_t factor = 0;
    float stored = 0.0f;
    dynq_fp16_from_fp32(&share, 1, &factor);
    dynq_fp32_from_fp16(&factor, 1, &stored);
    return stored * scale[column];
}

/* The step of inputs [first, end) that leaves the least error with the levels they have. */
static void better_step(const feedback_work *work, size_t column, size_t first, size_t end,
                        const int16_t *numbers)
{
    const dynq_weight_grid *grid = work->task->grid;
    const size_t block = dynq_grid_block(grid, column, first);
    const float before = grid->step[block];
    double along = 0.0, energy = 0.0;
    for (size_t i = first; i < end; i++) {
        work->change[i] = value_of(work, column, i, numbers[i]) / (double)before;
        along += work->change[i] * work->pull[i];
    }
    for (size_t i = first; i < end; i++) {
        const double *row = work->task->matrix + i * grid->k;
        double sum = work->change[i] * work->damping;
        for (size_t j = first; j < end; j++) {
            sum += row[j] * work->change[j];
        }
        energy += work->change[i] * sum;
    }
    const float after = storable(work, column, (double)before + along / energy);
    if (!(energy > 0.0) || !isfinite(after) || after == 0.0f ||
        (work->task->scale == NULL && after < 0.0f)) {
        return;
    }
    grid->step[block] = after;
    if (grid->inverse != NULL) {
        grid->inverse[block] = 1.0f / after;
    }
    for (size_t i = first; i < end; i++) {
        work->change[i] *= (double)after - (double)before;
    }
    change_pull(work, first, end);
}

static void better_steps(const feedback_work *work, size_t column, const int16_t *numbers)
{
    const dynq_weight_grid *grid = work->task->grid;
    for (size_t first = 0; first < grid->k; first += grid->group) {
        const size_t end = grid->k - first < grid->group ? grid->k : first + grid->group;
        if (grid->step[dynq_grid_block(grid, column, first)] != 0.0f) {
            better_step(work, column, first, end, numbers);
        }
    }
}

/* Moves each weight of a column to where it leaves the least error. */
static void better_numbers(const feedback_work *work, size_t column, int16_t *numbers)
{
    const dynq_weight_grid *grid = work->task->grid;
    for (size_t j = 0; j < grid->k; j++) {
        const size_t i = work->order[j];
        const double energy = work->task->matrix[i * grid->k + i] + work->damping;
        const double value = value_of(work, column, i, numbers[i]);
        const double wanted = value + work->pull[i] / energy;
        const int number = dynq_grid_number(grid, column, i, (float)wanted);
        if (number != numbers[i]) {
            work->change[i] = value_of(work, column, i, number) - value;
            numbers[i] = (int16_t)number;
            change_pull(work, i, i + 1);
        }
    }
}

/* Whether a step belongs to one column. */
static bool own_steps(const feedback_work *work)
{
    const dynq_weight_grid *grid = work->task->grid;
    return !work->task->keep_steps && grid->column_stride > 0 && grid->group > 1 &&
           grid->offset == NULL;
}

static void take_turns(const feedback_work *work, int16_t *numbers)
{
    const dynq_weight_grid *grid = work->task->grid;
    const size_t levels =
        grid->levels == NULL ? (size_t)(grid->high - grid->low) + 1 : grid->level_count;
    for (size_t c = 0; levels <= FEW && c < grid->n; c++) {
        start_pull(work, c, numbers + c * grid->k);
        for (int turn = 0; turn < TURNS; turn++) {
            if (own_steps(work)) {
                better_steps(work, c, numbers + c * grid->k);
            }
            better_numbers(work, c, numbers + c * grid->k);
        }
    }
}

/* ---- all of it ---- */

static bool take_memory(feedback_work *work)
{
    const dynq_allocator *allocator = work->task->allocator;
    const size_t k = work->task->grid->k;
    size_t count = 0;
    work->order = dynq_alloc(allocator, k, sizeof *work->order);
    work->factor =
        dynq_size_multiply(k, k, &count) ? dynq_alloc(allocator, count, sizeof(double)) : NULL;
    work->strip = dynq_alloc(allocator, k, STRIP * sizeof *work->strip);
    work->errors = dynq_alloc(allocator, BLOCK * STRIP, sizeof *work->errors);
    work->pull = dynq_alloc(allocator, k, sizeof *work->pull);
    work->change = dynq_alloc(allocator, k, sizeof *work->change);
    return work->order != NULL && work->factor != NULL && work->strip != NULL &&
           work->errors != NULL && work->pull != NULL && work->change != NULL;
}

static void release_memory(feedback_work *work)
{
    const dynq_allocator *allocator = work->task->allocator;
    dynq_release(allocator, work->order);
    dynq_release(allocator, work->factor);
    dynq_release(allocator, work->strip);
    dynq_release(allocator, work->errors);
    dynq_release(allocator, work->pull);
    dynq_release(allocator, work->change);
}

dynq_status dynq_feedback_round(const dynq_feedback_task *task, int16_t *numbers, dynq_error *error)
{
    feedback_work work = {.task = task};
    dynq_status status = DYNQ_OK;
    if (!take_memory(&work) || find_order(&work) != DYNQ_OK) {
        status = dynq_fail(error, DYNQ_ERR_MEMORY, "out of memory for error-feedback rounding");
    } else {
        status = prepare(&work, error);
    }
    if (status == DYNQ_OK && work.damping == 0.0) {
        dynq_grid_round(task->grid, task->w, numbers);
    } else if (status == DYNQ_OK) {
        for (size_t c = 0; c < task->grid->n; c += STRIP) {
            const size_t left = task->grid->n - c;
            round_strip(&work, c, left < STRIP ? left : STRIP, numbers);
        }
        take_turns(&work, numbers);
    }
    release_memory(&work);
    return status;
}
