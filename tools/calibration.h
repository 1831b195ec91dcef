/* Calibration on requests of any kind. */
#ifndef DYNQ_TOOLS_CALIBRATION_H
#define DYNQ_TOOLS_CALIBRATION_H

#include "tools/requests.h"

#include <dynq/calibrator.h>
#include <dynq/model.h>
#include <dynq/second_moments.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

/* What example data is measured for. Either may be NULL. */
typedef struct calibration_target {
    dynq_calibration *calibration; /* added to */
    dynq_second_moments **moments; /* made */
} calibration_target;

/* What requests are given to, with what its calls need. */
typedef struct calibration_feed {
    dynq_calibrator *calibrator;  /* NULL: not wanted */
    dynq_second_moments *moments; /* NULL: not wanted; borrowed */
    int slot, moments_slot;
    size_t *offsets; /* of the requests of a call, counted from its first row */
    size_t room;
} calibration_feed;

/* For a model with one input; `longest` is the rows of the longest request. On failure nothing is
 * left to close. Moments that were made are the caller's, also after a failure. */
dynq_status calibration_open(const calibration_target *target, dynq_model *model, size_t longest,
                             uint32_t threads, calibration_feed *self, dynq_error *error);
/* What is all zero may be closed. */
void calibration_close(calibration_feed *self);

/* How many requests make one call: always the same for a model, so that statistics do not depend on
 * where somebody stopped and went on. */
size_t calibration_call(const dynq_model *model);
/* Adds requests [first, first + count) in one call; until `cancel` (may be NULL) is not 0. On
 * failure nothing is added to a calibration, and the message counts the requests from `before` on.
 */
dynq_status calibration_add(calibration_feed *self, const requests *data, size_t first,
                            size_t count, size_t before, const volatile int *cancel,
                            dynq_error *error);

/* Runs the model in FP32 on the first `count` requests of its only input and measures what its
 * linear layers read. `advance` (may be NULL) is called now and then with the share that is done.
 * On failure part of it may have been added. */
dynq_status calibration_run(const calibration_target *target, dynq_model *model,
                            const requests *data, size_t count, uint32_t threads,
                            void (*advance)(void *context, double share), void *context,
                            dynq_error *error);

#endif
