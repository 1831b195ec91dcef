#include "tools/labels.h"

#include "tools/data.h"
#include "tools/inputs.h"

#include <stdlib.h>

exit_code labels_read(const command_call *call, const char *path, const char *data,
                      const dynq_model *model, const model_slot *input, const requests *x,
                      int32_t **labels)
{
    size_t count = 0;
    dynq_error error = {0};
    const dynq_status status = data_read_labels(path, labels, &count, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, path);
    }
    if (count != x->count) {
        return command_fail(call->command, EXIT_CODE_DATA,
                            "%s has %zu labels, but %s has %zu %s; give one label for each", path,
                            count, data, x->count, input->ids ? "lines" : "rows");
    }
    model_slot *slots = NULL;
    model_outputs(model, &slots);
    const model_slot output = slots[model_main_output(model)];
    const size_t classes = output.columns;
    free(slots);
    if (input->ids && output.domain != DYNQ_DOMAIN_SEGMENTS) {
        return command_fail(call->command, EXIT_CODE_USAGE,
                            "--labels: %s has a row for each token, not one for each text",
                            output.name);
    }
    for (size_t i = 0; i < count; i++) {
        if ((*labels)[i] < 0 || (size_t)(*labels)[i] >= classes) {
            return command_fail(call->command, EXIT_CODE_DATA,
                                "%s: label %d in row %zu, but the model has the classes 0 to %zu",
                                path, (int)(*labels)[i], i, classes - 1);
        }
    }
    return EXIT_CODE_DONE;
}
