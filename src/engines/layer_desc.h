/* Checks that the foreign engines share. Each engine library carries its own copy of this file and
 * nothing else of the runtime. */
#ifndef DYNQ_SRC_ENGINES_LAYER_DESC_H
#define DYNQ_SRC_ENGINES_LAYER_DESC_H

#include <dynq/engine.h>
#include <dynq/memory.h>
#include <dynq/status.h>
#include <stddef.h>

/* Whether `engine` can make a layer of *desc: DYNQ_ERR_UNSUPPORTED for a product it lacks,
 * DYNQ_ERR_ARGUMENT for an empty layer or weights that do not match the precision, DYNQ_ERR_LIMIT
 * for a dimension over 2^31 - 1. */
dynq_status dynq_engine_check_layer(const dynq_engine *engine, const dynq_engine_layer_desc *desc,
                                    dynq_error *error);

/* Whether a layer made for *desc can be called so: DYNQ_ERR_LIMIT for rows over max_rows or a
 * stride over 2^31 - 1, DYNQ_ERR_ARGUMENT for rows that would overlap. */
dynq_status dynq_engine_check_call(const dynq_engine_layer_desc *desc, dynq_precision precision,
                                   size_t rows, size_t x_stride, size_t y_stride);

/* Fills *error (NULL is fine): "node 'NAME': ENGINE: REASON". Returns `status`. */
dynq_status dynq_engine_fail(dynq_error *error, dynq_status status, const dynq_engine *engine,
                             const dynq_engine_layer_desc *desc, const char *reason);

/* `bytes` zeroed bytes for weights, aligned as dynq/memory.h says; NULL if memory is out. Given
 * back with free(). */
void *dynq_engine_alloc_weights(size_t bytes);

#endif
