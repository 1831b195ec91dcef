#include "tools/compare_recipe.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USUAL_PERCENTILE 99.99

static const char *const usual_variants[] = {
    "int8-static-max",
    "int8-static-entropy",
    "int8-static-percentile",
    "int8-static-mse",
    "int8-static-average",
    "int8-static-max-symmetric",
    "int8-dynamic-tensor",
    "int8-dynamic-segment",
    "int8-dynamic-row",
    "int8-dynamic-segment-symmetric",
    "int8-dynamic-row-symmetric",
    "int8-dynamic-row-weights-tensor",
    "int8-static-mse-smooth",
    "int8-dynamic-segment-smooth",
    "int8-dynamic-row-smooth",
    "int8-dynamic-row-clip-weights",
    "int8-dynamic-segment-clip-ranges",
    "int8-dynamic-row-bias",
    "int8-dynamic-row-smooth-bias",
};

static const dynq_calibration_method methods[] = {DYNQ_METHOD_MAX, DYNQ_METHOD_ENTROPY,
                                                  DYNQ_METHOD_PERCENTILE, DYNQ_METHOD_MSE,
                                                  DYNQ_METHOD_AVERAGE};
static const dynq_scope scopes[] = {DYNQ_SCOPE_TENSOR, DYNQ_SCOPE_SEGMENT, DYNQ_SCOPE_ROW};

const char *compare_usual_variant(size_t index)
{
    return index < sizeof usual_variants / sizeof *usual_variants ? usual_variants[index] : NULL;
}

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
    recipe->percentile = value == USUAL_PERCENTILE ? 0 : value;
    *text = end + (*end == '-');
    return 1;
}

static int take_suffix(const char **text, compare_recipe *recipe)
{
    if (recipe->scheme != DYNQ_SCHEME_SYMMETRIC && take(text, "symmetric")) {
        recipe->scheme = DYNQ_SCHEME_SYMMETRIC;
        return 1;
    }
    if (recipe->weights != DYNQ_WEIGHTS_PER_TENSOR && take(text, "weights-tensor")) {
        recipe->weights = DYNQ_WEIGHTS_PER_TENSOR;
        return 1;
    }
    /* Limits of dynamic ranges: a static one has been chosen already. */
    if (recipe->range == DYNQ_RANGE_DYNAMIC && !recipe->clip_ranges && take(text, "clip-ranges")) {
        return recipe->clip_ranges = 1;
    }
    const struct {
        const char *word;
        int *on;
    } switches[] = {{"smooth", &recipe->smooth},
                    {"clip-weights", &recipe->clip_weights},
                    {"bias", &recipe->correct_bias}};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        if (!*switches[i].on && take(text, switches[i].word)) {
            return *switches[i].on = 1;
        }
    }
    return 0;
}

int compare_recipe_parse(const char *name, compare_recipe *recipe)
{
    *recipe = (compare_recipe){0};
    if (strcmp(name, "fp32") == 0) {
        return 1;
    }
    compare_recipe found = {.scheme = DYNQ_SCHEME_AFFINE, .weights = DYNQ_WEIGHTS_PER_COLUMN};
    const size_t length = strlen(name);
    const char *text = name;
    if (length == 0 || name[length - 1] == '-' || !take(&text, "int8") ||
        !take_range(&text, &found) || !take_percentile(&text, &found)) {
        return 0;
    }
    while (*text != '\0') {
        if (!take_suffix(&text, &found)) {
            return 0;
        }
    }
    *recipe = found;
    return 1;
}

void compare_recipe_name(const compare_recipe *recipe, char name[COMPARE_NAME_SIZE])
{
    char number[32] = "";
    if (recipe->range == 0) {
        snprintf(name, COMPARE_NAME_SIZE, "fp32");
        return;
    }
    const int is_static = recipe->range == DYNQ_RANGE_STATIC;
    if (recipe->percentile > 0) {
        snprintf(number, sizeof number, "-%.10g", recipe->percentile);
    }
    snprintf(
        name, COMPARE_NAME_SIZE, "int8-%s-%s%s%s%s%s%s%s%s", dynq_range_kind_name(recipe->range),
        is_static ? dynq_calibration_method_name(recipe->method) : dynq_scope_name(recipe->scope),
        number, recipe->scheme == DYNQ_SCHEME_SYMMETRIC ? "-symmetric" : "",
        recipe->weights == DYNQ_WEIGHTS_PER_TENSOR ? "-weights-tensor" : "",
        recipe->smooth ? "-smooth" : "", recipe->clip_weights ? "-clip-weights" : "",
        recipe->clip_ranges ? "-clip-ranges" : "", recipe->correct_bias ? "-bias" : "");
}

