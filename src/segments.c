/* Steps to which it matters where segments begin: positions, pooling, attention. */
#include "src/operators.h"
#include "src/range.h"

#include <string.h>

/* Picoseconds of a multiplication of attention, exp and all else included. */
enum { COST_ATTENTION_S8 = 14, COST_ATTENTION_F32 = 30 };

/* The segment that row `row` belongs to. */
static size_t segment_of(const dynq_work *w, size_t row)
{
    size_t low = 0, high = dynq_work_segments(w);
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (dynq_work_segment(w, middle) <= row) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Rows of one segment after the other, as many as the block has of each: positions start again. */
static void embed_positions(const dynq_work *w, const dynq_step *step, dynq_embed_block whole,
                            size_t first_row)
{
    const bool alone = step->inputs[0] == DYNQ_NONE;
    const dynq_node *node = &w->session->model->nodes[alone ? step->node : step->positions];
    size_t segment = segment_of(w, first_row);
    for (size_t done = 0; done < whole.rows; segment++) {
        const size_t row = first_row + done;
        const size_t left = dynq_work_segment(w, segment + 1) - row;
        const size_t position = node->first + row - dynq_work_segment(w, segment);
        dynq_embed_block part = whole;
        part.rows = left < whole.rows - done ? left : whole.rows - done;
        part.y += done * whole.y_stride;
        part.range += done * whole.range_step;
        if (alone) {
            part.first = position;
            part.other = whole.other == NULL ? NULL : whole.other + done * whole.other_stride;
        } else {
            part.ids += done * whole.id_stride;
            part.other = node->weight + position * node->n;
            part.other_stride = node->n;
        }
        w->session->kernel->embed(&part);
        done += part.rows;
    }
}

void dynq_embed_run(const dynq_work *w, const dynq_step *step, const dynq_block *b,
                    dynq_range_bits *ranges)
{
    const dynq_node *node = &w->session->model->nodes[step->node];
    const dynq_value_memory *y = &w->values[step->output];
    dynq_embed_block embed = {
        .rows = b->rows,
        .columns = b->columns,
        .table = node->weight,
        .codes = node->table_codes,
        .scale = node->weight_scale,
        .y = y->data + b->row * y->stride,
        .y_stride = y->stride,
        .range = ranges,
        .range_step = y->range_step,
    };
    if (step->residual != DYNQ_NONE) {
        const dynq_value_memory *other = &w->values[step->residual];
        embed.other = other->data + b->row * other->stride;
        embed.other_stride = other->stride;
    }
    if (step->inputs[0] != DYNQ_NONE) {
        const dynq_value_memory *ids = &w->values[step->inputs[0]];
        embed.ids = (const int32_t *)(const void *)ids->data + b->row * ids->stride;
        embed.id_stride = ids->stride;
    }
    if (step->inputs[0] == DYNQ_NONE || step->positions != DYNQ_NONE) {
        embed_positions(w, step, embed, b->row);
    } else {
        w->session->kernel->embed(&embed);
    }
}

void dynq_pool_run(const dynq_work *w, const dynq_step *step, const dynq_block *b,
                   dynq_range_bits *ranges)
{
    const dynq_value_memory *x = &w->values[step->inputs[0]];
    const dynq_value_memory *y = &w->values[step->output];
    for (size_t i = 0; i < b->rows; i++) {
        const size_t first = dynq_work_segment(w, b->row + i);
        w->session->kernel->pool(&(dynq_pool_block){
            .pooling = w->session->model->nodes[step->node].pooling,
            .rows = dynq_work_segment(w, b->row + i + 1) - first,
            .columns = b->columns,
            .x = x->data + first * x->stride,
            .x_stride = x->stride,
            .y = y->data + (b->row + i) * y->stride,
            .range = ranges + i * y->range_step,
        });
    }
}

/* Every row meets the keys of its own segment. */
static uint64_t attention_nanoseconds(const dynq_work *w, const dynq_step *step)
{
    const double columns = (double)w->session->plan->values[step->output].columns;
    double pairs = 0;
    for (size_t i = 0; i < dynq_work_segments(w); i++) {
        const size_t rows = dynq_work_segment(w, i + 1) - dynq_work_segment(w, i);
        pairs += (double)rows * (double)rows;
    }
    return (uint64_t)(2e-3 * pairs * columns *
                      (step->int8 ? COST_ATTENTION_S8 : COST_ATTENTION_F32));
}

dynq_layout dynq_attention_layout(const dynq_work *w, const dynq_step *step, dynq_cut cut)
{
    return dynq_layout_heads(dynq_work_segments(w), w->session->model->nodes[step->node].heads,
                             attention_nanoseconds(w, step), cut);
}

void dynq_attention_run(const dynq_work *w, const dynq_step *step, const dynq_block *b, bool shared)
{
    const dynq_node *node = &w->session->model->nodes[step->node];
    const dynq_value_memory *q = &w->values[step->inputs[0]];
    const dynq_value_memory *k = &w->values[step->inputs[1]];
    const dynq_value_memory *v = &w->values[step->inputs[2]];
    dynq_value_memory *y = &w->values[step->output];
    const size_t dim = node->n / node->heads;
    const uint32_t place = dynq_place_take(w->session->scratch_taken, w->session->threads);
    dynq_scratch *scratch = &w->session->scratches[place];
    for (size_t segment = b->row; segment < b->row + b->rows; segment++) {
        const size_t first = dynq_work_segment(w, segment);
        const size_t rows = dynq_work_segment(w, segment + 1) - first;
        const size_t ranges = y->range_step == 0 ? 1 : rows;
        memset(scratch->ranges, 0, ranges * sizeof *scratch->ranges);
        for (size_t h = b->column; h < b->column + b->columns; h++) {
            const dynq_attention_block head = {
                .keys = rows,
                .queries = rows,
                .dim = dim,
                .q = q->data + first * q->stride + h * dim,
                .q_stride = q->stride,
                .k = k->data + first * k->stride + h * dim,
                .k_stride = k->stride,
                .v = v->data + first * v->stride + h * dim,
                .v_stride = v->stride,
                .scale = node->scale,
                .causal = node->causal,
                .y = y->data + first * y->stride + h * dim,
                .y_stride = y->stride,
                .range = scratch->ranges,
                .range_step = y->range_step,
                .prepared = scratch->prepared,
            };
            if (step->int8) {
                w->session->kernel->attention_prepare(&head);
                w->session->kernel->attention_s8(&head);
            } else {
                w->session->kernel->attention_f32(&head);
            }
        }
        for (size_t i = 0; i < ranges; i++) {
            dynq_range_bits *range = &y->range[first * y->range_step + i];
            if (shared) {
                dynq_range_join_shared(range, scratch->ranges[i]);
            } else {
                *range = dynq_range_join(*range, scratch->ranges[i]);
            }
        }
    }
    dynq_place_give(w->session->scratch_taken, place);
}
