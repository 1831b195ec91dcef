/* libFuzzer: any bytes as options, a vocabulary and a text.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -I. -Iinclude \
 *         tests/fuzz/fuzz_tokenizer.c src/text/encode.c src/text/tokenizer.c \
 *         src/text/unicode.c src/text/vocabulary.c src/error.c src/memory.c -lutf8proc \
 *         -o fuzz_tokenizer
 *     ./fuzz_tokenizer CORPUS tests/golden
 *
 * The first two bytes choose options and max_ids. What stands before the first empty line is added
 * to the vocabulary, the rest is the text. */
#include <dynq/tokenizer.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_IDS = 130 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An own copy of a part, so that one byte too far is found. */
static char *copy(const uint8_t *data, size_t size)
{
    char *bytes = malloc(size + (size == 0));
    if (bytes == NULL) {
        abort();
    }
    memcpy(bytes, data, size);
    return bytes;
}

static void encode(const dynq_tokenizer *tokenizer, const uint8_t *data, size_t size,
                   size_t max_ids)
{
    char *text = copy(data, size);
    int32_t ids[2][MAX_IDS];
    size_t counts[2] = {0, 0};
    for (size_t i = 0; i < 2; i++) {
        if (dynq_tokenizer_encode(tokenizer, text, size, i == 0 ? max_ids : MAX_IDS, ids[i],
                                  &counts[i], NULL) != DYNQ_OK) {
            abort();
        }
        for (size_t j = 0; j < counts[i]; j++) {
            if (ids[i][j] < 0 || (size_t)ids[i][j] >= dynq_tokenizer_size(tokenizer)) {
                abort();
            }
        }
    }
    /* Fewer ids are the beginning of more, and the end. */
    if (counts[0] < 2 || counts[0] > max_ids || counts[0] > counts[1] ||
        memcmp(ids[0], ids[1], (counts[0] - 1) * sizeof ids[0][0]) != 0 ||
        ids[0][counts[0] - 1] != ids[1][counts[1] - 1]) {
        abort();
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char always[] = "[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n##a\n##b\n\xc3\xa9\n##\n";
    if (size < 2) {
        return 0;
    }
    const dynq_tokenizer_options options = {
        .size = sizeof options,
        .keep_case = data[0] & 1,
        .accents = (dynq_accents)(data[0] >> 1 & 3),
        .keep_chinese_joined = data[0] >> 3 & 1,
        .specials_as_text = data[0] >> 4 & 1,
        .max_word_characters = data[0] >> 5 == 7 ? 1000 : data[0] >> 5,
        .prefix = data[1] & 128 ? "" : NULL,
    };
    const uint8_t *text = data + 2, *end = data + size;
    const uint8_t *cut = memmem(text, size - 2, "\n\n", 2);
    const size_t own = cut == NULL ? 0 : (size_t)(cut - text);
    const size_t bytes = sizeof always - 1 + own;
    char *vocabulary = malloc(bytes);
    if (vocabulary == NULL) {
        abort();
    }
    memcpy(vocabulary, always, sizeof always - 1);
    memcpy(vocabulary + sizeof always - 1, text, own);
    dynq_tokenizer *tokenizer = NULL;
    dynq_error error;
    if (dynq_tokenizer_create(vocabulary, bytes, &options, &tokenizer, &error) == DYNQ_OK) {
        encode(tokenizer, text + own, (size_t)(end - text) - own, 2 + (data[1] & 127));
    }
    dynq_tokenizer_free(tokenizer);
    free(vocabulary);
    return 0;
}
