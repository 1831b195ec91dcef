#include "tools/compare_gains.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"

/* A difference in time is none below so many errors, or percent; unknown of fewer rounds, or with
 * errors above that percentage. */
#define ERRORS_OF_DOUBT  3.0
#define LEAST_CHANGE_PCT 1.0
#define LEAST_SAMPLES    5
#define MOST_DOUBT_PCT   25.0

/* What is no more than chance, and what a layer must gain to be worth a rule. */
#define LEAST_GAIN_DB      0.1
#define LEAST_RULE_GAIN_DB 1.0

/* What two variants differ in, and nothing else. */
typedef enum property {
    PROPERTY_SCOPE = 1, /* of dynamic ranges: segment against row */
    PROPERTY_METHOD,    /* of static ranges: another one against max */
    PROPERTY_KIND,      /* static against dynamic: only of single layers */
    PROPERTY_SCHEME,
    PROPERTY_WEIGHTS,
    PROPERTY_SMOOTH,
    PROPERTY_CLIP_WEIGHTS,
    PROPERTY_CLIP_RANGES,
    PROPERTY_BIAS,
    PROPERTY_FEEDBACK,
    PROPERTY_GROUPS,   /* of low bits: scales by groups of 32 against columns */
    PROPERTY_CLUSTERS, /* against uniform levels */
    PROPERTY_END
} property;

typedef struct gaining {
    const compare_subject *subjects;
    size_t count;
    const compare_layer *layers;
    size_t layer_count;
} gaining;

static double sqnr_of(const compare_subject *subject)
{
    return dynq_metrics_result(&subject->variant->output).sqnr_db;
}

static const char *name_of(const compare_subject *subject)
{
    return subject->variant->name;
}

int compare_is_plain(const compare_recipe *recipe)
{
    return recipe->format == DYNQ_FORMAT_INT8 && !recipe->simulate &&
           recipe->scheme == DYNQ_SCHEME_AFFINE && recipe->weights == DYNQ_WEIGHTS_PER_COLUMN &&
           !recipe->smooth && !recipe->clip_weights && !recipe->clip_ranges &&
           !recipe->correct_bias && !recipe->feedback;
}

/* Of the median: from the lower half of the samples, as delays by other programs make the upper one
 * as long as they like. For Gaussian ones that is about twice the standard error. NaN where they
 * are too few to tell. */
static double error_of(const statistics *ms)
{
    return ms->count >= LEAST_SAMPLES ? (ms->median - ms->min) / sqrt((double)ms->count) : NAN;
}

void compare_describe_time(const compare_subject *a, const compare_subject *b, char *text,
                           size_t size)
{
    const statistics *mine = &a->variant->ms, *other = &b->variant->ms;
    const double change = 100 * (mine->median / other->median - 1);
    const double doubt = 100 * ERRORS_OF_DOUBT *
                         hypot(error_of(mine) / mine->median, error_of(other) / other->median);
    if (isnan(change) || !(doubt <= MOST_DOUBT_PCT)) {
        snprintf(text, size, "an unknown time");
    } else if (fabs(change) < fmax(doubt, LEAST_CHANGE_PCT)) {
        snprintf(text, size, "the same time");
        if (doubt >= LEAST_CHANGE_PCT) {
            const size_t used = strlen(text);
            snprintf(text + used, size - used, " within %.0f %%", doubt);
        }
    } else {
        snprintf(text, size, "%.0f %% %s time", fabs(change), change < 0 ? "less" : "more");
    }
}

static double own_noise(const evaluate_node *node)
{
    return node->own.rows > 0 && node->own.signal > 0 ? node->own.noise / node->own.signal : NAN;
}

