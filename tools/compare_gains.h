/* What single remedies gain: pairs of variants that differ in one property. */
#ifndef DYNQ_TOOLS_COMPARE_GAINS_H
#define DYNQ_TOOLS_COMPARE_GAINS_H

#include "tools/compare_advice.h"

#include <stddef.h>

/* Nothing but a kind of range and what chooses it. */
int compare_is_plain(const compare_recipe *recipe);
/* "4 % less time", "12 % more time" of `a` against `b`, or "the same time" where the difference is
 * no more than the noise of the rounds, "the same time within 9 %" where that is much, "an unknown
 * time" where the rounds are too few or too noisy. */
void compare_describe_time(const compare_subject *a, const compare_subject *b, char *text,
                           size_t size);
/* The linear layer where `a` has the least noise of its own compared with `b`; NULL: none. */
const evaluate_node *compare_largest_advantage(const compare_subject *a, const compare_subject *b,
                                               const compare_layer *layers, size_t layer_count);
/* Fills advice[room] with what gains most; how many. */
size_t compare_list_gains(const compare_subject *subjects, size_t count,
                          const compare_layer *layers, size_t layer_count, compare_advice *advice,
                          size_t room);

#endif
