/* Encoders against answers in float64: tests/golden/make_bert.py. */
#include "tests/samples.h"
#include "tools/checkpoint.h"
#include "tools/data.h"
#include "tools/huggingface.h"

#ifdef DYNQ_HAVE_OPENBLAS
#include <dynq/openblas.h>
#endif

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What FP32 may differ from float64, in values of up to about 5. */
#define TOLERANCE 2e-5

/* An encoder and what it must answer. */
typedef struct golden {
    huggingface source;
    dynq_model *model;
    int32_t *ids, *lengths;
    size_t rows, segments;
    size_t *offsets;
    data_matrix tokens, sentences; /* no tokens: zero rows */
} golden;

static void read_integers(const char *stem, const char *what, int32_t **values, size_t *count)
{
    char path[256];
    dynq_error error = {0};
    snprintf(path, sizeof path, "%s_%s.npy", stem, what);
    cr_assert_eq(data_read_labels(path, values, count, &error), DYNQ_OK, "%s", error.message);
}

static void read_matrix(const char *stem, const char *what, size_t columns, data_matrix *matrix)
{
    char path[256];
    dynq_error error = {0};
    snprintf(path, sizeof path, "%s_%s.npy", stem, what);
    cr_assert_eq(data_read_matrix(path, columns, matrix, &error), DYNQ_OK, "%s", error.message);
}

/* Converts the folder; `pooler`: embeddings by the tanh pooler instead of what it says. */
static void convert(golden *g, const char *folder, int tokens, int pooler)
{
    dynq_error error = {0};
    checkpoint weights = {0};
    cr_assert_eq(huggingface_read(folder, &g->source, &error), DYNQ_OK, "%s", error.message);
    cr_assert_eq(checkpoint_open(folder, &weights, &error), DYNQ_OK, "%s", error.message);
    bert_config *encoder = &g->source.encoder;
    encoder->tokens = tokens;
    encoder->sentence = 1;
    if (pooler) {
        encoder->pooling = BERT_POOL_POOLER;
    }
    const bert_weights found = {.find = checkpoint_find, .context = &weights};
    cr_assert_eq(bert_build(encoder, &found, NULL, 0, NULL, &g->model, &error), DYNQ_OK, "%s",
                 error.message);
    checkpoint_close(&weights);
}

static void read_answers(golden *g, const char *stem, int tokens)
{
    const size_t width = g->source.encoder.width;
    read_integers(stem, "ids", &g->ids, &g->rows);
    read_integers(stem, "lengths", &g->lengths, &g->segments);
    read_matrix(stem, "sentences", width, &g->sentences);
    if (tokens) {
        read_matrix(stem, "tokens", width, &g->tokens);
        cr_assert_eq(g->tokens.rows, g->rows);
    }
    cr_assert_eq(g->sentences.rows, g->segments);
    g->offsets = calloc(g->segments + 1, sizeof *g->offsets);
    for (size_t i = 0; i < g->segments; i++) {
        g->offsets[i + 1] = g->offsets[i] + (size_t)g->lengths[i];
    }
    cr_assert_eq(g->offsets[g->segments], g->rows);
}

static void golden_free(golden *g)
{
    huggingface_free(&g->source);
    dynq_model_free(g->model);
    data_matrix_free(&g->tokens);
    data_matrix_free(&g->sentences);
    free(g->ids);
    free(g->lengths);
    free(g->offsets);
}

static dynq_session *make_session(const golden *g, const dynq_engine *engine)
{
    const dynq_session_options options = {
        .size = sizeof options, .max_rows = g->rows, .max_segments = g->segments, .engine = engine};
    dynq_session *session = NULL;
    dynq_error error = {0};
    cr_assert_eq(dynq_session_create(g->model, &options, &session, &error), DYNQ_OK, "%s",
                 error.message);
    return session;
}

/* Runs sentences `first` to `first + count`; `tokens` and `sentences` get their rows. */
static void run(dynq_session *session, const golden *g, size_t first, size_t count, float *tokens,
                float *sentences)
{
    const size_t width = g->source.encoder.width, begin = g->offsets[first];
    const size_t rows = g->offsets[first + count] - begin;
    size_t *offsets = calloc(count + 1, sizeof *offsets);
    for (size_t i = 0; i <= count; i++) {
        offsets[i] = g->offsets[first + i] - begin;
    }
    const dynq_binding bindings[] = {
        {dynq_session_slot(session, "input_ids"), g->ids + begin, rows * sizeof *g->ids, 0},
        {dynq_session_slot(session, "sentence_embedding"), sentences,
         count * width * sizeof *sentences, 0},
        {dynq_session_slot(session, "last_hidden_state"), tokens, rows * width * sizeof *tokens, 0},
    };
    const dynq_batch batch = {
        .size = sizeof batch, .rows = rows, .segments = count, .offsets = offsets};
    dynq_error error = {0};
    cr_assert_eq(
        dynq_session_run(session, &batch, bindings, g->source.encoder.tokens ? 3 : 2, &error),
        DYNQ_OK, "%s", error.message);
    free(offsets);
}

static void expect_near(const char *what, const data_matrix *expected, const float *values)
{
    for (size_t i = 0; i < expected->rows * expected->columns; i++) {
        const double difference = fabs((double)values[i] - (double)expected->values[i]);
        cr_assert(difference <= TOLERANCE, "%s: row %zu, column %zu is %.9g instead of %.9g", what,
                  i / expected->columns, i % expected->columns, (double)values[i],
                  (double)expected->values[i]);
    }
}

