/* What the two files about assignments share. */
#ifndef DYNQ_SRC_FRONT_H
#define DYNQ_SRC_FRONT_H

#include <dynq/tune.h>
#include <stdint.h>

/* The assignments that are left after a node: what each extends, and the choice it adds. */
typedef struct dynq_front_level {
    uint32_t *parent; /* in the level before */
    uint16_t *choice;
    size_t count;
} dynq_front_level;

struct dynq_front {
    dynq_allocator allocator;
    size_t node_count;
    size_t *first; /* [node_count + 1]: where the choices of a node begin in `costs` */
    dynq_cost *costs;
    dynq_front_level *levels; /* [node_count] */
    dynq_cost *totals;        /* of the last level */
};

static inline dynq_cost dynq_cost_sum(dynq_cost a, dynq_cost b)
{
    return (dynq_cost){a.time + b.time, a.bytes + b.bytes, a.error + b.error};
}

#endif