void compare_recipe_switches(const compare_recipe *recipe, char text[COMPARE_SWITCHES_SIZE])
{
    char range[64] = "";
    text[0] = '\0';
    if (recipe->range == 0) {
        return;
    }
    if (recipe->range == DYNQ_RANGE_STATIC) {
        snprintf(range, sizeof range, "--ranges static --method %s",
                 dynq_calibration_method_name(recipe->method));
        if (recipe->percentile > 0) {
            const size_t used = strlen(range);
            snprintf(range + used, sizeof range - used, " --percentile %.10g", recipe->percentile);
        }
    } else {
        snprintf(range, sizeof range, "--granularity %s", dynq_scope_name(recipe->scope));
    }
    snprintf(text, COMPARE_SWITCHES_SIZE, "%s%s%s%s%s%s%s", range,
             recipe->scheme == DYNQ_SCHEME_SYMMETRIC ? " --scheme symmetric" : "",
             recipe->weights == DYNQ_WEIGHTS_PER_TENSOR ? " --weight-granularity tensor" : "",
             recipe->smooth ? " --smooth" : "", recipe->clip_weights ? " --clip-weights" : "",
             recipe->clip_ranges ? " --clip-ranges" : "",
             recipe->correct_bias ? " --correct-bias" : "");
}

int compare_recipe_calibrates(const compare_recipe *recipe)
{
    return recipe->range == DYNQ_RANGE_STATIC || recipe->smooth || recipe->clip_ranges ||
           recipe->correct_bias;
}

int compare_recipe_equal(const compare_recipe *a, const compare_recipe *b)
{
    return a->range == b->range && a->scope == b->scope && a->method == b->method &&
           a->percentile == b->percentile && a->scheme == b->scheme && a->weights == b->weights &&
           a->smooth == b->smooth && a->clip_weights == b->clip_weights &&
           a->clip_ranges == b->clip_ranges && a->correct_bias == b->correct_bias;
}

/* Adds a recipe unless it is there. 0: no room. */
static int add_once(compare_recipe one, double percentile, compare_recipe *recipes, size_t room,
                    size_t *count)
{
    if (one.range == 0) {
        return 1;
    }
    if (one.method == DYNQ_METHOD_PERCENTILE && one.percentile == 0 &&
        percentile != USUAL_PERCENTILE) {
        one.percentile = percentile;
    }
    for (size_t i = 0; i < *count; i++) {
        if (compare_recipe_equal(&recipes[i], &one)) {
            return 1;
        }
    }
    if (*count == room) {
        return 0;
    }
    recipes[(*count)++] = one;
    return 1;
}

static int add_item(const char *item, double percentile, compare_recipe *recipes, size_t room,
                    size_t *count)
{
    compare_recipe one;
    if (compare_recipe_parse(item, &one)) {
        return add_once(one, percentile, recipes, room, count);
    }
    int matched = fnmatch(item, "fp32", 0) == 0;
    const char *name = NULL;
    for (size_t i = 0; (name = compare_usual_variant(i)) != NULL; i++) {
        if (fnmatch(item, name, 0) == 0) {
            matched = 1;
            if (!compare_recipe_parse(name, &one) ||
                !add_once(one, percentile, recipes, room, count)) {
                return 0;
            }
        }
    }
    return matched;
}

int compare_recipe_list(const char *list, double percentile, compare_recipe *recipes, size_t room,
                        size_t *count, const char **bad, size_t *bad_length)
{
    for (const char *item = list;;) {
        const size_t length = strcspn(item, ",");
        char name[COMPARE_NAME_SIZE];
        if (length >= sizeof name) {
            name[0] = '\0';
        } else {
            memcpy(name, item, length);
            name[length] = '\0';
        }
        if (!add_item(name, percentile, recipes, room, count)) {
            *bad = item;
            *bad_length = length;
            return 0;
        }
        if (item[length] == '\0') {
            return 1;
        }
        item += length + 1;
    }
}
