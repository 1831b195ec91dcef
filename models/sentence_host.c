/* A host program: loads a sentence encoder that `dynq convert` and `dynq quantize` have made, and
 * prints how similar the other arguments are to the first.
 * cc sentence_host.c $(pkg-config --cflags --libs dynq-text dynq) -o sentence_host
 * ./sentence_host minilm-int8.safetensors 'A cat sits on the mat.' 'A kitten is on a rug.' */
#include <dynq/dynq.h>
#include <dynq/tokenizer.h>
#include <dynq/tokenizer_model.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SENTENCES = 32, MAX_TOKENS = 64, MAX_ROWS = MAX_SENTENCES * MAX_TOKENS, WIDTH = 384 };

static int32_t ids[MAX_ROWS];
static float embeddings[MAX_SENTENCES * WIDTH];

/* Lays the ids of the texts end to end; sentence s begins at offsets[s]. */
static dynq_status tokenize(const dynq_tokenizer *tokenizer, char **texts, size_t count,
                            size_t *offsets, dynq_error *error)
{
    dynq_status status = DYNQ_OK;
    for (size_t s = 0; s < count && status == DYNQ_OK; s++) {
        size_t tokens = 0;
        status = dynq_tokenizer_encode(tokenizer, texts[s], strlen(texts[s]), MAX_TOKENS,
                                       ids + offsets[s], &tokens, error);
        offsets[s + 1] = offsets[s] + tokens;
    }
    return status;
}

static dynq_status embed(dynq_model *model, const size_t *offsets, size_t count, dynq_error *error)
{
    static dynq_session_options options; /* all zero: the defaults */
    dynq_session *session = NULL;
    options.size = sizeof options;
    options.max_rows = MAX_ROWS;
    options.max_segments = MAX_SENTENCES;
    dynq_status status = dynq_session_create(model, &options, &session, error);
    if (status == DYNQ_OK) {
        const dynq_binding io[] = {
            {dynq_session_slot(session, "input_ids"), ids, sizeof ids, 0},
            {dynq_session_slot(session, "sentence_embedding"), embeddings, sizeof embeddings, 0},
        };
        dynq_batch batch = {sizeof batch, offsets[count], count, offsets, NULL};
        status = dynq_session_run(session, &batch, io, 2, error);
    }
    dynq_session_free(session);
    return status;
}

static double dot(const float *a, const float *b)
{
    double sum = 0;
    for (int i = 0; i < WIDTH; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

int main(int argc, char **argv)
{
    dynq_error error = {DYNQ_OK, DYNQ_NO_OFFSET, ""};
    dynq_model *model = NULL;
    dynq_tokenizer *tokenizer = NULL;
    size_t offsets[MAX_SENTENCES + 1] = {0};
    const size_t count = argc < 4 ? 0 : (size_t)argc - 2;
    if (count == 0 || count > MAX_SENTENCES) {
        fprintf(stderr, "usage: sentence_host MODEL SENTENCE OTHER... (%d at most)\n",
                MAX_SENTENCES);
        return 2;
    }
    dynq_status status = dynq_model_open(argv[1], NULL, &model, &error);
    if (status == DYNQ_OK) {
        status = dynq_tokenizer_from_model(model, NULL, &tokenizer, NULL, &error);
    }
    if (status == DYNQ_OK) {
        status = tokenize(tokenizer, argv + 2, count, offsets, &error);
    }
    if (status == DYNQ_OK) {
        status = embed(model, offsets, count, &error);
    }
    for (size_t s = 1; status == DYNQ_OK && s < count; s++) { /* embeddings have length 1 */
        printf("%.3f  %s\n", dot(embeddings, embeddings + s * WIDTH), argv[2 + s]);
    }
    if (status != DYNQ_OK) {
        fprintf(stderr, "sentence_host: %s\n", error.message);
    }
    dynq_tokenizer_free(tokenizer);
    dynq_model_free(model);
    return status != DYNQ_OK;
}
