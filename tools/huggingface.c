#include "tools/huggingface.h"

#include "tools/allocate.h"
#include "tools/folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MODULES_FILE "modules.json"
#define POOLING_FILE "config.json"

dynq_status huggingface_bad_key(const char *folder, const char *file, const char *key,
                                const json_t *value, const char *wanted, dynq_error *error)
{
    if (value == NULL) {
        return folder_fail(error, DYNQ_ERR_FORMAT, folder, file, "has no '%s'; %s", key, wanted);
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    const dynq_status status =
        folder_fail(error, DYNQ_ERR_FORMAT, folder, file, "'%s' is %.60s; %s", key,
                    text == NULL ? "?" : text, wanted);
    free(text);
    return status;
}

/* What the steps over modules.json share. */
typedef struct modules {
    const char *folder;
    huggingface *self;
    dynq_error *error;
    char *pooling; /* the folder of its config.json; NULL: no pooling so far */
} modules;

static dynq_status bad_modules(const modules *m, const char *what)
{
    return folder_fail(m->error, DYNQ_ERR_FORMAT, m->folder, MODULES_FILE,
                       "%s: dynq converts one Transformer, one Pooling and perhaps one Normalize, "
                       "in this order, each in a folder in this one",
                       what);
}

static dynq_status read_module(modules *m, size_t index, const json_t *module)
{
    const char *type = json_string_value(json_object_get(module, "type"));
    const char *path = json_string_value(json_object_get(module, "path"));
    const char *dot = type == NULL ? NULL : strrchr(type, '.');
    if (dot == NULL || path == NULL || (path[0] != '\0' && !folder_is_inside(path))) {
        return bad_modules(m, "a module has no type, or no path in this folder");
    }
    if (index == 0 && strcmp(dot, ".Transformer") == 0) {
        free(m->self->folder);
        m->self->folder = folder_path(m->folder, path);
    } else if (index == 1 && strcmp(dot, ".Pooling") == 0) {
        m->pooling = folder_path(m->folder, path);
    } else if (index == 2 && strcmp(dot, ".Normalize") == 0) {
        m->self->encoder.normalize = 1;
    } else {
        char what[120];
        snprintf(what, sizeof what, "module '%.100s'", type);
        return bad_modules(m, what);
    }
    return DYNQ_OK;
}

static dynq_status read_modules(modules *m)
{
    json_t *root = NULL;
    dynq_status status = folder_json(m->folder, MODULES_FILE, &root, m->error);
    if (status != DYNQ_OK || root == NULL) {
        return status;
    }
    const size_t count = json_array_size(root);
    for (size_t i = 0; i < count && status == DYNQ_OK; i++) {
        status = read_module(m, i, json_array_get(root, i));
    }
    if (status == DYNQ_OK && m->pooling == NULL) {
        status = bad_modules(m, "there is no Pooling");
    }
    json_decref(root);
    return status;
}

/* Ways of pooling, as one key says them, and as keys of their own that are true or false. */
static const struct {
    const char *key, *word;
    int known;
    bert_pooling pooling;
} poolings[] = {
    {"pooling_mode_mean_tokens", "mean", 1, BERT_POOL_MEAN},
    {"pooling_mode_cls_token", "cls", 1, BERT_POOL_CLS},
    {"pooling_mode_max_tokens", "max", 1, BERT_POOL_MAX},
    {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", 0, 0},
    {"pooling_mode_weightedmean_tokens", "weightedmean", 0, 0},
    {"pooling_mode_lasttoken", "lasttoken", 0, 0},
};
#define POOLING_COUNT (sizeof poolings / sizeof *poolings)

/* Index of the way that a key stands for; POOLING_COUNT: none. */
static size_t pooling_of(const char *key)
{
    size_t i = 0;
    while (i < POOLING_COUNT && strcmp(poolings[i].key, key) != 0) {
        i++;
    }
    return i;
}

/* One key of the pooling's config; *chosen counts the ways that are on. */
static dynq_status read_pooling_key(const modules *m, const char *key, const json_t *value,
                                    size_t *chosen)
{
    bert_config *encoder = &m->self->encoder;
    const char *wanted = "dynq pools by mean, cls or max, one of them";
    size_t way = pooling_of(key);
    if (strcmp(key, "pooling_mode") == 0) {
        const char *word = json_string_value(value);
        way = 0;
        while (way < POOLING_COUNT && (word == NULL || strcmp(poolings[way].word, word) != 0)) {
            way++;
        }
    } else if (way < POOLING_COUNT && json_is_false(value)) {
        return DYNQ_OK;
    } else if (way < POOLING_COUNT && !json_is_true(value)) {
        wanted = "it must be true or false";
        way = POOLING_COUNT;
    } else if (strcmp(key, "word_embedding_dimension") == 0 ||
               strcmp(key, "embedding_dimension") == 0) {
        if (json_is_integer(value) && json_integer_value(value) == (json_int_t)encoder->width) {
            return DYNQ_OK;
        }
        wanted = "it must be the encoder's width";
    } else if (strcmp(key, "include_prompt") == 0) {
        return DYNQ_OK; /* about text that some models put in front */
    } else if (way == POOLING_COUNT) {
        wanted = "unknown key: it may change what is computed";
    }
    if (way == POOLING_COUNT || !poolings[way].known || ++*chosen > 1) {
        return huggingface_bad_key(m->pooling, POOLING_FILE, key, value, wanted, m->error);
    }
    encoder->pooling = poolings[way].pooling;
    return DYNQ_OK;
}

static dynq_status read_pooling(const modules *m)
{
    json_t *root = NULL;
    dynq_status status = folder_json(m->pooling, POOLING_FILE, &root, m->error);
    if (status != DYNQ_OK) {
        return status;
    }
    if (root == NULL) {
        return folder_fail(m->error, DYNQ_ERR_FORMAT, m->pooling, POOLING_FILE,
                           "is missing: modules.json has a Pooling there");
    }
    const char *key;
    json_t *value;
    size_t chosen = 0;
    json_object_foreach(root, key, value)
    {
        status = read_pooling_key(m, key, value, &chosen);
        if (status != DYNQ_OK) {
            break;
        }
    }
    if (status == DYNQ_OK && chosen == 0) {
        status = folder_fail(m->error, DYNQ_ERR_FORMAT, m->pooling, POOLING_FILE,
                             "names no way of pooling; dynq pools by mean, cls or max");
    }
    m->self->described = 1;
    json_decref(root);
    return status;
}

dynq_status huggingface_read(const char *folder, huggingface *self, dynq_error *error)
{
    struct stat info;
    *self = (huggingface){.folder = folder_path(folder, "")};
    if (stat(folder, &info) != 0) {
        return folder_fail(error, DYNQ_ERR_IO, folder, "", "cannot open: %s", strerror(errno));
    }
    if (!S_ISDIR(info.st_mode)) {
        return folder_fail(error, DYNQ_ERR_FORMAT, folder, "",
                           "is not a folder: give the one that holds config.json");
    }
    modules m = {.folder = folder, .self = self, .error = error};
    dynq_status status = read_modules(&m);
    if (status == DYNQ_OK) {
        status = huggingface_config(self, error);
    }
    if (status == DYNQ_OK && m.pooling != NULL) {
        status = read_pooling(&m);
    }
    if (status == DYNQ_OK) {
        status = huggingface_tokenizer(self, error);
    }
    free(m.pooling);
    return status;
}

void huggingface_free(huggingface *self)
{
    free(self->folder);
    free(self->vocabulary);
    free(self->tokenizer);
    *self = (huggingface){0};
}
