#include "tools/formats_command.h"

#include "tools/output.h"

#include <math.h>

static json_t *format_json(const formats_report *measured, size_t kind)
{
    const formats_kind of = formats_kinds[kind];
    const formats_result *result = &measured->results[kind];
    const formats_limits limits = formats_limits_of(of.format);
    const int is_float = of.scaling == FORMATS_FLOAT;
    const double low = is_float ? 1 : result->least_scale;
    const double high = is_float ? 1 : result->largest_scale;
    const double sqnr = formats_sqnr(result);
    json_t *object = command_json_object();
    command_json_set(object, "format", command_json_string(dynq_format_name(of.format)));
    command_json_set(object, "scaling",
                     command_json_string(is_float ? NULL : formats_scaling_name(of.scaling)));
    command_json_set(object, "bits", command_json_integer(dynq_format_bits(of.format)));
    command_json_set(object, "exponent_bits", command_json_integer(limits.exponent));
    command_json_set(object, "fraction_bits", command_json_integer(limits.fraction));
    command_json_set(object, "largest", command_json_number(high * limits.largest));
    command_json_set(object, "least_normal", command_json_number(low * limits.least_normal));
    command_json_set(object, "least", command_json_number(low * limits.least));
    command_json_set(object, "step_min", command_json_number(low * limits.epsilon));
    command_json_set(object, "step_max", command_json_number(high * limits.epsilon));
    command_json_set(object, "digits", command_json_number(limits.digits));
    command_json_set(object, "sqnr_db", command_json_number(sqnr));
    command_json_set(object, "exact", command_json_boolean(sqnr == (double)INFINITY));
    command_json_set(object, "cosine", command_json_number(formats_cosine(result)));
    command_json_set(object, "max_abs_error", command_json_number(result->largest_error));
    command_json_set(object, "bytes", command_json_integer(result->bytes));
    command_json_set(object, "overflowed", command_json_integer(result->overflowed));
    command_json_set(object, "vanished", command_json_integer(result->vanished));
    return object;
}

static json_t *report_json(const formats_report *measured)
{
    json_t *object = command_json_object();
    json_t *formats = command_json_array();
    command_json_set(object, "name", command_json_string(measured->name));
    if (measured->n > 0) {
        command_json_set(object, "n", command_json_integer(measured->n));
        command_json_set(object, "k", command_json_integer(measured->k));
    }
    command_json_set(object, "values", command_json_integer(measured->values));
    command_json_set(object, "zeros", command_json_integer(measured->zeros));
    command_json_set(object, "min", command_json_number(measured->min));
    command_json_set(object, "max", command_json_number(measured->max));
    for (size_t kind = 0; kind < FORMATS_KINDS; kind++) {
        command_json_append(formats, format_json(measured, kind));
    }
    command_json_set(object, "formats", formats);
    return object;
}

void formats_print_json(const formats_job *job)
{
    json_t *object = command_json_new("formats");
    json_t *tensors = command_json_array();
    command_json_set(object, "file", command_json_string(job->call->arguments[0]));
    command_json_set(object, "group", command_json_integer(FORMATS_GROUP));
    for (size_t i = 0; i < job->source.count; i++) {
        command_json_append(tensors, report_json(&job->reports[i]));
    }
    command_json_set(object, "tensors", tensors);
    command_json_set(object, "together", report_json(&job->all));
    command_json_print(object);
}
