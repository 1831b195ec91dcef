/* Guilty layers and advice, from results that are made up. */
#include "tools/compare_advice.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LAYERS   3
#define VARIANTS 6

/* A signal of 1 with noise that many dB below. */
static dynq_metrics noisy(double db)
{
    return (dynq_metrics){.rows = 1,
                          .elements = 1,
                          .signal = 1,
                          .noise = pow(10, -db / 10),
                          .cosine_sum = 1,
                          .cosine_min = 1,
                          .cosine_rows = 1};
}

/* fc1 -> fc2 -> fc3 in several variants. */
typedef struct world {
    compare_layer layers[LAYERS];
    evaluate_node nodes[VARIANTS][LAYERS];
    evaluate_variant variants[VARIANTS];
    compare_subject subjects[VARIANTS];
    compare_advice advice[COMPARE_MOST_ADVICE];
    size_t count, advice_count;
} world;

static const char *const layer_names[LAYERS] = {"fc1", "fc2", "fc3"};

static world make_world(void)
{
    world self = {0};
    for (size_t i = 0; i < LAYERS; i++) {
        self.layers[i] = (compare_layer){.name = layer_names[i],
                                         .value = i == 0 ? "x" : "act",
                                         .producer = i == 0 ? NULL : layer_names[i - 1],
                                         .output_spread = 5,
                                         .input_spread = 8,
                                         .seen = {.row_low = -1, .row_high = 3}};
    }
    return self;
}

static void add(world *self, const char *name, double sqnr_db, double agreement, double ms,
                const double *own_db)
{
    const size_t v = self->count++;
    for (size_t i = 0; i < LAYERS; i++) {
        self->nodes[v][i] = (evaluate_node){.info = {.name = layer_names[i], .op = DYNQ_OP_LINEAR},
                                            .metrics = noisy(sqnr_db)};
        if (own_db != NULL) {
            self->nodes[v][i].own = noisy(own_db[i]);
        }
    }
    self->variants[v] = (evaluate_variant){.name = name,
                                           .output = noisy(sqnr_db),
                                           .nodes = self->nodes[v],
                                           .node_count = LAYERS,
                                           .ms = {.count = 9, .min = ms, .median = ms}};
    self->subjects[v] = (compare_subject){.agreement = agreement};
    self->subjects[v].known = compare_recipe_parse(name, &self->subjects[v].recipe);
}

static void advise(world *self)
{
    for (size_t v = 0; v < self->count; v++) {
        self->variants[v].nodes = self->nodes[v];
        self->subjects[v].variant = &self->variants[v];
    }
    self->advice_count =
        compare_advise(self->subjects, self->count, self->layers, LAYERS, self->advice);
}

/* The line that holds a text, or NULL. Inlined, it makes GCC 12 for aarch64 see an array that ends.
 */
__attribute__((noinline)) static const compare_advice *line_with(const world *self,
                                                                 const char *text)
{
    for (size_t i = 0; i < self->advice_count; i++) {
        if (strstr(self->advice[i].text, text) != NULL) {
            return &self->advice[i];
        }
    }
    return NULL;
}

Test(compare_advice, guilty_by_share_of_the_noise)
{
    world self = make_world();
    add(&self, "int8-dynamic-row", 30, 1, 1, (double[]){40, 30, 43});
    self.nodes[0][2].own.rows = 0; /* not taken */
    self.variants[0].nodes = self.nodes[0];
    compare_guilt guilty[LAYERS];
    cr_assert_eq(compare_find_guilty(&self.variants[0], self.layers, LAYERS, guilty), 2);
    cr_assert_str_eq(guilty[0].node->info.name, "fc2");
    cr_assert_float_eq(guilty[0].share, 10.0 / 11, 1e-12);
    cr_assert_float_eq(guilty[1].share, 1.0 / 11, 1e-12);
    cr_assert_eq(guilty[0].cause, COMPARE_CAUSE_ERROR);
}

/* Whatever the errors are, who spreads its outputs is first, then who reads them. */
Test(compare_advice, planted_spreads_come_first)
{
    world self = make_world();
    add(&self, "int8-dynamic-row", 10, 1, 1, (double[]){40, 12, 9});
    self.variants[0].nodes = self.nodes[0];
    self.layers[0].output_spread = 1e4;
    self.layers[1].input_spread = 9e3;
    compare_guilt guilty[LAYERS];
    char text[400];
    cr_assert_eq(compare_find_guilty(&self.variants[0], self.layers, LAYERS, guilty), 3);
    cr_assert_str_eq(guilty[0].node->info.name, "fc1");
    cr_assert_eq(guilty[0].cause, COMPARE_CAUSE_OUTPUTS);
    cr_assert_str_eq(guilty[0].reader, "fc2");
    compare_guilt_text(&guilty[0], text, sizeof text);
    cr_assert(strstr(text, "fc1 (own error 40.0 dB, 0 % of the noise): the weights of its outputs "
                           "differ 1e+04 times in size, and fc2") == text,
              "%s", text);
    cr_assert_str_eq(guilty[1].node->info.name, "fc2");
    cr_assert_eq(guilty[1].cause, COMPARE_CAUSE_INPUTS);
    cr_assert_str_eq(guilty[2].node->info.name, "fc3");

    self.layers[0].output_spread = 5; /* not undone by a neighbour */
    compare_find_guilty(&self.variants[0], self.layers, LAYERS, guilty);
    cr_assert_str_eq(guilty[0].node->info.name, "fc2");
    self.layers[1].input_spread = 8;
    self.layers[2].output_spread = 1e4; /* nobody reads it */
    compare_find_guilty(&self.variants[0], self.layers, LAYERS, guilty);
    cr_assert_str_eq(guilty[0].node->info.name, "fc3");
    cr_assert_null(guilty[0].reader);
}

