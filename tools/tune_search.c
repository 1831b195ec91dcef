/* From measurements of nodes to a model that meets the targets: find an assignment, make it,
 * measure it, and where it misses what was predicted, predict more carefully. */
#include "tools/tune.h"

#include "tools/allocate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How much more careful predictions become at least, so that another assignment is found. */
#define STRICTER_ERROR 1.15
#define STRICTER_TIME  1.02
/* Measurements below this share of what was predicted leave room for something cheaper; predictions
 * are no more than halved at a time. */
#define LOOSER  0.95
#define BOLDEST 0.5
/* A rounding error in the difference of two percentages is not a drop. */
#define ROUNDING 1e-9

/* A target as an outcome keeps to it or not. */
typedef struct checked_target {
    const char *what;
    double value, limit, excess; /* excess: as a share of the limit; 0: kept */
} checked_target;
#define TARGETS 4

/* 1 - cosine of an encoder in FP32 is 1e-7; an excess is counted from there. */
static double excess_of(double value, double limit)
{
    return fmax(0, value - limit) / fmax(limit, 1e-7);
}

static void check_targets(const tuning *self, const tune_outcome *outcome,
                          checked_target checked[TARGETS])
{
    const tune_options *o = self->options;
    const int drops = self->labels != NULL && o->max_drop < 100;
    const checked_target all[TARGETS] = {
        {"drop in points", outcome->drop, o->max_drop,
         drops && outcome->drop > o->max_drop + ROUNDING ? excess_of(outcome->drop, o->max_drop)
                                                         : 0},
        {"mean cosine", outcome->cosine, o->min_cosine,
         outcome->cosine < o->min_cosine ? excess_of(1 - outcome->cosine, 1 - o->min_cosine) : 0},
        {"ms", outcome->ms, o->max_ms, o->max_ms > 0 ? excess_of(outcome->ms, o->max_ms) : 0},
        {"weight bytes", outcome->bytes, o->max_bytes,
         o->max_bytes > 0 ? excess_of(outcome->bytes, o->max_bytes) : 0}};
    memcpy(checked, all, sizeof all);
}

int tune_missed(const tuning *self, const tune_outcome *outcome, char *text, size_t size)
{
    checked_target all[TARGETS];
    size_t used = 0;
    check_targets(self, outcome, all);
    text[0] = '\0';
    for (size_t i = 0; i < TARGETS; i++) {
        if (all[i].excess > 0 && used < size) {
            used += (size_t)snprintf(text + used, size - used, "%s%s %.8g, limit %.8g",
                                     used > 0 ? ", " : "", all[i].what, all[i].value, all[i].limit);
        }
    }
    return used > 0;
}

static double total_excess(const tuning *self, const tune_outcome *outcome)
{
    checked_target all[TARGETS];
    double sum = 0;
    check_targets(self, outcome, all);
    for (size_t i = 0; i < TARGETS; i++) {
        sum += all[i].excess;
    }
    return sum;
}

static exit_code make_front(const tuning *self, const tune_costs *costs, dynq_front **front)
{
    const dynq_front_options options = {.size = sizeof options,
                                        .node_count = self->node_count,
                                        .choice_counts = costs->counts,
                                        .costs = costs->costs};
    dynq_error error = {0};
    return dynq_front_create(&options, front, &error) == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(self->call->command, error.status, &error, NULL);
}

/* Choices among available ones become candidates. */
static void take_candidates(const tuning *self, const tune_costs *costs, size_t *choices)
{
    const size_t *candidates = costs->candidates;
    for (size_t i = 0; i < self->node_count; i++) {
        choices[i] = candidates[choices[i]];
        candidates += costs->counts[i];
    }
}

