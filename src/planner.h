/* The inside of planning, shared by plan.c (slots, ranges, memory) and plan_steps.c (fusion,
 * steps).
 */
#ifndef DYNQ_SRC_PLANNER_H
#define DYNQ_SRC_PLANNER_H

#include "src/arena.h"
#include "src/plan.h"

/* What is known of a node while the plan is made. */
typedef struct dynq_node_note {
    uint32_t readers, reader; /* operands that read it, the last such node */
    uint32_t first;           /* of a fused group's last node: its first one; or DYNQ_NONE */
    uint32_t residual;        /* of a fused group's last node */
    dynq_activation activation;
    bool output;
    bool inside; /* a node of a fused group that is not its last */
    bool taken;  /* an addition that is the last node of a group */
} dynq_node_note;

typedef struct dynq_planner {
    const dynq_model *model;
    const dynq_plan_request *request;
    dynq_plan *plan;
    dynq_node_note *notes;
} dynq_planner;

/* Notes who reads what, groups nodes and adds a step for each group. false when memory is out. */
bool dynq_planner_add_steps(dynq_planner *p);
/* A new step without operands, NULL when memory is out. */
dynq_step *dynq_planner_add_step(dynq_planner *p, dynq_step_kind kind, uint32_t node);

/* plan_stages.c: groups steps in stages, and finds what is local to one. false when memory is out.
 */
bool dynq_planner_add_stages(dynq_planner *p);
/* Lays local values and copies out for a block. false if they do not fit in a size_t. */
bool dynq_planner_lay_out_blocks(dynq_plan *plan, dynq_arena_buffer *buffers);

#endif
