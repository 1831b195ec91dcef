#include "tools/compare_recipe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const dynq_calibration_method methods[] = {DYNQ_METHOD_MAX, DYNQ_METHOD_ENTROPY,
                                                  DYNQ_METHOD_PERCENTILE, DYNQ_METHOD_MSE,
                                                  DYNQ_METHOD_AVERAGE};
static const dynq_scope scopes[] = {DYNQ_SCOPE_TENSOR, DYNQ_SCOPE_SEGMENT, DYNQ_SCOPE_ROW};

/* Moves past `word` if the text begins with it and the word ends there. */
static int take(const char **text, const char *word)
{
    const size_t length = strlen(word);
    const char next = strncmp(*text, word, length) == 0 ? (*text)[length] : 'x';
    if (next != '\0' && next != '-') {
        return 0;
    }
    *text += length + (next == '-');
    return 1;
}

static int take_range(const char **text, compare_recipe *recipe)
{
    if (take(text, "static")) {
        recipe->range = DYNQ_RANGE_STATIC;
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
            if (take(text, dynq_calibration_method_name(methods[i]))) {
                recipe->method = methods[i];
                return 1;
            }
        }
        return 0;
    }
    if (take(text, "dynamic")) {
        recipe->range = DYNQ_RANGE_DYNAMIC;
        for (size_t i = 0; i < sizeof scopes / sizeof *scopes; i++) {
            if (take(text, dynq_scope_name(scopes[i]))) {
                recipe->scope = scopes[i];
                return 1;
            }
        }
    }
    return 0;
}

/* "99.9" behind a method, if there is one. */
static int take_percentile(const char **text, compare_recipe *recipe)
{
    if (recipe->method != DYNQ_METHOD_PERCENTILE || **text < '0' || **text > '9') {
        return 1;
    }
    char *end = NULL;
    const double value = strtod(*text, &end);
    if (!(value > 0 && value <= 100) || (*end != '\0' && *end != '-')) {
        return 0;
    }
    recipe->percentile = value == COMPARE_USUAL_PERCENTILE ? 0 : value;
    *text = end + (*end == '-');
    return 1;
}

/* "group-32" and so on behind "weights-". */
static int take_granularity(const char **text, compare_recipe *recipe)
{
    for (dynq_weight_granularity granularity = DYNQ_WEIGHTS_PER_TENSOR;
         recipe->weights == DYNQ_WEIGHTS_PER_COLUMN &&
         dynq_weight_granularity_name(granularity) != NULL;
         granularity++) {
        char word[32];
        snprintf(word, sizeof word, "weights-%s", dynq_weight_granularity_name(granularity));
        if (take(text, word)) {
            recipe->weights = granularity;
            return 1;
        }
    }
    return 0;
}

/* "256" behind "clusters", if there is a number. */
static int take_count(const char **text, compare_recipe *recipe)
{
    if (!recipe->simulate || **text < '0' || **text > '9') {
        return 1;
    }
    char *end = NULL;
    recipe->clusters = strtoul(*text, &end, 10);
    if (recipe->clusters < 2 || recipe->clusters > 256 || (*end != '\0' && *end != '-')) {
        return 0;
    }
    *text = end + (*end == '-');
    return 1;
}

static int take_levels(const char **text, compare_recipe *recipe)
{
    static const dynq_levels others[] = {DYNQ_LEVELS_LOG, DYNQ_LEVELS_CLUSTERS, DYNQ_LEVELS_AFFINE};
    const int low = recipe->format == DYNQ_FORMAT_INT4 || recipe->format == DYNQ_FORMAT_INT2;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const int possible = recipe->simulate || (low && others[i] != DYNQ_LEVELS_AFFINE);
        if (possible && recipe->levels == DYNQ_LEVELS_UNIFORM &&
            take(text, dynq_levels_name(others[i]))) {
            recipe->levels = others[i];
            return others[i] != DYNQ_LEVELS_CLUSTERS || take_count(text, recipe);
        }
    }
    return 0;
}

static int take_table(const char **text, compare_recipe *recipe)
{
    if (recipe->table == 0 && recipe->levels == DYNQ_LEVELS_CLUSTERS) {
        recipe->table = take(text, "table-tensor")  ? DYNQ_TABLE_PER_TENSOR
                        : take(text, "table-panel") ? DYNQ_TABLE_PER_PANEL
                                                    : 0;
        return recipe->table != 0;
    }
    return 0;
}

