/* A host program: loads a sentence encoder that `dynq convert` and `dynq quantize` have made, and
 * prints how similar the other arguments are to the first.
 * cc sentence_host.c $(pkg-config --cflags --libs dynq-text dynq) -o sentence_host
 * ./sentence_host minilm-int8.safetensors 'A cat sits on the mat.' 'A kitten is on a rug.' */
#include <dynq/dynq.h>
#include <dynq/tokenizer.h>
#include <dynq/tokenizer_model.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* MAX_TOKENS: a longer sentence is cut. The model may take fewer. */
enum { MAX_SENTENCES = 32, MAX_TOKENS = 64, MAX_ROWS = MAX_SENTENCES * MAX_TOKENS };

static int32_t ids[MAX_ROWS];

/* Columns of the output "sentence_embedding"; 0: the model has none. */
static size_t find_width(const dynq_model *model)
{
    const char *name = NULL;
    size_t node = 0;
    for (size_t i = 0; dynq_model_output(model, i, &name, &node) == DYNQ_OK; i++) {
        dynq_node_info info = {.size = sizeof info};
        if (strcmp(name, "sentence_embedding") == 0 &&
            dynq_model_node(model, node, &info) == DYNQ_OK) {
            return info.n;
        }
    }
    return 0;
}

/* Lays the ids of the texts end to end; sentence s begins at offsets[s]. */
static dynq_status tokenize(const dynq_tokenizer *tokenizer, size_t max_tokens, char **texts,
                            size_t count, size_t *offsets, dynq_error *error)
{
    dynq_status status = DYNQ_OK;
    for (size_t s = 0; s < count && status == DYNQ_OK; s++) {
        size_t tokens = 0;
        status = dynq_tokenizer_encode(tokenizer, texts[s], strlen(texts[s]), max_tokens,
                                       ids + offsets[s], &tokens, error);
        offsets[s + 1] = offsets[s] + tokens;
    }
    return status;
}

static dynq_status embed(dynq_model *model, const size_t *offsets, size_t count, float *embeddings,
                         size_t width, dynq_error *error)
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
            {dynq_session_slot(session, "sentence_embedding"), embeddings,
             count * width * sizeof *embeddings, 0},
        };
        dynq_batch batch = {sizeof batch, offsets[count], count, offsets, NULL};
        status = dynq_session_run(session, &batch, io, 2, error);
    }
    dynq_session_free(session);
    return status;
}

static double dot(const float *a, const float *b, size_t width)
{
    double sum = 0;
    for (size_t i = 0; i < width; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

/* Prints the cosines. */
static dynq_status compare(dynq_model *model, const dynq_tokenizer *tokenizer, size_t max_tokens,
                           char **texts, size_t count, dynq_error *error)
{
    size_t offsets[MAX_SENTENCES + 1] = {0};
    const size_t width = find_width(model);
    float *embeddings = width > 0 ? calloc(count * width, sizeof *embeddings) : NULL;
    if (embeddings == NULL) {
        strcpy(error->message, width > 0 ? "out of memory" : "no output sentence_embedding");
        return width > 0 ? DYNQ_ERR_MEMORY : DYNQ_ERR_NOT_FOUND;
    }
    dynq_status status = tokenize(tokenizer, max_tokens, texts, count, offsets, error);
    if (status == DYNQ_OK) {
        status = embed(model, offsets, count, embeddings, width, error);
    }
    for (size_t s = 1; status == DYNQ_OK && s < count; s++) { /* embeddings have length 1 */
        printf("%.3f  %s\n", dot(embeddings, embeddings + s * width, width), texts[s]);
    }
    free(embeddings);
    return status;
}

int main(int argc, char **argv)
{
    dynq_error error = {DYNQ_OK, DYNQ_NO_OFFSET, ""};
    dynq_model *model = NULL;
    dynq_tokenizer *tokenizer = NULL;
    size_t max_tokens = 0;
    const size_t count = argc < 4 ? 0 : (size_t)argc - 2;
    if (count == 0 || count > MAX_SENTENCES) {
        fprintf(stderr, "usage: sentence_host MODEL SENTENCE OTHER... (%d at most)\n",
                MAX_SENTENCES);
        return 2;
    }
    dynq_status status = dynq_model_open(argv[1], NULL, &model, &error);
    if (status == DYNQ_OK) {
        status = dynq_tokenizer_from_model(model, NULL, &tokenizer, &max_tokens, &error);
    }
    if (status == DYNQ_OK) {
        max_tokens = max_tokens < MAX_TOKENS ? max_tokens : MAX_TOKENS;
        status = compare(model, tokenizer, max_tokens, argv + 2, count, &error);
    }
    if (status != DYNQ_OK) {
        fprintf(stderr, "sentence_host: %s\n", error.message);
    }
    dynq_tokenizer_free(tokenizer);
    dynq_model_free(model);
    return status != DYNQ_OK;
}
