#include "tools/compare.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tools/labels.h"

static int has_classes(const comparison *self)
{
    return !self->input.ids || self->labels != NULL;
}

double compare_agreement(const comparison *self, const evaluate_variant *variant)
{
    return has_classes(self) ? dynq_metrics_result(&variant->output).top1_agreement : NAN;
}

/* Whether two paths lead to one file. */
static int same_file(const char *a, const char *b)
{
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

static int must_calibrate(const comparison *self)
{
    int found = 0;
    for (size_t i = 0; self->count == 1 && i < self->recipe_count; i++) {
        found |= compare_recipe_calibrates(&self->recipes[i]);
    }
    return found;
}

exit_code compare_read_data(comparison *self)
{
    const compare_options *options = self->options;
    if (options->calibration_data != NULL && same_file(options->data, options->calibration_data)) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--calibration-data is the file that is evaluated, which would flatter "
                            "static ranges; give other data, or none: the first tenth of %s then "
                            "calibrates and is left out",
                            options->data);
    }
    exit_code code =
        requests_read(self->call, self->models[0], options->data, &self->input, &self->x);
    if (code == EXIT_CODE_DONE && options->labels != NULL) {
        code = labels_read(self->call, options->labels, options->data, self->models[0],
                           &self->input, &self->x, &self->labels);
    }
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    if (!has_classes(self) && options->min_agreement > 0) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--min-agreement: the largest number of an embedding says nothing; for "
                            "a model of texts it needs --labels");
    }
    if (must_calibrate(self) && options->calibration_data == NULL) {
        self->held_out = self->x.count < 10 ? 1 : self->x.count / 10;
        if (self->held_out == self->x.count) {
            return command_fail(self->call->command, EXIT_CODE_DATA,
                                "%s has one %s only, which static ranges would be taken from; add "
                                "more or --calibration-data",
                                options->data, self->input.ids ? "line" : "row");
        }
    }
    self->data =
        (evaluate_data){.requests = &self->x,
                        .first = self->held_out,
                        .count = self->x.count - self->held_out,
                        .labels = self->labels != NULL ? self->labels + self->held_out : NULL};
    return EXIT_CODE_DONE;
}