static int take_suffix(const char **text, compare_recipe *recipe)
{
    /* Ranges of activations: INT16 has no zero point, limits are for what finds its ranges. */
    if (recipe->range != 0 && recipe->format != DYNQ_FORMAT_INT16 &&
        recipe->scheme != DYNQ_SCHEME_SYMMETRIC && take(text, "symmetric")) {
        recipe->scheme = DYNQ_SCHEME_SYMMETRIC;
        return 1;
    }
    if (recipe->range == DYNQ_RANGE_DYNAMIC && !recipe->clip_ranges && take(text, "clip-ranges")) {
        return recipe->clip_ranges = 1;
    }
    if (take_granularity(text, recipe) || take_levels(text, recipe) || take_table(text, recipe)) {
        return 1;
    }
    const struct {
        const char *word;
        int *on;
    } switches[] = {{"smooth", &recipe->smooth},
                    {"clip-weights", &recipe->clip_weights},
                    {"bias", &recipe->correct_bias},
                    {"feedback", &recipe->feedback}};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        if (!*switches[i].on && take(text, switches[i].word)) {
            return *switches[i].on = 1;
        }
    }
    return 0;
}

/* Whether kernels compute with such weights: the lab's granularities and levels are simulated. */
static int is_possible(const compare_recipe *recipe)
{
    const int grouped = recipe->weights == DYNQ_WEIGHTS_PER_GROUP_32 ||
                        recipe->weights == DYNQ_WEIGHTS_PER_GROUP_64 ||
                        recipe->weights == DYNQ_WEIGHTS_PER_GROUP_128;
    if (recipe->simulate || recipe->weights <= DYNQ_WEIGHTS_PER_TENSOR) {
        return !recipe->feedback || recipe->format != DYNQ_FORMAT_INT16;
    }
    return grouped && recipe->format != DYNQ_FORMAT_INT16;
}

int compare_recipe_parse(const char *name, compare_recipe *recipe)
{
    static const dynq_format floats[] = {DYNQ_FORMAT_FP16, DYNQ_FORMAT_BF16};
    *recipe = (compare_recipe){0};
    if (strcmp(name, "fp32") == 0) {
        return 1;
    }
    compare_recipe found = {.weights = DYNQ_WEIGHTS_PER_COLUMN, .levels = DYNQ_LEVELS_UNIFORM};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        if (strcmp(name, dynq_format_name(floats[i])) == 0) {
            found.format = floats[i];
            *recipe = found;
            return 1;
        }
    }
    const size_t length = strlen(name);
    const char *text = name;
    for (dynq_format format = DYNQ_FORMAT_INT16; format <= DYNQ_FORMAT_INT2; format++) {
        found.format =
            found.format == 0 && take(&text, dynq_format_name(format)) ? format : found.format;
    }
    if (length == 0 || name[length - 1] == '-' || found.format == 0) {
        return 0;
    }
    if (take(&text, "simulated")) {
        found.simulate = 1;
    } else if (take_range(&text, &found) && take_percentile(&text, &found)) {
        found.scheme = DYNQ_SCHEME_AFFINE;
    } else {
        return 0;
    }
    while (*text != '\0') {
        if (!take_suffix(&text, &found)) {
            return 0;
        }
    }
    if (!is_possible(&found)) {
        return 0;
    }
    *recipe = found;
    return 1;
}

/* Appends to a text of `size` bytes. */
__attribute__((format(printf, 3, 4))) static void append(char *text, size_t size,
                                                         const char *format, ...)
{
    const size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}

static void append_weights(const compare_recipe *recipe, char *text, size_t size)
{
    if (recipe->weights != DYNQ_WEIGHTS_PER_COLUMN) {
        append(text, size, "-weights-%s", dynq_weight_granularity_name(recipe->weights));
    }
    if (recipe->levels != DYNQ_LEVELS_UNIFORM) {
        append(text, size, "-%s", dynq_levels_name(recipe->levels));
    }
    if (recipe->clusters != 0) {
        append(text, size, "-%zu", recipe->clusters);
    }
    if (recipe->table != 0) {
        append(text, size, "-table-%s", dynq_table_scope_name(recipe->table));
    }
}

