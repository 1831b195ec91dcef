#include "tools/compare.h"

#include <dynq/quantize.h>
#include <dynq/smooth.h>

#include "tools/calibration.h"
#include "tools/calibration_file.h"
#include "tools/engines.h"
#include "tools/output.h"

/* Progress is counted in thousandths of the work. */
#define PROGRESS_STEPS 1000

static void progress_advance(void *context, double share)
{
    command_progress_update(context, (uint64_t)(share * PROGRESS_STEPS));
}

exit_code compare_choose_variants(comparison *self)
{
    const compare_options *options = self->options;
    const char *bad = NULL;
    size_t length = 0;
    if (compare_recipe_list(options->variants, options->percentile, self->recipes,
                            COMPARE_MAX_VARIANTS - 1, &self->recipe_count, &bad, &length)) {
        return EXIT_CODE_DONE;
    }
    if (self->recipe_count == COMPARE_MAX_VARIANTS - 1) {
        return command_fail(self->call->command, EXIT_CODE_USAGE,
                            "--variants: more than %d variants; name fewer",
                            COMPARE_MAX_VARIANTS - 1);
    }
    return command_fail(
        self->call->command, EXIT_CODE_USAGE,
        "--variants: '%.*s' names nothing; accepted: "
        "int8-static-max|entropy|percentile|mse|average or int8-dynamic-tensor|segment|row, the "
        "same "
        "with int16, int4 and int2, int4-simulated, fp16, bf16, with what `dynq compare --help` "
        "lists behind them, or a pattern such as 'int8-static-*'",
        (int)(length < 100 ? length : 100), bad);
}

/* The FP32 models that variants are made of: as it is, smoothed, smoothed for ranges per row. */
typedef enum base { BASE_PLAIN, BASE_SMOOTH, BASE_SMOOTH_ROWS, BASES } base;

static base base_of(const compare_recipe *recipe)
{
    if (!recipe->smooth) {
        return BASE_PLAIN;
    }
    return recipe->range == DYNQ_RANGE_DYNAMIC && recipe->scope == DYNQ_SCOPE_ROW ? BASE_SMOOTH_ROWS
                                                                                  : BASE_SMOOTH;
}

/* What is made from while variants are made one by one. */
typedef struct maker {
    comparison *all;
    dynq_model *models[BASES];             /* NULL: not yet */
    dynq_calibration *calibrations[BASES]; /* of each of them; NULL: not yet */
    dynq_second_moments *moments[BASES];   /* the same, where error feedback is wanted */
    size_t made[COMPARE_MAX_VARIANTS];     /* the variant that a recipe became */
} maker;

static exit_code fail(const maker *self, const dynq_error *error, const char *path)
{
    return command_fail_status(self->all->call->command, error->status, error,
                               path != NULL ? path : self->all->call->arguments[0]);
}

/* The requests that were held out of those in memory. */
static exit_code calibrate_held_out(maker *self, base from, const calibration_target *target,
                                    command_progress *progress)
{
    comparison *all = self->all;
    dynq_error error = {0};
    const dynq_status status =
        calibration_run(target, self->models[from], &all->x, all->held_out,
                        all->call->common.threads, progress_advance, progress, &error);
    all->calibrated = all->held_out;
    return status == DYNQ_OK ? EXIT_CODE_DONE : fail(self, &error, all->options->data);
}

/* Whether some variant of that base is rounded with error feedback. */
static int wants_moments(const maker *self, base from)
{
    for (size_t i = 0; i < self->all->recipe_count; i++) {
        const compare_recipe *recipe = &self->all->recipes[i];
        if (recipe->feedback && base_of(recipe) == from) {
            return 1;
        }
    }
    return 0;
}

static exit_code calibrate(maker *self, base from)
{
    comparison *all = self->all;
    const char *data = all->options->calibration_data;
    if (from != BASE_PLAIN && data != NULL && !calibration_file_again(data)) {
        return command_fail(all->call->command, EXIT_CODE_USAGE,
                            "--calibration-data: smoothed variants read it once more: give a file, "
                            "not a pipe, or name other --variants");
    }
    dynq_error error = {0};
    if (dynq_calibration_create(self->models[from], NULL, &self->calibrations[from], &error) !=
        DYNQ_OK) {
        return fail(self, &error, NULL);
    }
    const calibration_target target = {.calibration = self->calibrations[from],
                                       .moments =
                                           wants_moments(self, from) ? &self->moments[from] : NULL};
    command_progress progress =
        command_progress_begin("Calibrating", PROGRESS_STEPS, all->call->common.quiet);
    const exit_code code = data != NULL
                               ? calibration_file(all->call, data, self->models[from], &target,
                                                  progress_advance, &progress, &all->calibrated)
                               : calibrate_held_out(self, from, &target, &progress);
    command_progress_end(&progress);
    return code;
}

