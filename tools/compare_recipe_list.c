/* Which variants a list of names and patterns means. */
#include "tools/compare_recipe.h"

#include <fnmatch.h>
#include <string.h>

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

/* The other schemes, which only patterns and names ask for: number formats, granularities, low
 * bits, codebooks; "simulated" ones compute in FP32 on rounded weights. */
static const char *const further_variants[] = {
    "fp16",
    "bf16",
    "int16-dynamic-row",
    "int8-dynamic-row-feedback",
    "int8-dynamic-row-smooth-feedback",
    "int8-dynamic-row-weights-group-32",
    "int4-dynamic-row",
    "int4-dynamic-row-log",
    "int4-dynamic-row-clusters",
    "int4-dynamic-row-feedback",
    "int4-dynamic-row-weights-group-128",
    "int4-dynamic-row-weights-group-32",
    "int4-dynamic-row-weights-group-32-log",
    "int4-dynamic-row-weights-group-32-clusters",
    "int4-dynamic-row-weights-group-32-feedback",
    "int4-dynamic-row-weights-group-32-clusters-feedback",
    "int4-dynamic-row-weights-group-32-clusters-smooth-feedback",
    "int2-dynamic-row",
    "int2-dynamic-row-clusters",
    "int2-dynamic-row-weights-group-32",
    "int2-dynamic-row-weights-group-32-clusters-feedback",
    "int8-simulated",
    "int8-simulated-feedback",
    "int4-simulated-weights-tensor",
    "int4-simulated-weights-row",
    "int4-simulated",
    "int4-simulated-weights-group-32",
    "int4-simulated-weights-group-32-affine",
    "int4-simulated-weights-group-32-clusters",
    "int4-simulated-weights-group-32-clusters-feedback",
    "int4-simulated-weights-element",
    "int8-simulated-clusters-256",
};

#define USUAL_COUNT   (sizeof usual_variants / sizeof *usual_variants)
#define FURTHER_COUNT (sizeof further_variants / sizeof *further_variants)

const char *compare_usual_variant(size_t index)
{
    return index < USUAL_COUNT ? usual_variants[index] : NULL;
}

const char *compare_further_variant(size_t index)
{
    return index < FURTHER_COUNT ? further_variants[index] : NULL;
}

/* Adds a recipe unless it is there. 0: no room. */
static int add_once(compare_recipe one, double percentile, compare_recipe *recipes, size_t room,
                    size_t *count)
{
    if (one.format == 0) { /* the reference is there anyway */
        return 1;
    }
    if (one.method == DYNQ_METHOD_PERCENTILE && one.percentile == 0 &&
        percentile != COMPARE_USUAL_PERCENTILE) {
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

/* What a list is filled with. */
typedef struct filling {
    double percentile; /* of names without one */
    compare_recipe *recipes;
    size_t room, *count;
} filling;

/* Adds those of a list that match; *matched is set if any does. 0: no room. */
static int add_matching(const char *pattern, const char *(*name_at)(size_t index), int *matched,
                        const filling *to)
{
    const char *name = NULL;
    for (size_t i = 0; (name = name_at(i)) != NULL; i++) {
        compare_recipe one;
        if (fnmatch(pattern, name, 0) == 0) {
            *matched = 1;
            if (!compare_recipe_parse(name, &one) ||
                !add_once(one, to->percentile, to->recipes, to->room, to->count)) {
                return 0;
            }
        }
    }
    return 1;
}

/* Whole schemes beside INT8 are asked for by patterns that fit no usual variant, or by "all". */
static int add_item(const char *item, const filling *to)
{
    compare_recipe one;
    if (compare_recipe_parse(item, &one)) {
        return add_once(one, to->percentile, to->recipes, to->room, to->count);
    }
    const int all = strcmp(item, "all") == 0;
    const char *pattern = all || strcmp(item, "usual") == 0 ? "*" : item;
    int matched = fnmatch(pattern, "fp32", 0) == 0;
    if (!add_matching(pattern, compare_usual_variant, &matched, to)) {
        return 0;
    }
    return matched && !all
               ? 1
               : add_matching(pattern, compare_further_variant, &matched, to) && matched;
}

int compare_recipe_list(const char *list, double percentile, compare_recipe *recipes, size_t room,
                        size_t *count, const char **bad, size_t *bad_length)
{
    const filling to = {percentile, recipes, room, count};
    for (const char *item = list;;) {
        const size_t length = strcspn(item, ",");
        char name[COMPARE_NAME_SIZE];
        if (length >= sizeof name) {
            name[0] = '\0';
        } else {
            memcpy(name, item, length);
            name[length] = '\0';
        }
        if (!add_item(name, &to)) {
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