void compare_recipe_name(const compare_recipe *recipe, char name[COMPARE_NAME_SIZE])
{
    snprintf(name, COMPARE_NAME_SIZE, "%s",
             recipe->format == 0 ? "fp32" : dynq_format_name(recipe->format));
    if (recipe->format == 0) {
        return;
    }
    if (recipe->simulate) {
        append(name, COMPARE_NAME_SIZE, "-simulated");
    } else if (recipe->range != 0) {
        append(name, COMPARE_NAME_SIZE, "-%s-%s", dynq_range_kind_name(recipe->range),
               recipe->range == DYNQ_RANGE_STATIC ? dynq_calibration_method_name(recipe->method)
                                                  : dynq_scope_name(recipe->scope));
    }
    if (recipe->percentile > 0) {
        append(name, COMPARE_NAME_SIZE, "-%.10g", recipe->percentile);
    }
    append(name, COMPARE_NAME_SIZE, "%s",
           recipe->scheme == DYNQ_SCHEME_SYMMETRIC ? "-symmetric" : "");
    append_weights(recipe, name, COMPARE_NAME_SIZE);
    append(name, COMPARE_NAME_SIZE, "%s%s%s%s%s", recipe->smooth ? "-smooth" : "",
           recipe->clip_weights ? "-clip-weights" : "", recipe->clip_ranges ? "-clip-ranges" : "",
           recipe->correct_bias ? "-bias" : "", recipe->feedback ? "-feedback" : "");
}

static void append_range(const compare_recipe *recipe, char *text)
{
    if (recipe->range == DYNQ_RANGE_STATIC) {
        append(text, COMPARE_SWITCHES_SIZE, " --ranges static --method %s",
               dynq_calibration_method_name(recipe->method));
        if (recipe->percentile > 0) {
            append(text, COMPARE_SWITCHES_SIZE, " --percentile %.10g", recipe->percentile);
        }
    } else if (recipe->range == DYNQ_RANGE_DYNAMIC) {
        append(text, COMPARE_SWITCHES_SIZE, " --granularity %s", dynq_scope_name(recipe->scope));
    }
    if (recipe->scheme == DYNQ_SCHEME_SYMMETRIC) {
        append(text, COMPARE_SWITCHES_SIZE, " --scheme symmetric");
    }
}

static void append_weight_switches(const compare_recipe *recipe, char *text)
{
    if (recipe->weights != DYNQ_WEIGHTS_PER_COLUMN) {
        append(text, COMPARE_SWITCHES_SIZE, " --weight-granularity %s",
               dynq_weight_granularity_name(recipe->weights));
    }
    if (recipe->levels != DYNQ_LEVELS_UNIFORM) {
        append(text, COMPARE_SWITCHES_SIZE, " --levels %s", dynq_levels_name(recipe->levels));
    }
    if (recipe->clusters != 0) {
        append(text, COMPARE_SWITCHES_SIZE, " --clusters %zu", recipe->clusters);
    }
    if (recipe->table != 0) {
        append(text, COMPARE_SWITCHES_SIZE, " --table %s", dynq_table_scope_name(recipe->table));
    }
}

void compare_recipe_switches(const compare_recipe *recipe, char text[COMPARE_SWITCHES_SIZE])
{
    char all[COMPARE_SWITCHES_SIZE] = "";
    if (recipe->format != 0) {
        if (recipe->format != DYNQ_FORMAT_INT8) {
            append(all, sizeof all, " --weights %s", dynq_format_name(recipe->format));
        }
        append(all, sizeof all, "%s", recipe->simulate ? " --simulate" : "");
        append_range(recipe, all);
        append_weight_switches(recipe, all);
        append(all, sizeof all, "%s%s%s%s%s", recipe->smooth ? " --smooth" : "",
               recipe->clip_weights ? " --clip-weights" : "",
               recipe->clip_ranges ? " --clip-ranges" : "",
               recipe->correct_bias ? " --correct-bias" : "",
               recipe->feedback ? " --feedback" : "");
    }
    snprintf(text, COMPARE_SWITCHES_SIZE, "%s", all[0] == ' ' ? all + 1 : all);
}

int compare_recipe_calibrates(const compare_recipe *recipe)
{
    return recipe->range == DYNQ_RANGE_STATIC || recipe->smooth || recipe->clip_ranges ||
           recipe->correct_bias || recipe->feedback || recipe->levels == DYNQ_LEVELS_CLUSTERS;
}

int compare_recipe_equal(const compare_recipe *a, const compare_recipe *b)
{
    return a->range == b->range && a->scope == b->scope && a->method == b->method &&
           a->percentile == b->percentile && a->scheme == b->scheme && a->smooth == b->smooth &&
           a->clip_ranges == b->clip_ranges && a->correct_bias == b->correct_bias &&
           compare_recipe_same_weights(a, b);
}

int compare_recipe_same_weights(const compare_recipe *a, const compare_recipe *b)
{
    return a->format == b->format && a->simulate == b->simulate && a->weights == b->weights &&
           a->levels == b->levels && a->table == b->table && a->clusters == b->clusters &&
           a->clip_weights == b->clip_weights && a->feedback == b->feedback;
}
