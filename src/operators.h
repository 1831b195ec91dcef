/* What the chunks of native and of foreign steps share (operators.c, segments.c, foreign.c). */
#ifndef DYNQ_SRC_OPERATORS_H
#define DYNQ_SRC_OPERATORS_H

#include "src/session.h"

/* Ranges are collected on the stack of the thread and joined at the end of a block: one for each of
 * its rows, or one, as the value's range_step says. `shared`: other threads may do the same. */
void dynq_step_join_ranges(dynq_value_memory *value, const dynq_range_bits *ranges,
                           const dynq_block *b, bool shared);

/* How products of a linear step become its results in a block. */
dynq_epilogue dynq_step_epilogue(const dynq_work *w, const dynq_step *step, const dynq_block *b,
                                 dynq_range_bits *ranges);
dynq_dequantize dynq_step_dequantize(const dynq_work *w, const dynq_step *step,
                                     const dynq_block *b);

/* Adds the time since *start to one of the step's phases and moves *start to now. */
void dynq_step_note_phase(_Atomic uint64_t *phase, uint64_t *start);

/* linear.c: any rows and columns of a linear step. `next`: weights to fetch meanwhile, or NULL. */
void dynq_linear_run_s8(const dynq_work *w, size_t index, const dynq_block *b, const int8_t *next,
                        dynq_range_bits *ranges);
void dynq_linear_run_s16(const dynq_work *w, size_t index, const dynq_block *b,
                         dynq_range_bits *ranges);
void dynq_linear_run_f32(const dynq_work *w, size_t index, const dynq_block *b,
                         dynq_range_bits *ranges);
/* The weights that the thread with this chunk of an INT8 step is likely to need next, to be fetched
 * meanwhile: the next chunk's, or where its share of the next INT8 layer begins. NULL: there is
 * none. */
const int8_t *dynq_linear_next_panels(const dynq_work *w, size_t index, size_t chunk);

/* segments.c: steps to which it matters where segments begin. Ranges as above; attention joins its
 * own. `shared`: other threads do the same at the same time. */
void dynq_embed_run(const dynq_work *w, const dynq_step *step, const dynq_block *b,
                    dynq_range_bits *ranges);
void dynq_pool_run(const dynq_work *w, const dynq_step *step, const dynq_block *b,
                   dynq_range_bits *ranges);
dynq_layout dynq_attention_layout(const dynq_work *w, const dynq_step *step, dynq_cut cut);
void dynq_attention_run(const dynq_work *w, const dynq_step *step, const dynq_block *b,
                        bool shared);

/* One chunk, a block of columns with all rows, of a linear step that the engine runs. */
void dynq_step_run_foreign(const dynq_work *w, size_t index, size_t chunk);

#endif