/* The FP32 model that a recipe starts from and, where it needs one, its calibration. */
static exit_code prepare(maker *self, const compare_recipe *recipe)
{
    exit_code code = EXIT_CODE_DONE;
    const base from = base_of(recipe);
    const int calibrated = recipe->range == DYNQ_RANGE_STATIC || recipe->clip_ranges ||
                           recipe->correct_bias || recipe->feedback ||
                           recipe->levels == DYNQ_LEVELS_CLUSTERS;
    if (self->calibrations[BASE_PLAIN] == NULL && (recipe->smooth || calibrated)) {
        code = calibrate(self, BASE_PLAIN);
    }
    if (code == EXIT_CODE_DONE && self->models[from] == NULL) {
        const dynq_smooth_options options = {
            .size = sizeof options,
            .scope = from == BASE_SMOOTH_ROWS ? DYNQ_SCOPE_ROW : DYNQ_SCOPE_SEGMENT};
        dynq_error error = {0};
        if (dynq_smooth(self->models[BASE_PLAIN], self->calibrations[BASE_PLAIN], &options,
                        &self->models[from], &error) != DYNQ_OK) {
            code = fail(self, &error, NULL);
        }
    }
    if (code == EXIT_CODE_DONE && calibrated && self->calibrations[from] == NULL) {
        code = calibrate(self, from);
    }
    return code;
}

/* An earlier variant whose model serves this one as well: a scope is told when a model runs. */
static dynq_model *shared_model(const maker *self, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        compare_recipe other = self->all->recipes[i];
        other.scope = self->all->recipes[index].scope;
        if (base_of(&self->all->recipes[i]) == base_of(&self->all->recipes[index]) &&
            compare_recipe_equal(&other, &self->all->recipes[index])) {
            return dynq_model_retain(self->all->variants[self->made[i]].model);
        }
    }
    return NULL;
}

/* An earlier variant whose weights are quantized in the same way, of the same FP32 model. */
static dynq_model *find_twin(const maker *self, size_t index)
{
    const compare_recipe *recipe = &self->all->recipes[index];
    for (size_t i = 0; i < index; i++) {
        const compare_recipe *other = &self->all->recipes[i];
        if (base_of(other) == base_of(recipe) && compare_recipe_same_weights(other, recipe)) {
            return self->all->variants[self->made[i]].model;
        }
    }
    return NULL;
}

static dynq_switch on_if(int wanted)
{
    return wanted ? DYNQ_SWITCH_ON : DYNQ_SWITCH_OFF;
}

/* Whether its weights are numbers of levels. */
static int is_low(const compare_recipe *recipe)
{
    return recipe->format == DYNQ_FORMAT_INT4 || recipe->format == DYNQ_FORMAT_INT2 ||
           recipe->clusters != 0;
}

static exit_code make_model(maker *self, size_t index, dynq_model **model)
{
    const compare_recipe *recipe = &self->all->recipes[index];
    const exit_code code = prepare(self, recipe);
    if (code != EXIT_CODE_DONE) {
        return code;
    }
    const dynq_quantize_options options = {
        .size = sizeof options,
        .range = recipe->range,
        .scope = recipe->scope,
        .scheme = recipe->format == DYNQ_FORMAT_INT16 ? DYNQ_SCHEME_SYMMETRIC : recipe->scheme,
        .calibration = self->calibrations[base_of(recipe)],
        .method = recipe->method,
        .percentile = recipe->percentile,
        .weight_granularity = recipe->weights,
        .clip_weights = on_if(recipe->clip_weights),
        .clip_ranges = on_if(recipe->clip_ranges),
        .correct_bias = on_if(recipe->correct_bias),
        .weights = recipe->format,
        .levels = is_low(recipe) ? recipe->levels : 0,
        .table = recipe->table,
        .clusters = recipe->clusters,
        .feedback = on_if(recipe->feedback),
        .moments = self->moments[base_of(recipe)],
        .algebra = recipe->feedback ? engine_algebra() : NULL,
        .simulate = on_if(recipe->simulate),
        .twin = find_twin(self, index)};
    dynq_error error = {0};
    return dynq_quantize(self->models[base_of(recipe)], &options, model, &error) == DYNQ_OK
               ? EXIT_CODE_DONE
               : fail(self, &error, NULL);
}

static exit_code make_one(maker *self, size_t index)
{
    const compare_recipe *recipe = &self->all->recipes[index];
    char name[COMPARE_NAME_SIZE];
    dynq_model *model = shared_model(self, index);
    const exit_code code = model != NULL ? EXIT_CODE_DONE : make_model(self, index, &model);
    if (code == EXIT_CODE_DONE) {
        compare_recipe_name(recipe, name);
        self->made[index] = self->all->count;
        compare_add_variant(self->all, name, model, NULL, recipe);
    }
    return code;
}

exit_code compare_make_variants(comparison *self)
{
    maker all = {.all = self, .models = {self->models[0]}};
    exit_code code = EXIT_CODE_DONE;
    for (size_t i = 0; i < self->recipe_count && code == EXIT_CODE_DONE; i++) {
        if (self->recipes[i].feedback && engine_algebra() == NULL) {
            char name[COMPARE_NAME_SIZE];
            compare_recipe_name(&self->recipes[i], name);
            code = command_fail(self->call->command, EXIT_CODE_USAGE,
                                "--variants: %s needs OpenBLAS, which this build has not", name);
            break;
        }
        code = make_one(&all, i);
    }
    for (int from = BASE_PLAIN; from < BASES; from++) {
        dynq_calibration_free(all.calibrations[from]);
        dynq_second_moments_free(all.moments[from]);
        dynq_model_free(from == BASE_PLAIN ? NULL : all.models[from]);
    }
    return code;
}
