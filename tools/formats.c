/* `dynq formats`: a tensor, or all layers of a model, in every format that numbers are stored in.
 */
#include "tools/formats_command.h"

#include "tools/allocate.h"
#include "tools/output.h"
#include "tools/report.h"

#include <stdio.h>
#include <stdlib.h>

static const option_entry entries[] = {
    {.name = "tensor",
     .kind = OPTION_STRING,
     .offset = offsetof(formats_options, tensor),
     .argument = "NAME",
     .help = "of a model or safetensors file: measure the weights of this node, or this tensor, "
             "alone"},
    {.name = "html",
     .kind = OPTION_STRING,
     .offset = offsetof(formats_options, html),
     .argument = "FILE",
     .help = "also write a page with pictures: bits, numbers near 0, histogram with the steps, "
             "errors"},
    {.name = NULL},
};

double formats_bits_per_value(const formats_report *measured, size_t kind)
{
    return 8.0 * (double)measured->results[kind].bytes / (double)measured->values;
}

void formats_describe_job(const formats_job *job, char *buffer, size_t size)
{
    const formats_report *all = &job->all;
    char shape[64];
    snprintf(shape, sizeof shape, "%zu tensors", job->source.count);
    if (job->source.count == 1) {
        snprintf(shape, sizeof shape, "%zu x %zu", all->n, all->k);
    }
    snprintf(buffer, size, "%s, %llu value%s from %.4g to %.4g, %llu of them 0", shape,
             (unsigned long long)all->values, all->values == 1 ? "" : "s", all->min, all->max,
             (unsigned long long)all->zeros);
}

int formats_warning(const formats_report *measured, size_t kind, char *buffer, size_t size)
{
    const formats_result *result = &measured->results[kind];
    if (result->overflowed > 0) {
        snprintf(buffer, size, "%s: %llu of %llu values overflow to infinity.",
                 dynq_format_name(formats_kinds[kind].format),
                 (unsigned long long)result->overflowed, (unsigned long long)measured->values);
    } else if (result->vanished > 0 && formats_kinds[kind].scaling == FORMATS_FLOAT) {
        snprintf(buffer, size, "%s: %llu of %llu values are too small and become 0.",
                 dynq_format_name(formats_kinds[kind].format), (unsigned long long)result->vanished,
                 (unsigned long long)measured->values);
    }
    return result->overflowed > 0 ||
           (result->vanished > 0 && formats_kinds[kind].scaling == FORMATS_FLOAT);
}

static exit_code measure(formats_job *job)
{
    const formats_source *source = &job->source;
    exit_code code = EXIT_CODE_DONE;
    uint64_t total = 0, done = 0;
    for (size_t i = 0; i < source->count; i++) {
        total += (uint64_t)source->items[i].n * source->items[i].k;
    }
    command_progress progress = command_progress_begin("formats", total, job->call->common.quiet);
    for (size_t i = 0; i < source->count && code == EXIT_CODE_DONE; i++) {
        const formats_item *item = &source->items[i];
        double *values = NULL;
        code = formats_source_read(job->call, source, item, &values);
        if (code == EXIT_CODE_DONE) {
            formats_report *measured = &job->reports[i];
            measured->name = allocate_text(item->name);
            measured->n = item->n;
            measured->k = item->k;
            formats_measure(values, item->n, item->k, measured);
            formats_add(&job->all, measured);
            free(values);
            done += measured->values;
            command_progress_update(&progress, done);
        }
    }
    command_progress_end(&progress);
    if (code == EXIT_CODE_DONE && !(job->all.results[0].signal > 0)) {
        code = command_fail(job->call->command, EXIT_CODE_DATA,
                            "%s: all values are 0: every format holds them", source->path);
    }
    return code;
}

static exit_code report_results(const formats_job *job)
{
    const formats_options *options = job->call->options;
    if (options->html != NULL) {
        const exit_code code = formats_write_html(job);
        if (code != EXIT_CODE_DONE) {
            return code;
        }
    }
    if (job->call->common.json) {
        formats_print_json(job);
    } else {
        formats_print_tables(job);
    }
    return EXIT_CODE_DONE;
}

static exit_code run(const command_call *call)
{
    const formats_options *options = call->options;
    formats_job job = {.call = call};
    dynq_error error = {0};
    if (options->html != NULL) {
        const dynq_status status = report_check_path(options->html, &error);
        if (status != DYNQ_OK) {
            return command_fail_status(call->command, status, &error, options->html);
        }
    }
    exit_code code = formats_source_open(call, call->arguments[0], options->tensor, &job.source);
    if (code == EXIT_CODE_DONE) {
        job.reports = allocate(job.source.count, sizeof *job.reports);
        job.all.name = allocate_text(call->arguments[0]);
        if (job.source.count == 1) {
            job.all.n = job.source.items[0].n;
            job.all.k = job.source.items[0].k;
        }
        code = measure(&job);
    }
    if (code == EXIT_CODE_DONE) {
        code = report_results(&job);
    }
    for (size_t i = 0; job.reports != NULL && i < job.source.count; i++) {
        free(job.reports[i].name);
    }
    free(job.reports);
    free(job.all.name);
    formats_source_close(&job.source);
    return code;
}

const command command_formats = {
    .name = "formats",
    .summary = "what every number format makes of a tensor or a model",
    .usage = "FILE [options]",
    .description =
        "Stores numbers in FP64, FP32, FP16, BF16, INT16, INT8, INT4 and INT2 and measures what is "
        "lost: an array (npy, IDX), the linear layers of a model, each and together, or the "
        "matrices of any safetensors file. Integers have one scale for the tensor, for each "
        "column (an output: the first dimension) or each group of 32 inputs; it is the largest "
        "magnitude divided by the largest code (32767, 127, 7, 1).",
    .example = "dynq formats mlp.safetensors --html formats.html\n"
               "dynq formats weights.npy -f csv",
    .native = 1,
    .entries = entries,
    .options_size = sizeof(formats_options),
    .min_arguments = 1,
    .max_arguments = 1,
    .argument = "FILE",
    .heeds = COMMAND_FORMAT,
    .run = run,
};
