/* Measurements in a file, written as they come, so that an interrupted run goes on. */
#include "tools/tune.h"

#include "tools/allocate.h"
#include "tools/machine.h"
#include "tools/output.h"
#include "tools/replace.h"

#include <dynq/version.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SCHEMA "dynq.tune.cache/1"

struct tune_cache {
    const char *path; /* NULL: none */
    char key[33];     /* of model, data and settings */
    json_t *root;     /* what was read; NULL: nothing */
    size_t requests, nodes;
};

/* ---- what measurements depend on ---- */

/* FNV-1a, two of them with different beginnings. */
typedef struct hash {
    uint64_t a, b;
} hash;

static void add_bytes(hash *self, const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < size; i++) {
        self->a = (self->a ^ byte[i]) * 0x100000001B3u;
        self->b = (self->b ^ byte[i]) * 0x100000001B3u + 1;
    }
}

static void add_text(hash *self, const char *text)
{
    add_bytes(self, text, strlen(text) + 1);
}

static void add_number(hash *self, uint64_t number)
{
    add_bytes(self, &number, sizeof number);
}

static exit_code add_file(const tuning *self, hash *sum, const char *path)
{
    FILE *file = fopen(path, "rb");
    char *const block = allocate(1 << 16, 1);
    size_t size = 0;
    while (file != NULL && (size = fread(block, 1, 1 << 16, file)) > 0) {
        add_bytes(sum, block, size);
    }
    const int failed = file == NULL || ferror(file);
    if (file != NULL) {
        fclose(file);
    }
    free(block);
    return failed
               ? command_fail(self->call->command, EXIT_CODE_IO, "%s: cannot be read again", path)
               : EXIT_CODE_DONE;
}

static exit_code make_key(const tuning *self, char key[33])
{
    const requests *x = &self->x;
    hash sum = {0xCBF29CE484222325u, 0x84222325CBF29CE4u};
    exit_code code = add_file(self, &sum, self->call->arguments[0]);
    if (code == EXIT_CODE_DONE && self->options->calibration_data != NULL) {
        code = add_file(self, &sum, self->options->calibration_data);
    }
    add_bytes(&sum, x->offsets, (x->count + 1) * sizeof *x->offsets);
    add_bytes(&sum, x->values, requests_rows(x) * x->columns * sizeof(float));
    add_number(&sum, self->held_out);
    add_number(&sum, self->options->samples);
    add_number(&sum, self->options->batch);
    add_number(&sum, self->options->repeat);
    add_number(&sum, self->call->common.threads);
    add_text(&sum, machine_kernel(self->call));
    add_text(&sum, self->options->precisions);
    add_text(&sum, dynq_version());
    snprintf(key, 33, "%016llx%016llx", (unsigned long long)sum.a, (unsigned long long)sum.b);
    return code;
}

/* ---- metrics ---- */

static json_t *metrics_json(const dynq_metrics *metrics)
{
    json_t *object = command_json_object();
    command_json_set(object, "rows", command_json_integer(metrics->rows));
    command_json_set(object, "elements", command_json_integer(metrics->elements));
    command_json_set(object, "cosine_rows", command_json_integer(metrics->cosine_rows));
    command_json_set(object, "signal", command_json_number(metrics->signal));
    command_json_set(object, "noise", command_json_number(metrics->noise));
    command_json_set(object, "cosine_sum", command_json_number(metrics->cosine_sum));
    command_json_set(object, "cosine_min", command_json_number(metrics->cosine_min));
    return object;
}

static int read_metrics(const json_t *object, dynq_metrics *metrics)
{
    json_int_t rows = 0, elements = 0, cosine_rows = 0;
    dynq_metrics read = {0};
    if (json_unpack((json_t *)(uintptr_t)object, "{s:I, s:I, s:I, s:F, s:F, s:F, s:F}", "rows",
                    &rows, "elements", &elements, "cosine_rows", &cosine_rows, "signal",
                    &read.signal, "noise", &read.noise, "cosine_sum", &read.cosine_sum,
                    "cosine_min", &read.cosine_min) != 0 ||
        rows < 0 || elements < 0 || cosine_rows < 0 || read.signal < 0 || read.noise < 0) {
        return 0;
    }
    read.rows = (uint64_t)rows;
    read.elements = (uint64_t)elements;
    read.cosine_rows = (uint64_t)cosine_rows;
    *metrics = read;
    return 1;
}

/* ---- reading ---- */

static int take_choice(tune_choice *choice, const json_t *entry)
{
    return read_metrics(json_object_get(entry, "own"), &choice->own) &&
           read_metrics(json_object_get(entry, "answer"), &choice->answer);
}

/* What was measured of all nodes, in their order and that of the candidates. */
static int take_nodes(tuning *self, tune_cache *cache)
{
    json_int_t done = -1, nodes = -1;
    const json_t *list = json_object_get(cache->root, "choices");
    if (json_unpack(cache->root, "{s:I, s:I}", "requests", &done, "nodes", &nodes) != 0 ||
        done < 0 || (size_t)done > self->sample.count || nodes < 0 ||
        (size_t)nodes >= self->node_count ||
        json_array_size(list) != self->node_count * self->candidate_count) {
        return 0;
    }
    for (size_t i = 0; i < self->node_count; i++) {
        for (size_t c = 0; c < self->candidate_count; c++) {
            if (!take_choice(&self->nodes[i].choices[c],
                             json_array_get(list, i * self->candidate_count + c))) {
                return 0;
            }
        }
    }
    cache->requests = (size_t)done;
    cache->nodes = (size_t)nodes;
    return 1;
}

