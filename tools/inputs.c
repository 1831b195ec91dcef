#include "tools/inputs.h"

#include "tools/allocate.h"

#include <math.h>

size_t model_inputs(const dynq_model *model, model_slot **slots)
{
    const size_t nodes = dynq_model_node_count(model);
    size_t count = 0;
    *slots = allocate(nodes, sizeof **slots);
    for (size_t i = 0; i < nodes; i++) {
        dynq_node_info node = {.size = sizeof node};
        if (dynq_model_node(model, i, &node) == DYNQ_OK && node.op == DYNQ_OP_INPUT) {
            (*slots)[count++] = (model_slot){node.name, node.n};
        }
    }
    return count;
}

size_t model_outputs(const dynq_model *model, model_slot **slots)
{
    const size_t count = dynq_model_output_count(model);
    *slots = allocate(count, sizeof **slots);
    for (size_t i = 0; i < count; i++) {
        dynq_node_info node = {.size = sizeof node};
        size_t index = 0;
        dynq_model_output(model, i, &(*slots)[i].name, &index);
        dynq_model_node(model, index, &node);
        (*slots)[i].columns = node.n;
    }
    return count;
}

exit_code inputs_read(const command_call *call, const char *path, size_t columns,
                      data_matrix *matrix)
{
    dynq_error error = {0};
    const dynq_status status = data_read_matrix(path, columns, matrix, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, path);
    }
    exit_code code = EXIT_CODE_DONE;
    if (matrix->rows == 0) {
        code =
            command_fail(call->command, EXIT_CODE_DATA, "%s: has no rows: give at least one", path);
    }
    const size_t count = matrix->rows * matrix->columns;
    for (size_t i = 0; i < count && code == EXIT_CODE_DONE; i++) {
        if (!isfinite(matrix->values[i])) {
            code = command_fail(call->command, EXIT_CODE_DATA,
                                "%s: row %zu, column %zu (counted from 0) is %s: replace it by a "
                                "finite number",
                                path, i / matrix->columns, i % matrix->columns,
                                isnan(matrix->values[i]) ? "NaN" : "infinite");
        }
    }
    if (code != EXIT_CODE_DONE) {
        data_matrix_free(matrix);
    }
    return code;
}