/* All sentences in one call against the answers, and the same one by one. */
static void check(const golden *g, const dynq_engine *engine)
{
    const size_t width = g->source.encoder.width;
    dynq_session *session = make_session(g, engine);
    float *tokens[2], *sentences[2];
    for (int i = 0; i < 2; i++) {
        tokens[i] = calloc(g->rows * width, sizeof(float));
        sentences[i] = calloc(g->segments * width, sizeof(float));
    }
    run(session, g, 0, g->segments, tokens[0], sentences[0]);
    expect_near("sentences", &g->sentences, sentences[0]);
    if (g->source.encoder.tokens) {
        expect_near("tokens", &g->tokens, tokens[0]);
    }
    for (size_t i = 0; i < g->segments; i++) {
        run(session, g, i, 1, tokens[1] + g->offsets[i] * width, sentences[1] + i * width);
    }
    expect_near("a sentence alone", &g->sentences, sentences[1]);
    if (engine == NULL) {
        cr_assert_eq(memcmp(sentences[0], sentences[1], g->segments * width * sizeof(float)), 0);
        cr_assert_eq(memcmp(tokens[0], tokens[1], g->rows * width * sizeof(float)), 0);
    }
    for (int i = 0; i < 2; i++) {
        free(tokens[i]);
        free(sentences[i]);
    }
    dynq_session_free(session);
}

static void check_engines(const golden *g)
{
    check(g, NULL);
#ifdef DYNQ_HAVE_OPENBLAS
    check(g, dynq_openblas_engine());
#endif
}

static void check_small(const char *name, int pooler)
{
    char folder[256];
    golden g = {0};
    snprintf(folder, sizeof folder, DYNQ_GOLDEN_DIR "/bert/%s", name);
    convert(&g, folder, 1, pooler);
    read_answers(&g, folder, 1);
    check_engines(&g);
    golden_free(&g);
}

Test(bert, bert)
{
    check_small("bert", 0);
}

Test(bert, as_older_programs_saved_it)
{
    check_small("old", 1);
}

Test(bert, roberta)
{
    check_small("roberta", 0);
}

Test(bert, distilbert)
{
    check_small("distilbert", 0);
}

Test(bert, minilm)
{
    const char *folder = getenv("DYNQ_MINILM");
    if (folder == NULL) {
        fputs("bert/minilm: skipped: DYNQ_MINILM does not name the folder that "
              "tools/get-minilm.sh prints\n",
              stderr);
        return;
    }
    golden g = {0};
    convert(&g, folder, 0, 0);
    read_answers(&g, DYNQ_GOLDEN_DIR "/minilm/minilm", 0);
    check_engines(&g);
    golden_free(&g);
}

/* Finds nothing but the first `left` tensors, all of them ones. */
typedef struct few {
    size_t left;
    float values[64];
} few;

static dynq_status find_few(void *context, const char *name, uint32_t rank, const size_t *shape,
                            const float **values, dynq_error *error)
{
    few *f = context;
    if (f->left == 0) {
        if (error != NULL) {
            *error = (dynq_error){.status = DYNQ_ERR_SHAPE, .offset = DYNQ_NO_OFFSET};
            snprintf(error->message, sizeof error->message, "%s", name);
        }
        return DYNQ_ERR_SHAPE;
    }
    cr_assert(rank == 1 || shape[0] * shape[1] <= 64);
    f->left--;
    *values = f->values;
    return DYNQ_OK;
}

/* The names of all weights, in the order in which they are asked for, and that the first that is
 * missing is what is said. */
Test(bert, every_weight_can_be_missing)
{
    static const bert_config config = {.vocabulary = 8,
                                       .positions = 8,
                                       .types = 2,
                                       .width = 4,
                                       .layers = 1,
                                       .heads = 2,
                                       .inner = 8,
                                       .epsilon = 1e-12f,
                                       .sentence = 1,
                                       .pooling = BERT_POOL_POOLER};
    static const char *const last[] = {"encoder.layer.0.output.LayerNorm.weight",
                                       "encoder.layer.0.output.LayerNorm.bias",
                                       "pooler.dense.weight", "pooler.dense.bias"};
    enum { ALL = 23 };
    for (size_t left = 0; left <= ALL; left++) {
        few f = {.left = left};
        dynq_model *model = NULL;
        dynq_error error = {0};
        const bert_weights weights = {.find = find_few, .context = &f};
        const dynq_status status =
            bert_build(&config, &weights, NULL, 0, NULL, &model, left % 2 == 0 ? &error : NULL);
        cr_assert_eq(status, left < ALL ? DYNQ_ERR_SHAPE : DYNQ_OK);
        if (left >= ALL - 4 && left < ALL && left % 2 == 0) {
            cr_assert_str_eq(error.message, last[left - (ALL - 4)]);
        }
        dynq_model_free(model);
    }
}

Test(bert, every_allocation_can_fail)
{
    static const bert_config config = {.vocabulary = 8,
                                       .positions = 8,
                                       .types = 2,
                                       .width = 4,
                                       .layers = 1,
                                       .heads = 2,
                                       .inner = 8,
                                       .epsilon = 1e-12f,
                                       .tokens = 1};
    const bert_attachment attachment = {"note", "text", 4};
    bool failed = true;
    for (size_t n = 1; failed; n++) {
        samples_memory memory = {.fail_at = n};
        const dynq_allocator allocator = samples_allocator(&memory);
        few f = {.left = SIZE_MAX};
        dynq_model *model = NULL;
        const bert_weights weights = {.find = find_few, .context = &f};
        const dynq_status status =
            bert_build(&config, &weights, &attachment, 1, &allocator, &model, NULL);
        failed = memory.calls >= n;
        cr_assert_eq(status, failed ? DYNQ_ERR_MEMORY : DYNQ_OK);
        dynq_model_free(model);
        cr_assert_eq(memory.live, 0);
    }
}