static exit_code read_cache(tuning *self, tune_cache *cache)
{
    json_error_t problem;
    struct stat info;
    if (stat(cache->path, &info) != 0) {
        return EXIT_CODE_DONE; /* the first run makes it */
    }
    cache->root = json_load_file(cache->path, 0, &problem);
    const char *schema = json_string_value(json_object_get(cache->root, "schema"));
    const char *key = json_string_value(json_object_get(cache->root, "key"));
    if (schema == NULL || key == NULL || strcmp(schema, SCHEMA) != 0) {
        return command_fail(self->call->command, EXIT_CODE_DATA,
                            "%s: is no cache of `dynq tune`; name another file", cache->path);
    }
    if (strcmp(key, cache->key) != 0) {
        return command_fail(self->call->command, EXIT_CODE_DATA,
                            "%s: was measured with another model, other data or other settings; "
                            "remove it or name another file",
                            cache->path);
    }
    if (!take_nodes(self, cache)) {
        return command_fail(self->call->command, EXIT_CODE_DATA, "%s: is damaged; remove it",
                            cache->path);
    }
    return EXIT_CODE_DONE;
}

exit_code tune_cache_open(tuning *self, tune_cache **result)
{
    tune_cache *cache = allocate(1, sizeof *cache);
    *result = cache;
    cache->path = self->options->cache;
    if (cache->path == NULL) {
        return EXIT_CODE_DONE;
    }
    const exit_code code = make_key(self, cache->key);
    return code == EXIT_CODE_DONE ? read_cache(self, cache) : code;
}

void tune_cache_close(tune_cache *cache)
{
    if (cache != NULL) {
        json_decref(cache->root);
    }
    free(cache);
}

void tune_cache_place(const tune_cache *cache, size_t *done, size_t *nodes)
{
    *done = cache->requests;
    *nodes = cache->nodes;
}

/* ---- times ---- */

static json_t *times_json(const tuning *self)
{
    json_t *times = command_json_array();
    command_json_append(times, command_json_number(self->fp32_ms));
    command_json_append(times, command_json_number(self->rest_ms));
    for (size_t c = 0; c < self->candidate_count; c++) {
        command_json_append(times, command_json_number(self->candidates[c].measured.ms));
    }
    for (size_t i = 0; i < self->node_count; i++) {
        command_json_append(times, command_json_number(self->nodes[i].fp32_ms));
        for (size_t c = 0; c < self->candidate_count; c++) {
            command_json_append(times, command_json_number(self->nodes[i].choices[c].ms));
        }
    }
    return times;
}

/* The next number of the list; below 0 where there is none. */
static double next_time(const json_t *times, size_t *index)
{
    const json_t *value = json_array_get(times, (*index)++);
    return json_is_number(value) ? json_number_value(value) : -1;
}

int tune_cache_times(const tune_cache *cache, tuning *self)
{
    const json_t *times = json_object_get(cache->root, "times");
    if (json_array_size(times) !=
        2 + self->candidate_count + self->node_count * (1 + self->candidate_count)) {
        return 0;
    }
    size_t index = 0;
    for (size_t i = 0; i < json_array_size(times); i++) {
        if (next_time(times, &index) < 0) {
            return 0;
        }
    }
    index = 0;
    self->fp32_ms = next_time(times, &index);
    self->rest_ms = next_time(times, &index);
    for (size_t c = 0; c < self->candidate_count; c++) {
        self->candidates[c].measured.ms = next_time(times, &index);
    }
    for (size_t i = 0; i < self->node_count; i++) {
        self->nodes[i].fp32_ms = next_time(times, &index);
        for (size_t c = 0; c < self->candidate_count; c++) {
            self->nodes[i].choices[c].ms = next_time(times, &index);
        }
    }
    return 1;
}

/* ---- writing ---- */

exit_code tune_cache_save(tune_cache *cache, const tuning *self, size_t done, size_t nodes)
{
    if (cache->path == NULL) {
        return EXIT_CODE_DONE;
    }
    json_t *root = command_json_object(), *choices = command_json_array();
    command_json_set(root, "schema", command_json_string(SCHEMA));
    command_json_set(root, "key", command_json_string(cache->key));
    command_json_set(root, "requests", command_json_integer(done));
    command_json_set(root, "nodes", command_json_integer(nodes));
    for (size_t i = 0; i < self->node_count; i++) {
        for (size_t c = 0; c < self->candidate_count; c++) {
            json_t *entry = command_json_object();
            command_json_set(entry, "node", command_json_string(self->nodes[i].name));
            command_json_set(entry, "precision", command_json_string(self->candidates[c].text));
            command_json_set(entry, "own", metrics_json(&self->nodes[i].choices[c].own));
            command_json_set(entry, "answer", metrics_json(&self->nodes[i].choices[c].answer));
            command_json_append(choices, entry);
        }
    }
    command_json_set(root, "choices", choices);
    if (self->fp32_ms > 0) {
        command_json_set(root, "times", times_json(self));
    }
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(root);
    if (text == NULL) {
        allocate_failed();
    }
    dynq_error error = {0};
    const dynq_status status = replace_file(cache->path, text, strlen(text), &error);
    free(text);
    return status == DYNQ_OK
               ? EXIT_CODE_DONE
               : command_fail_status(self->call->command, status, &error, cache->path);
}