/* The assignment that is expected to do best. */
static exit_code find(const tuning *self, size_t *choices)
{
    tune_costs costs = tune_costs_of(self);
    dynq_front *front = NULL;
    const tune_options *o = self->options;
    const dynq_target target = {
        .size = sizeof target,
        .most = {.time = o->max_ms > 0 ? fmax(0, o->max_ms - self->rest_ms) : INFINITY,
                 .bytes = o->max_bytes > 0 ? fmax(0, o->max_bytes - self->rest_bytes) : INFINITY,
                 .error = costs.error_limit},
        .least = self->goal};
    dynq_error error = {0};
    exit_code code = make_front(self, &costs, &front);
    if (code == EXIT_CODE_DONE) {
        const dynq_status status = dynq_front_choose(front, &target, NULL, choices, &error);
        if (status != DYNQ_OK && status != DYNQ_ERR_NOT_FOUND) {
            code = command_fail_status(self->call->command, status, &error, NULL);
        }
        take_candidates(self, &costs, choices);
    }
    dynq_front_free(front);
    tune_costs_free(&costs);
    return code;
}

static exit_code measure(tuning *self, tune_try *one, dynq_model **model)
{
    exit_code code = tune_quantize(self, one->choices, model);
    if (code == EXIT_CODE_DONE) {
        code = tune_evaluate(self, *model, &one->measured);
    }
    if (code == EXIT_CODE_DONE) {
        double ms[2];
        dynq_model *const models[] = {self->model, *model};
        code = tune_time_models(self, models, 2, ms);
        /* In units of the FP32 model as the nodes were timed: machines are slower at times. */
        one->measured.ms = ms[1] * self->fp32_ms / ms[0];
    }
    one->excess = total_excess(self, &one->measured);
    one->met = one->excess <= 0;
    return code;
}

/* Expects more than before of what was missed. */
static void become_careful(tuning *self, const tune_try *one)
{
    checked_target all[TARGETS];
    const tune_outcome *predicted = &one->predicted, *measured = &one->measured;
    check_targets(self, measured, all);
    if (all[0].excess > 0) {
        self->scales.error *=
            predicted->error > 0
                ? fmax(STRICTER_ERROR, fmin(10, measured->error / predicted->error))
                : STRICTER_ERROR;
    }
    if (all[1].excess > 0) {
        const double angle = 1 - predicted->cosine;
        self->scales.angle *= angle > 0
                                  ? fmax(STRICTER_ERROR, fmin(10, (1 - measured->cosine) / angle))
                                  : STRICTER_ERROR;
    }
    if (all[2].excess > 0) {
        const double rest = self->rest_ms;
        self->scales.ms *= fmax(STRICTER_TIME, (measured->ms - rest) / (predicted->ms - rest));
    }
}

/* Expects less than before of what was measured to be less: something cheaper may do as well.
 * Whether there is anything to expect less of. */
static int become_bold(tuning *self, const tune_try *one)
{
    const tune_options *o = self->options;
    const tune_outcome *predicted = &one->predicted, *measured = &one->measured;
    const tune_scales before = self->scales;
    const double angle = 1 - measured->cosine, expected_angle = 1 - predicted->cosine;
    if (o->min_cosine > -1 && angle < LOOSER * expected_angle) {
        self->scales.angle *= fmax(BOLDEST, angle / expected_angle);
    }
    if (o->max_drop < 100 && measured->error < LOOSER * predicted->error) {
        self->scales.error *= fmax(BOLDEST, measured->error / predicted->error);
    }
    if (o->max_drop < 100 && measured->drop < LOOSER * predicted->drop) {
        self->scales.drop *= BOLDEST;
    }
    return memcmp(&before, &self->scales, sizeof before) != 0;
}

static int was_tried(const tuning *self, const size_t *choices)
{
    for (size_t i = 0; i < self->try_count; i++) {
        if (memcmp(self->tries[i].choices, choices, self->node_count * sizeof *choices) == 0) {
            return 1;
        }
    }
    return 0;
}

/* What is to be small. Of times the predicted ones, which add up the same measurements for every
 * assignment; those of whole models were taken minutes apart. */
