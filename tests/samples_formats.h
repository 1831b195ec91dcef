/* Models by hand whose layers have weights in any format. */
#ifndef DYNQ_TESTS_SAMPLES_FORMATS_H
#define DYNQ_TESTS_SAMPLES_FORMATS_H

#include "src/model.h"

#include <stdbool.h>

/* How the layers of a model have their weights. */
typedef struct samples_format {
    const char *name;
    dynq_format format;
    size_t group;
    dynq_table_scope table; /* INT4, INT2 */
    bool no_zero;           /* no level is 0, so that padding counts in sums */
} samples_format;

/* Every format, group size and scope of tables. */
#define SAMPLES_FORMATS 17
extern const samples_format samples_formats[SAMPLES_FORMATS];
/* The first one that is so, which must be there. */
const samples_format *samples_find_format(const char *name);

enum { SAMPLES_FORMAT_INPUTS = 150, SAMPLES_FORMAT_HIDDEN = 131, SAMPLES_FORMAT_OUTPUTS = 21 };

/* x(150) -> fc1(131, bias) -> gelu -> fc2(150) + x -> norm -> fc3(21, bias) -> output "y", all
 * layers in that format. `range` NULL: dynamic, per segment, symmetric for INT16 and else affine.
 * NULL: memory is out. */
dynq_model *samples_coded(const samples_format *format, const dynq_range_rule *range,
                          const dynq_allocator *allocator);
/* The same network with the weights that dynq_model_weights() gives of `model`, in FP32. */
dynq_model *samples_dequantized(const dynq_model *model);
/* The same network with INT8 layers by column of the weights (levels) and scales of `model`. */
dynq_model *samples_as_int8(const dynq_model *model);

/* x(40) -> a linear layer of 18 columns for every format that K = 40 can have, each an output. */
dynq_model *samples_every_format(void);

#endif