Test(compare_advice, a_model_that_is_spread_all_over_is_as_trained)
{
    world self = make_world();
    add(&self, "int8-dynamic-row", 10, 1, 1, (double[]){40, 12, 30});
    self.variants[0].nodes = self.nodes[0];
    for (size_t i = 0; i < LAYERS; i++) {
        self.layers[i].output_spread = 400 + 100 * (double)i;
    }
    compare_guilt guilty[LAYERS];
    compare_find_guilty(&self.variants[0], self.layers, LAYERS, guilty);
    cr_assert_str_eq(guilty[0].node->info.name, "fc2");
    cr_assert_eq(guilty[0].cause, COMPARE_CAUSE_ERROR);
}

Test(compare_advice, first_node_below_a_limit)
{
    world self = make_world();
    add(&self, "int8-dynamic-row", 10, 1, 1, NULL);
    self.variants[0].nodes = self.nodes[0];
    self.nodes[0][0].metrics = noisy(30);
    self.nodes[0][1].metrics = noisy(19.9);
    cr_assert_str_eq(compare_first_below(&self.variants[0], 20)->info.name, "fc2");
    cr_assert_null(compare_first_below(&self.variants[0], 9));
}

Test(compare_advice, static_ranges_are_good_enough)
{
    world self = make_world();
    add(&self, "fp32", INFINITY, 1, 4, NULL);
    add(&self, "int8-static-max", 35, 0.995, 1, (double[]){40, 40, 40});
    add(&self, "int8-static-mse", 38, 0.998, 0.96, (double[]){42, 42, 42});
    add(&self, "int8-dynamic-row", 45, 0.9995, 1, (double[]){50, 50, 50});
    advise(&self);
    cr_assert_gt(self.advice_count, 1);
    const char *text = self.advice[0].text;
    cr_assert(strstr(text, "Static ranges are good enough") == text, "%s", text);
    cr_assert(strstr(text, "int8-static-mse"), "%s", text);
    cr_assert(strstr(text, "int8-static-mse agrees on 99.80 % (38.0 dB); int8-dynamic-row"), "%s",
              text);
    cr_assert(strstr(text, "takes 4 % more time"), "%s", text);
    cr_assert_str_eq(self.advice[0].switches, "--ranges static --method mse");
    cr_assert(isnan(self.advice[0].gain_db));
    cr_assert_not_null(line_with(&self, "--method mse is the best with 38.0 dB; max 35.0"));
    cr_assert_not_null(line_with(&self, "fc1: mse instead of max gains 2.0 dB in that layer"));
}

Test(compare_advice, static_ranges_are_not_good_enough)
{
    world self = make_world();
    add(&self, "fp32", INFINITY, 1, 4, NULL);
    add(&self, "int8-static-max", 12, 0.9, 0.9, NULL);
    add(&self, "int8-dynamic-row", 45, 0.9995, 1, NULL);
    advise(&self);
    cr_assert_eq(self.advice_count, 1);
    cr_assert(strstr(self.advice[0].text, "Do not use static ranges") == self.advice[0].text);
    cr_assert_str_eq(self.advice[0].better, "int8-dynamic-row");
}

Test(compare_advice, gains_are_sorted_and_name_switches)
{
    world self = make_world();
    add(&self, "fp32", INFINITY, 1, 4, NULL);
    add(&self, "int8-dynamic-segment", 30, 0.99, 1, (double[]){40, 34, 40});
    add(&self, "int8-dynamic-row", 32, 0.99, 1.02, (double[]){40, 38.1, 40.5});
    add(&self, "int8-dynamic-row-smooth", 35, 0.99, 1.02, (double[]){44, 39, 40});
    add(&self, "int8-dynamic-segment-smooth", 34.5, 0.99, 1, (double[]){44, 39, 40});
    add(&self, "int8-dynamic-row-symmetric", 31.95, 0.99, 1.02, (double[]){40, 34, 40});
    advise(&self);
    double before = INFINITY;
    int asks = 1; /* what is had without asking comes last, by gain as well */
    for (size_t i = 0; i < self.advice_count; i++) {
        const int asked = self.advice[i].switches[0] != '\0';
        cr_assert_leq(asked, asks);
        cr_assert(asked != asks || self.advice[i].gain_db <= before);
        before = self.advice[i].gain_db;
        asks = asked;
    }
    const compare_advice *rule = line_with(&self, "fc2: row instead of segment gains 4.1 dB");
    cr_assert_not_null(rule);
    cr_assert_str_eq(rule->switches, "--rule 'fc2=row'");
    cr_assert_str_eq(rule->node, "fc2");
    cr_assert_not_null(line_with(&self, "fc2: affine instead of symmetric gains 4.1 dB"));
    const compare_advice *smooth =
        line_with(&self, "--smooth gains 3.0 dB end to end for the same time: "
                         "int8-dynamic-row-smooth has 35.0 dB, int8-dynamic-row 32.0");
    cr_assert_not_null(smooth);
    cr_assert_str_eq(smooth->switches, "--granularity row --smooth");
    cr_assert_not_null(line_with(
        &self, "--granularity row instead of segment gains 2.0 dB end to end for 2 % more"));
    /* 0.05 dB are chance */
    cr_assert_null(line_with(&self, "affine instead of symmetric gains 0"));
}