static double goal_of(const tuning *self, const size_t *choices, const tune_outcome *measured)
{
    return self->goal == DYNQ_GOAL_TIME    ? tune_predict(self, choices).ms
           : self->goal == DYNQ_GOAL_BYTES ? measured->bytes
                                           : measured->error;
}

static int is_better(const tuning *self, const tune_try *one, const tune_try *other)
{
    return one->met && other->met ? goal_of(self, one->choices, &one->measured) <=
                                        goal_of(self, other->choices, &other->measured)
                                  : one->excess <= other->excess;
}

/* The try that met the targets at the least cost, or the one that missed them by least. */
static void choose(tuning *self)
{
    for (size_t i = 1; i < self->try_count; i++) {
        if (is_better(self, &self->tries[i], &self->tries[self->chosen])) {
            self->chosen = i;
        }
    }
}

/* Every node that can at one precision, the others in FP32; 0: that is no assignment. */
static int make_alike(const tuning *self, size_t candidate, size_t *choices)
{
    for (size_t n = 0; n < self->node_count; n++) {
        const tune_choice *all = self->nodes[n].choices;
        size_t c = candidate;
        if (!all[c].available) {
            for (c = 0; c < self->candidate_count && !(all[c].available && all[c].exact); c++) {
            }
        }
        if (c == self->candidate_count) {
            return 0;
        }
        choices[n] = c;
    }
    return 1;
}

/* The cheapest precision that meets the targets in all nodes, as was measured, if that is cheaper
 * than what was chosen: predictions may have thought worse of it. 0: there is none. */
static int find_alike(const tuning *self, size_t *choices)
{
    const tune_try *chosen = &self->tries[self->chosen];
    double least = chosen->met ? goal_of(self, chosen->choices, &chosen->measured) : INFINITY;
    size_t found = self->candidate_count;
    for (size_t c = 0; c < self->candidate_count; c++) {
        const tune_outcome *measured = &self->candidates[c].measured;
        if (total_excess(self, measured) <= 0 && make_alike(self, c, choices) &&
            goal_of(self, choices, measured) < least && !was_tried(self, choices)) {
            least = goal_of(self, choices, measured);
            found = c;
        }
    }
    return found < self->candidate_count && make_alike(self, found, choices);
}

static exit_code try_choices(tuning *self, size_t *choices, dynq_model **models)
{
    tune_try *one = &self->tries[self->try_count];
    *one = (tune_try){.choices = choices, .predicted = tune_predict(self, choices)};
    one->reachable = total_excess(self, &one->predicted) <= 0;
    return measure(self, one, &models[self->try_count++]);
}

/* Tries what is predicted to do best until a measurement says that it does. */
static exit_code try_predicted(tuning *self, dynq_model **models)
{
    int missed = 0;
    for (int going = 1; going && self->try_count < TUNE_MOST_TRIES - 1;) {
        size_t *choices = allocate(self->node_count, sizeof *choices);
        exit_code code = find(self, choices);
        if (code != EXIT_CODE_DONE || was_tried(self, choices)) {
            free(choices);
            return code;
        }
        code = try_choices(self, choices, models);
        if (code != EXIT_CODE_DONE) {
            return code;
        }
        const tune_try *one = &self->tries[self->try_count - 1];
        missed |= !one->met;
        if (one->met) {
            going = !missed && become_bold(self, one);
        } else {
            going = one->reachable;
            become_careful(self, one);
        }
    }
    return EXIT_CODE_DONE;
}

