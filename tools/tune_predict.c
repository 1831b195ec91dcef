/* What an assignment is expected to come to: costs of nodes add up, times what measurements of
 * whole models were above them so far. */
#include "tools/tune.h"

#include "tools/allocate.h"

#include <math.h>
#include <stdlib.h>

/* Errors at which the accuracy is looked at, each so many times the one before. */
#define LEAST_ERROR 1e-9
#define MOST_ERROR  100.0
#define ERROR_STEP  1.05

static double error_of(const tune_choice *choice)
{
    return choice->answer.signal > 0 ? choice->answer.noise / choice->answer.signal : 0;
}

/* 1 - cosine, never below 0. */
static double angle_of(const tune_choice *choice)
{
    const double cosine = dynq_metrics_result(&choice->answer).cosine_mean;
    return isnan(cosine) ? 0 : fmax(0, 1 - cosine);
}

static double predicted_drop(const tuning *self, double error)
{
    return self->scales.drop * (self->fp32_accuracy - tune_expected_accuracy(self, error));
}

tune_outcome tune_predict(const tuning *self, const size_t *choices)
{
    tune_outcome sum = {.bytes = self->rest_bytes};
    double angle = 0;
    for (size_t i = 0; i < self->node_count; i++) {
        const tune_choice *choice = &self->nodes[i].choices[choices[i]];
        sum.error += error_of(choice);
        angle += angle_of(choice);
        sum.ms += choice->ms;
        sum.bytes += (double)choice->bytes;
    }
    sum.error *= self->scales.error;
    sum.cosine = 1 - angle * self->scales.angle;
    sum.ms = self->rest_ms + sum.ms * self->scales.ms;
    sum.drop = self->labels != NULL ? predicted_drop(self, sum.error) : NAN;
    sum.accuracy = self->fp32_accuracy - sum.drop;
    return sum;
}

double tune_error_limit(const tuning *self)
{
    double last = 0;
    for (double error = LEAST_ERROR; error < MOST_ERROR; error *= ERROR_STEP) {
        if (predicted_drop(self, error) > self->options->max_drop) {
            return last;
        }
        last = error;
    }
    return INFINITY;
}

/* What a choice adds to the error that is limited: the largest of its shares in what the targets
 * allow, so that the sum is no less than the share of any of them. */
static double share_of(const tuning *self, const tune_choice *choice, double error_limit,
                       double angle_limit)
{
    const double error = error_of(choice) * self->scales.error;
    const double angle = angle_of(choice) * self->scales.angle;
    double share = isfinite(error_limit) ? error / error_limit : 0;
    share = isfinite(angle_limit) ? fmax(share, angle / angle_limit) : share;
    return isfinite(error_limit) || isfinite(angle_limit) ? share : error;
}

tune_costs tune_costs_of(const tuning *self)
{
    /* No error is allowed at all by a limit of 0: what is above the least number is too much. */
    const double least = 1e-12;
    const double error_limit = self->labels != NULL && self->options->max_drop < 100
                                   ? fmax(least, tune_error_limit(self))
                                   : INFINITY;
    const double angle_limit =
        self->options->min_cosine > -1 ? fmax(least, 1 - self->options->min_cosine) : INFINITY;
    const size_t most = self->node_count * self->candidate_count;
    tune_costs all = {.counts = allocate(self->node_count, sizeof *all.counts),
                      .candidates = allocate(most, sizeof *all.candidates),
                      .costs = allocate(most, sizeof *all.costs),
                      .error_limit = isfinite(error_limit) || isfinite(angle_limit) ? 1 : INFINITY};
    size_t count = 0;
    for (size_t i = 0; i < self->node_count; i++) {
        for (size_t c = 0; c < self->candidate_count; c++) {
            const tune_choice *choice = &self->nodes[i].choices[c];
            if (choice->available) {
                all.candidates[count] = c;
                all.costs[count++] =
                    (dynq_cost){.time = choice->ms * self->scales.ms,
                                .bytes = (double)choice->bytes,
                                .error = share_of(self, choice, error_limit, angle_limit)};
                all.counts[i]++;
            }
        }
    }
    return all;
}

void tune_costs_free(tune_costs *costs)
{
    free(costs->counts);
    free(costs->candidates);
    free(costs->costs);
}