static int is_layer(const compare_layer *layers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(layers[i].name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

const evaluate_node *compare_largest_advantage(const compare_subject *a, const compare_subject *b,
                                               const compare_layer *layers, size_t layer_count)
{
    const evaluate_node *found = NULL;
    double most = 0;
    for (size_t i = 0; i < a->variant->node_count; i++) {
        const evaluate_node *node = &a->variant->nodes[i];
        const evaluate_node *other = compare_node(b->variant, node->info.name);
        if (other != NULL && is_layer(layers, layer_count, node->info.name) &&
            own_noise(other) - own_noise(node) > most) {
            most = own_noise(other) - own_noise(node);
            found = node;
        }
    }
    return found;
}

/* Makes `changed` what the property's usual remedy would be; 0 if it is that already, or not to be
 * had. */
static int improve(property what, compare_recipe *changed)
{
    switch (what) {
    case PROPERTY_SCOPE:
        if (changed->range != DYNQ_RANGE_DYNAMIC || changed->scope == DYNQ_SCOPE_ROW) {
            return 0;
        }
        changed->scope = DYNQ_SCOPE_ROW;
        return 1;
    case PROPERTY_SCHEME:
        if (changed->scheme == DYNQ_SCHEME_AFFINE) {
            return 0;
        }
        changed->scheme = DYNQ_SCHEME_AFFINE;
        return 1;
    case PROPERTY_WEIGHTS:
        if (changed->weights != DYNQ_WEIGHTS_PER_TENSOR) {
            return 0;
        }
        changed->weights = DYNQ_WEIGHTS_PER_COLUMN;
        return 1;
    case PROPERTY_SMOOTH: return !changed->smooth && (changed->smooth = 1);
    case PROPERTY_CLIP_WEIGHTS: return !changed->clip_weights && (changed->clip_weights = 1);
    case PROPERTY_CLIP_RANGES: return !changed->clip_ranges && (changed->clip_ranges = 1);
    case PROPERTY_BIAS: return !changed->correct_bias && (changed->correct_bias = 1);
    case PROPERTY_FEEDBACK: return !changed->feedback && (changed->feedback = 1);
    case PROPERTY_GROUPS:
        if (changed->weights != DYNQ_WEIGHTS_PER_COLUMN) {
            return 0;
        }
        changed->weights = DYNQ_WEIGHTS_PER_GROUP_32;
        return 1;
    case PROPERTY_CLUSTERS:
        if (changed->levels != DYNQ_LEVELS_UNIFORM) {
            return 0;
        }
        changed->levels = DYNQ_LEVELS_CLUSTERS;
        return 1;
    case PROPERTY_METHOD:
    case PROPERTY_KIND:
    case PROPERTY_END: break;
    }
    return 0;
}

/* Whether `better` is `worse` with the remedy that a property has. */
static int is_remedied(property what, const compare_recipe *worse, const compare_recipe *better)
{
    if (what == PROPERTY_METHOD) {
        return worse->range == DYNQ_RANGE_STATIC && better->range == DYNQ_RANGE_STATIC &&
               worse->method == DYNQ_METHOD_MAX && better->method != DYNQ_METHOD_MAX &&
               compare_is_plain(worse) && compare_is_plain(better);
    }
    if (what == PROPERTY_KIND) {
        return worse->range == DYNQ_RANGE_STATIC && better->range == DYNQ_RANGE_DYNAMIC &&
               better->scope == DYNQ_SCOPE_SEGMENT && compare_is_plain(worse) &&
               compare_is_plain(better);
    }
    compare_recipe changed = *worse;
    return improve(what, &changed) && compare_recipe_equal(&changed, better);
}

/* What is had without asking: that it gains confirms a choice, and asks for no switch. */
static int is_default(property what)
{
    return what == PROPERTY_SCHEME || what == PROPERTY_WEIGHTS;
}

/* What the remedy is called: as a switch, and as the value of a rule (NULL: none). */
static void remedy_names(property what, const compare_recipe *worse, const compare_recipe *better,
                         char *text, size_t size, const char **rule)
{
    *rule = NULL;
    switch (what) {
    case PROPERTY_SCOPE:
        snprintf(text, size, "--granularity row instead of %s", dynq_scope_name(worse->scope));
        *rule = "row";
        break;
    case PROPERTY_METHOD:
        snprintf(text, size, "--method %s instead of max",
                 dynq_calibration_method_name(better->method));
        *rule = dynq_calibration_method_name(better->method);
        break;
    case PROPERTY_KIND:
        snprintf(text, size, "dynamic instead of static");
        *rule = "dynamic";
        break;
    case PROPERTY_SCHEME:
        snprintf(text, size, "affine instead of symmetric");
        *rule = "affine";
        break;
    case PROPERTY_WEIGHTS: snprintf(text, size, "a scale per column of weights"); break;
    case PROPERTY_SMOOTH: snprintf(text, size, "--smooth"); break;
    case PROPERTY_CLIP_WEIGHTS: snprintf(text, size, "--clip-weights"); break;
    case PROPERTY_CLIP_RANGES: snprintf(text, size, "--clip-ranges"); break;
    case PROPERTY_BIAS: snprintf(text, size, "--correct-bias"); break;
    case PROPERTY_FEEDBACK:
        snprintf(text, size, "--feedback");
        *rule = "feedback";
        break;
    case PROPERTY_GROUPS:
        snprintf(text, size, "--weight-granularity group-32 instead of column");
        *rule = "weights-group-32";
        break;
    case PROPERTY_CLUSTERS:
        snprintf(text, size, "--levels clusters instead of uniform");
        *rule = "clusters";
        break;
    case PROPERTY_END: break;
    }
}

typedef struct pair {
    const compare_subject *worse, *better;
} pair;

/* Granularity is asked for plain ranges first. Of pairs with the same better side the one that
 * gains less: what somebody would have otherwise. */
static int is_better_pair(property what, const pair *found, const compare_subject *worse,
                          const compare_subject *better)
{
    if (what == PROPERTY_SCOPE && found->better != NULL &&
        compare_is_plain(&better->recipe) != compare_is_plain(&found->better->recipe)) {
        return compare_is_plain(&better->recipe);
    }
    if (found->better == NULL || sqnr_of(better) != sqnr_of(found->better)) {
        return found->better == NULL || sqnr_of(better) > sqnr_of(found->better);
    }
    return sqnr_of(worse) > sqnr_of(found->worse);
}

/* The pair of a property whose better side is the best; no better side: there is none. */
static pair best_pair(const gaining *self, property what)
{
    pair found = {0};
    for (size_t w = 1; w < self->count; w++) {
        for (size_t b = 1; b < self->count; b++) {
            const compare_subject *worse = &self->subjects[w];
            const compare_subject *better = &self->subjects[b];
            if (worse->known && better->known && worse->recipe.format != 0 &&
                !worse->recipe.simulate && is_remedied(what, &worse->recipe, &better->recipe) &&
                is_better_pair(what, &found, worse, better)) {
                found = (pair){worse, better};
            }
        }
    }
    return found;
}

/* The gain of a whole model. */
static int make_gain(const gaining *self, property what, compare_advice *one)
{
    const pair found =
        what == PROPERTY_KIND || what == PROPERTY_METHOD ? (pair){0} : best_pair(self, what);
    if (found.better == NULL) {
        return 0;
    }
    const double gain = sqnr_of(found.better) - sqnr_of(found.worse);
    if (!(gain >= LEAST_GAIN_DB)) {
        return 0;
    }
    char remedy[80], time[48];
    const char *rule = NULL;
    *one = (compare_advice){
        .gain_db = gain, .better = name_of(found.better), .worse = name_of(found.worse)};
    remedy_names(what, &found.worse->recipe, &found.better->recipe, remedy, sizeof remedy, &rule);
    compare_describe_time(found.better, found.worse, time, sizeof time);
    snprintf(one->text, sizeof one->text,
             "%s gains %.1f dB end to end for %s: %s has %.1f dB, %s %.1f",
             what == PROPERTY_SCHEME    ? "affine (the default) instead of symmetric"
             : what == PROPERTY_WEIGHTS ? "a scale per column of weights (the default), not one,"
                                        : remedy,
             gain, time, one->better, sqnr_of(found.better), one->worse, sqnr_of(found.worse));
    if (!is_default(what)) {
        compare_recipe_switches(&found.better->recipe, one->switches);
    }
    return 1;
}

/* "row instead of segment" of "--granularity row instead of segment". */
static const char *words_of(const char *remedy)
{
    const char *space = strncmp(remedy, "--", 2) == 0 ? strchr(remedy, ' ') : NULL;
    return space != NULL ? space + 1 : remedy;
}

/* The layer that a remedy gains most in, where a rule can give it to that layer alone. */
static int make_rule(const gaining *self, property what, compare_advice *one)
{
    const pair found = best_pair(self, what);
    const evaluate_node *node =
        found.better == NULL
            ? NULL
            : compare_largest_advantage(found.better, found.worse, self->layers, self->layer_count);
    if (node == NULL) {
        return 0;
    }
    const evaluate_node *other = compare_node(found.worse->variant, node->info.name);
    const double gain =
        dynq_metrics_result(&node->own).sqnr_db - dynq_metrics_result(&other->own).sqnr_db;
    char remedy[80];
    const char *rule = NULL;
    remedy_names(what, &found.worse->recipe, &found.better->recipe, remedy, sizeof remedy, &rule);
    if (rule == NULL || !(gain >= LEAST_RULE_GAIN_DB)) {
        return 0;
    }
    *one = (compare_advice){.gain_db = gain,
                            .node = node->info.name,
                            .better = name_of(found.better),
                            .worse = name_of(found.worse)};
    snprintf(one->switches, sizeof one->switches, "--rule '%s=%s'", node->info.name, rule);
    snprintf(one->text, sizeof one->text, "%s: %s gains %.1f dB in that layer (%s)",
             node->info.name, words_of(remedy), gain, one->switches);
    return 1;
}

/* What has to be asked for first, then what gains most. */
static int compare_gains(const void *left, const void *right)
{
    const compare_advice *a = left;
    const compare_advice *b = right;
    const int asks = a->switches[0] != '\0';
    if (asks != (b->switches[0] != '\0')) {
        return asks ? -1 : 1;
    }
    return (a->gain_db < b->gain_db) - (a->gain_db > b->gain_db);
}

/* Remedies for the whole model, which nobody has unless they ask, are sure of their lines. */
size_t compare_list_gains(const compare_subject *subjects, size_t count,
                          const compare_layer *layers, size_t layer_count, compare_advice *advice,
                          size_t room)
{
    const gaining self = {subjects, count, layers, layer_count};
    compare_advice *found = allocate(2 * PROPERTY_END, sizeof *found);
    size_t made = 0;
    for (property what = PROPERTY_SCOPE; what < PROPERTY_END; what++) {
        made += (size_t)(!is_default(what) && make_gain(&self, what, &found[made]));
    }
    const size_t remedies = made < room ? made : room;
    for (property what = PROPERTY_SCOPE; what < PROPERTY_END; what++) {
        made += (size_t)(is_default(what) && make_gain(&self, what, &found[made]));
        made += (size_t)make_rule(&self, what, &found[made]);
    }
    qsort(found, remedies, sizeof *found, compare_gains);
    qsort(found + remedies, made - remedies, sizeof *found, compare_gains);
    made = made < room ? made : room;
    qsort(found, made, sizeof *found, compare_gains);
    memcpy(advice, found, made * sizeof *found);
    free(found);
    return made;
}
