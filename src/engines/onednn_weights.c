#include "src/engines/onednn_weights.h"

#include "src/engines/layer_desc.h"

#include <stdlib.h>

static dnnl_status_t reorder(const dynq_onednn_store *store, dynq_onednn_layout layout,
                             dnnl_memory_t packed)
{
    dynq_onednn_layout plain;
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_status_t status = dnnl_memory_get_memory_desc(store->plain, &plain);
    if (status == dnnl_success) {
        status = dnnl_reorder_primitive_desc_create(&description, plain, store->engine, layout,
                                                    store->engine, NULL);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_create(&primitive, description);
    }
    if (status == dnnl_success) {
        const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, store->plain}, {DNNL_ARG_TO, packed}};
        status = dnnl_primitive_execute(primitive, store->stream, 2, arguments);
    }
    if (status == dnnl_success) {
        status = dnnl_stream_wait(store->stream);
    }
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(description);
    return status;
}

static dnnl_status_t fill(const dynq_onednn_store *store, dynq_onednn_layout layout,
                          dynq_onednn_weights *weights)
{
    weights->data = dynq_engine_alloc_weights(dnnl_memory_desc_get_size(layout));
    if (weights->data == NULL) {
        return dnnl_out_of_memory;
    }
    dnnl_status_t status =
        dnnl_memory_create(&weights->memory, layout, store->engine, weights->data);
    if (status == dnnl_success) {
        status = reorder(store, layout, weights->memory);
    }
    return status;
}

dnnl_status_t dynq_onednn_weights_take(dynq_onednn_store *store, dynq_onednn_layout layout,
                                       dynq_onednn_weights **result)
{
    dynq_onednn_weights *place = NULL;
    for (size_t i = 0; i < DYNQ_ONEDNN_ENTRIES; i++) {
        dynq_onednn_weights *weights = &store->places[i];
        dynq_onednn_layout present;
        if (weights->memory == NULL) {
            place = weights;
        } else if (dnnl_memory_get_memory_desc(weights->memory, &present) == dnnl_success &&
                   dnnl_memory_desc_equal(present, layout)) {
            weights->users++;
            *result = weights;
            return dnnl_success;
        }
    }
    /* As many places as entries, and the entry that asks has none yet: one is free. */
    const dnnl_status_t status = fill(store, layout, place);
    place->users = 1;
    if (status != dnnl_success) {
        dynq_onednn_weights_drop(place);
        return status;
    }
    *result = place;
    return dnnl_success;
}

void dynq_onednn_weights_drop(dynq_onednn_weights *weights)
{
    if (weights != NULL && --weights->users == 0) {
        dnnl_memory_destroy(weights->memory);
        free(weights->data);
        *weights = (dynq_onednn_weights){0};
    }
}
