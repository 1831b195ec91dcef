#include "tests/model_parts.h"

#include "tests/samples.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

model_parts parts_of(dynq_model *model)
{
    model_parts p = {0};
    p.bytes = samples_saved(model, &p.size);
    dynq_model_free(model);
    cr_assert_eq(dynq_st_parse("sample", p.bytes, p.size, NULL, &p.header, NULL), DYNQ_OK);
    cr_assert_leq(p.header.tensor_count, PARTS_TENSORS);
    p.count = p.header.tensor_count;
    for (size_t i = 0; i < p.count; i++) {
        const dynq_st_tensor *t = &p.header.tensors[i];
        p.sources[i] = (dynq_st_source){
            .name = t->name,
            .tensor = {.dtype = t->dtype, .rank = t->rank, .data = p.bytes + t->offset}};
        memcpy(p.sources[i].tensor.shape, t->shape, sizeof t->shape);
    }
    cr_assert_eq(p.header.metadata_count, 3);
    memcpy(p.metadata, p.header.metadata, sizeof p.metadata);
    return p;
}

void parts_free(model_parts *p)
{
    dynq_st_header_free(&p->header);
    free(p->bytes);
}

dynq_status parts_open(const model_parts *p, dynq_model **model, dynq_error *error)
{
    char directory[64], path[96];
    samples_directory(directory);
    snprintf(path, sizeof path, "%s/model", directory);
    cr_assert_eq(dynq_st_write(path, p->sources, p->count, p->metadata, 3, NULL), DYNQ_OK);
    const dynq_status status = dynq_model_open(path, NULL, model, error);
    samples_remove(directory);
    return status;
}

void parts_expect(const model_parts *p, dynq_status status, const char *text)
{
    dynq_model *model = NULL;
    dynq_error error = {0};
    const dynq_status got = parts_open(p, &model, &error);
    cr_assert_eq(got, status, "%s: %s instead of %s: %s", text, dynq_status_text(got),
                 dynq_status_text(status), error.message);
    cr_assert_eq(error.status, status);
    cr_assert_not_null(strstr(error.message, text), "'%s' is not in: %s", text, error.message);
    cr_assert_not_null(strstr(error.message, "/model: "), "no file name: %s", error.message);
    if (status != DYNQ_ERR_MEMORY) {
        cr_assert_neq(error.offset, DYNQ_NO_OFFSET);
    }
    cr_assert_null(model);
}

dynq_tensor *parts_tensor(model_parts *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++) {
        if (strcmp(p->sources[i].name, name) == 0) {
            return &p->sources[i].tensor;
        }
    }
    cr_assert_fail("no tensor %s", name);
    abort();
}

char *parts_replace(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    cr_assert_not_null(at, "'%s' is not in %s", from, text);
    char *result = malloc(strlen(text) + strlen(to) + 1);
    sprintf(result, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return result;
}

char *parts_metadata(model_parts *p, const char *key, size_t *index)
{
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(p->metadata[i].key, key) == 0) {
            *index = i;
            return strdup(p->metadata[i].value);
        }
    }
    cr_assert_fail("no metadata %s", key);
    abort();
}

void parts_expect_verify(const model_parts *p, dynq_status status, const char *text)
{
    dynq_model *model = NULL;
    dynq_error error = {0};
    cr_assert_eq(parts_open(p, &model, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(dynq_model_verify(model, &error), status, "%s", text);
    cr_assert_not_null(strstr(error.message, text), "%s", error.message);
    dynq_model_free(model);
}

bool parts_opens(const unsigned char *bytes, size_t size)
{
    unsigned char *block = malloc(size + (size == 0));
    memcpy(block, bytes, size);
    dynq_model *model = NULL;
    dynq_error error = {0};
    const dynq_status status = dynq_model_open_memory(block, size, NULL, &model, &error);
    cr_assert_eq(status == DYNQ_OK, model != NULL);
    cr_assert_eq(status, error.status);
    if (model != NULL) {
        dynq_model_verify(model, NULL);
        dynq_model_free(model);
    } else {
        cr_assert_neq(error.message[0], '\0');
    }
    free(block);
    return status == DYNQ_OK;
}
