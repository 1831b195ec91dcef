/* What the files of `dynq quantize` share: its options and rules, what it prepares, its report. */
#ifndef DYNQ_TOOLS_QUANTIZE_H
#define DYNQ_TOOLS_QUANTIZE_H

#include "tools/command.h"

#include <dynq/calibration.h>
#include <dynq/model.h>
#include <dynq/quantize.h>

/* The options of the command. Choices are in the order of the library's enumerations, which begin
 * with 1, as choices do. */
typedef struct quantize_options {
    const char *out, *calibration, *calibration_data;
    const char *smooth; /* NULL: not wanted */
    const char *rules_file;
    int ranges, granularity, scheme, method, weight_granularity, clip_weights, clip_ranges,
        correct_bias, feedback, weights, levels, table, simulate;
    double percentile;
    uint64_t clusters;
    option_list rules;
} quantize_options;

/* Rules as the library takes them; their patterns live in `texts`. */
typedef struct rule_set {
    dynq_quantize_rule *rules;
    char **texts;
    size_t count, room;
} rule_set;

/* The rules of --rules FILE, then those of --rule. On failure prints the error and returns its exit
 * code. Release the set in any case. */
exit_code rule_set_read(const command_call *call, rule_set *set);
void rule_set_free(rule_set *set);

/* What a run works with. */
typedef struct quantize_job {
    dynq_model *model; /* FP32, smoothed where that is wanted */
    dynq_calibration *calibration;
    dynq_second_moments *moments;
    dynq_quantize_options wanted;
    double alpha; /* of smoothing; 0: searched */
} quantize_job;

/* Opens or makes the calibration that job->wanted and smoothing need, smooths job->model, and
 * calibrates it anew after that. On failure prints the error and returns its exit code. */
exit_code quantize_prepare(const command_call *call, quantize_job *job);

/* Saves the quantized model of the job and says what happened to its nodes. */
exit_code quantize_report(const command_call *call, const quantize_job *job,
                          const dynq_model *quantized, uint64_t bytes_before);

#endif