/* A difference in time is one only where it stands out of the noise of the rounds. */
Test(compare_advice, time_is_compared_with_its_noise)
{
    const struct {
        size_t count;
        double spread, ms;
        const char *text;
    } cases[] = {
        {100, 0.01, 0.96, "for 4 % less time:"},  {100, 0.01, 1.3, "for 30 % more time:"},
        {100, 0.01, 0.995, "for the same time:"}, {9, 0.05, 0.96, "for the same time within 7 %:"},
        {9, 0.05, 1.3, "for 30 % more time:"},    {9, 0.9, 0.96, "for an unknown time:"},
        {4, 0, 0.5, "for an unknown time:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world self = make_world();
        add(&self, "fp32", INFINITY, 1, 4, NULL);
        add(&self, "int8-dynamic-segment", 30, 0.99, 1, NULL);
        add(&self, "int8-dynamic-row", 35, 0.99, cases[i].ms, NULL);
        for (size_t v = 1; v < self.count; v++) {
            self.variants[v].ms.min -= cases[i].spread;
            self.variants[v].ms.count = cases[i].count;
        }
        advise(&self);
        cr_assert_eq(self.advice_count, 1);
        cr_assert_not_null(strstr(self.advice[0].text, cases[i].text), "%s, not %s",
                           self.advice[0].text, cases[i].text);
    }
}

/* What plain ranges fail, smoothed ones may do. */
Test(compare_advice, static_ranges_may_need_a_remedy)
{
    world self = make_world();
    add(&self, "fp32", INFINITY, 1, 4, NULL);
    add(&self, "int8-static-mse", 19, 0.98, 1, NULL);
    add(&self, "int8-static-mse-smooth", 24, 0.998, 1, NULL);
    add(&self, "int8-dynamic-row", 26, 0.999, 1, NULL);
    advise(&self);
    const char *text = self.advice[0].text;
    cr_assert(strstr(text, "Static ranges need a remedy: int8-static-mse-smooth agrees") == text,
              "%s", text);
    cr_assert_str_eq(self.advice[0].switches, "--ranges static --method mse --smooth");
    self.subjects[2].agreement = 0.99;
    advise(&self);
    cr_assert(strstr(text, "Do not use static ranges: the best of them, int8-static-mse-smooth, "
                           "agrees on 99.00 %") == text,
              "%s", text);
}

Test(compare_advice, says_why_rows_lose_to_static_ranges)
{
    world self = make_world();
    add(&self, "fp32", INFINITY, 1, 4, NULL);
    add(&self, "int8-static-entropy", 36, 0.999, 1, (double[]){40, 44, 40});
    add(&self, "int8-dynamic-row", 35, 0.999, 1, (double[]){41, 38, 40});
    self.nodes[1][1].info.range = (dynq_range_rule){.lo = 0, .hi = 2};
    self.nodes[1][1].inputs = 1000;
    self.nodes[1][1].outside = 5;
    advise(&self);
    const compare_advice *why = line_with(
        &self, "int8-static-entropy beats int8-dynamic-row by 1.0 dB, most in fc2 (6.0 dB");
    cr_assert_not_null(why);
    cr_assert(strstr(why->text, "2 wide, clips 0.5 % of the values, where rows span 4"), "%s",
              why->text);
    self.nodes[1][1].info.range.hi = 4;
    advise(&self);
    cr_assert_not_null(line_with(&self, "rows differ little in range"));
    for (size_t i = 0; i < LAYERS; i++) {
        self.nodes[1][i].own = noisy(20);
    }
    advise(&self);
    cr_assert_not_null(line_with(&self, "although every layer alone is better per row"));
}

Test(compare_advice, one_row_a_request)
{
    world self = make_world();
    add(&self, "fp32", INFINITY, 1, 4, NULL);
    add(&self, "int8-dynamic-segment", 30, 0.99, 1, NULL);
    add(&self, "int8-dynamic-row", 30, 0.99, 1, NULL);
    advise(&self);
    cr_assert_eq(self.advice_count, 1);
    cr_assert_not_null(line_with(&self, "segment and row give the same answers"));
}
