#include "src/plan.h"

#include "src/arena.h"

#include <criterion/criterion.h>
#include <dynq/graph.h>
#include <dynq/quantize.h>
#include <float.h>
#include <math.h>
#include <stdint.h>

Test(plan, buffers_that_live_together_do_not_overlap)
{
    dynq_arena_buffer b[] = {{.bytes = 100, .first = 0, .last = 2},
                             {.bytes = 64, .first = 1, .last = 3},
                             {.bytes = 10, .first = 3, .last = 4},
                             {.bytes = 0, .first = 0, .last = 9}};
    size_t total = 0;
    cr_assert(dynq_arena_layout(b, 4, &total));
    cr_assert_eq(b[0].offset, 0);
    cr_assert_eq(b[1].offset, 128);
    cr_assert_eq(b[2].offset, 0);
    cr_assert_eq(total, 192);
    b[0].bytes = SIZE_MAX / 2;
    cr_assert_not(dynq_arena_layout(b, 4, &total));
}

static const float numbers[6] = {1, 2, 3, 4, 5, 6};
static const dynq_tensor weight = {.dtype = DYNQ_F32, .rank = 2, .shape = {2, 2}, .data = numbers};
static const dynq_tensor bias = {.dtype = DYNQ_F32, .rank = 1, .shape = {2}, .data = numbers};

static dynq_model *residual_model(void)
{
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(g, "x", 2);
    const dynq_value a = dynq_relu(g, "act", dynq_linear(g, "fc", x, &weight, &bias));
    dynq_output(g, "y", dynq_add(g, "sum", a, x));
    dynq_output(g, "again", x);
    dynq_model *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_graph_finish(g, &model, &error), DYNQ_OK, "%s", error.message);
    return model;
}

Test(plan, a_layer_takes_its_activation_and_its_residual_along)
{
    dynq_model *model = residual_model();
    const bool tapped[4] = {false};
    const dynq_plan_request request = {.max_rows = 5, .stepwise_rows = 5, .tapped = tapped};
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    dynq_plan *plan = NULL;
    cr_assert_eq(dynq_plan_create(model, &request, &allocator, &plan, NULL), DYNQ_OK);
    cr_assert_eq(plan->step_count, 3); /* range of x, fused layer, copy of x to "again" */
    const dynq_step *layer = &plan->steps[1];
    cr_assert_eq(layer->kind, DYNQ_STEP_LINEAR_F32);
    cr_assert_eq(layer->activation, DYNQ_ACTIVATION_RELU);
    cr_assert_eq(layer->residual, 0);
    cr_assert_eq(layer->output, 3);
    cr_assert_eq(plan->arena_bytes, 0);
    cr_assert_eq(plan->slot_count, 3);
    dynq_plan_free(plan);
    dynq_model_free(model);
}

Test(plan, a_tap_keeps_the_value_it_looks_at)
{
    dynq_model *model = residual_model();
    const bool tapped[4] = {false, true, false, false};
    const dynq_plan_request request = {.max_rows = 5, .stepwise_rows = 5, .tapped = tapped};
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    dynq_plan *plan = NULL;
    cr_assert_eq(dynq_plan_create(model, &request, &allocator, &plan, NULL), DYNQ_OK);
    cr_assert_eq(plan->step_count, 5);
    cr_assert(plan->values[1].stored && plan->values[1].tapped);
    cr_assert_eq(plan->arena_bytes, 128);
    dynq_plan_free(plan);
    dynq_model_free(model);
}

/* Of the only linear layer in INT8: x -> fc -> y, or + x. */
static bool is_bounded(float largest_bias, bool with_residual)
{
    const float biases[2] = {0, largest_bias};
    const dynq_tensor own = {.dtype = DYNQ_F32, .rank = 1, .shape = {2}, .data = biases};
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value x = dynq_input(g, "x", 2), fc = dynq_linear(g, "fc", x, &weight, &own);
    dynq_output(g, "y", with_residual ? dynq_add(g, "sum", fc, x) : fc);
    dynq_model *fp32 = NULL, *int8 = NULL;
    cr_assert_eq(dynq_graph_finish(g, &fp32, NULL), DYNQ_OK);
    cr_assert_eq(dynq_quantize(fp32, NULL, &int8, NULL), DYNQ_OK);
    const bool tapped[3] = {false};
    const dynq_plan_request request = {.max_rows = 5, .stepwise_rows = 5, .tapped = tapped};
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    dynq_plan *plan = NULL;
    cr_assert_eq(dynq_plan_create(int8, &request, &allocator, &plan, NULL), DYNQ_OK);
    const dynq_step *layer = &plan->steps[plan->step_count - 1];
    cr_assert_eq(layer->kind, DYNQ_STEP_LINEAR_S8);
    const bool bounded = layer->bounded;
    dynq_plan_free(plan);
    dynq_model_free(fp32);
    dynq_model_free(int8);
    return bounded;
}

Test(plan, moderate_biases_without_residual_bound_a_layer)
{
    cr_assert(is_bounded(0.0f, false));
    cr_assert(is_bounded(-DYNQ_MODERATE, false));
    cr_assert_not(is_bounded(nextafterf(DYNQ_MODERATE, INFINITY), false));
    cr_assert_not(is_bounded(-FLT_MAX, false));
    cr_assert_not(is_bounded(0.0f, true));
}