exit_code tune_search(tuning *self)
{
    dynq_model *models[TUNE_MOST_TRIES] = {NULL};
    self->scales = (tune_scales){1, 1, 1, 1};
    exit_code code = try_predicted(self, models);
    if (code == EXIT_CODE_DONE) {
        choose(self);
        size_t *choices = allocate(self->node_count, sizeof *choices);
        if (find_alike(self, choices)) {
            code = try_choices(self, choices, models);
            choose(self);
        } else {
            free(choices);
        }
    }
    if (code == EXIT_CODE_DONE) {
        self->result = dynq_model_retain(models[self->chosen]);
    }
    for (size_t i = 0; i < TUNE_MOST_TRIES; i++) {
        dynq_model_free(models[i]);
    }
    return code;
}

/* ---- the Pareto list ---- */

static int is_new(const size_t *taken, size_t count, size_t index)
{
    for (size_t i = 0; i < count; i++) {
        if (taken[i] == index) {
            return 0;
        }
    }
    return 1;
}

/* How far two costs are apart: errors by their logarithm, the others as shares of `span`. */
static double distance(dynq_cost a, dynq_cost b, dynq_cost span, double least)
{
    const double time = (a.time - b.time) / fmax(span.time, 1e-300);
    const double bytes = (a.bytes - b.bytes) / fmax(span.bytes, 1e-300);
    const double error =
        log((a.error + least) / (b.error + least)) / fmax(log(span.error / least + 1), 1e-300);
    return time * time + bytes * bytes + error * error;
}

/* Takes entries that are far from each other: the fastest, then always the one that is farthest
 * from all taken before. */
static size_t spread(const dynq_front *front, size_t *taken, size_t most)
{
    const size_t count = dynq_front_count(front);
    dynq_cost span = {0}, low = {INFINITY, INFINITY, INFINITY};
    double least = INFINITY;
    double *nearest = allocate(count, sizeof *nearest);
    for (size_t i = 0; i < count; i++) {
        dynq_cost cost;
        dynq_front_get(front, i, &cost, NULL);
        span = (dynq_cost){fmax(span.time, cost.time), fmax(span.bytes, cost.bytes),
                           fmax(span.error, cost.error)};
        low = (dynq_cost){fmin(low.time, cost.time), fmin(low.bytes, cost.bytes), 0};
        least = cost.error > 0 ? fmin(least, cost.error) : least;
        nearest[i] = INFINITY;
    }
    span.time -= low.time;
    span.bytes -= low.bytes;
    least = isfinite(least) ? least : 1;
    size_t taken_count = 0;
    for (size_t next = 0; taken_count < most && is_new(taken, taken_count, next);) {
        dynq_cost last;
        dynq_front_get(front, next, &last, NULL);
        taken[taken_count++] = next;
        for (size_t i = 0; i < count; i++) {
            dynq_cost cost;
            dynq_front_get(front, i, &cost, NULL);
            nearest[i] = fmin(nearest[i], distance(cost, last, span, least));
        }
        for (size_t i = 0; i < count; i++) {
            next = nearest[i] > nearest[next] ? i : next;
        }
    }
    free(nearest);
    return taken_count;
}

static int by_index(const void *a, const void *b)
{
    const size_t *const x = a, *const y = b;
    return (*x > *y) - (*x < *y);
}

exit_code tune_add_pareto(tuning *self)
{
    tune_costs costs = tune_costs_of(self);
    size_t taken[TUNE_MOST_PARETO] = {0};
    dynq_front *front = NULL;
    const exit_code code = make_front(self, &costs, &front);
    if (code == EXIT_CODE_DONE) {
        self->pareto_count = spread(front, taken, TUNE_MOST_PARETO);
        self->pareto_choices = allocate(self->pareto_count * self->node_count, sizeof(size_t));
        qsort(taken, self->pareto_count, sizeof *taken, by_index);
        for (size_t i = 0; i < self->pareto_count; i++) {
            size_t *choices = self->pareto_choices + i * self->node_count;
            dynq_front_get(front, taken[i], NULL, choices);
            take_candidates(self, &costs, choices);
            self->pareto[i] = tune_predict(self, choices);
        }
    }
    dynq_front_free(front);
    tune_costs_free(&costs);
    return code;
}
