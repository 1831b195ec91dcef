/* Measures the tokenizer, asserts nothing:
 *   build-test/tests/bench-tokenizer VOCABULARY TEXT
 * Both are files; each line of the text is encoded with up to 512 ids. */
#include <dynq/tokenizer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_IDS = 512, ROUNDS = 5 };

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 ||
        (text = malloc((size_t)ftell(file) + 1)) == NULL) {
        perror(path);
        exit(1);
    }
    *bytes = (size_t)ftell(file);
    rewind(file);
    *bytes = fread(text, 1, *bytes, file);
    fclose(file);
    return text;
}

static size_t encode_lines(const dynq_tokenizer *tokenizer, const char *text, size_t bytes)
{
    const char *end = text + bytes;
    size_t total = 0;
    for (const char *line = text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *stop = newline == NULL ? end : newline;
        int32_t ids[MAX_IDS];
        size_t count = 0;
        dynq_tokenizer_encode(tokenizer, line, (size_t)(stop - line), MAX_IDS, ids, &count, NULL);
        total += count;
        line = stop + 1;
    }
    return total;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bench-tokenizer VOCABULARY TEXT\n");
        return 2;
    }
    size_t vocabulary_bytes = 0, bytes = 0;
    char *vocabulary = read_file(argv[1], &vocabulary_bytes), *text = read_file(argv[2], &bytes);
    for (int round = 0; round < ROUNDS; round++) {
        dynq_tokenizer *tokenizer = NULL;
        dynq_error error;
        const double start = now_ns();
        if (dynq_tokenizer_create(vocabulary, vocabulary_bytes, NULL, &tokenizer, &error) !=
            DYNQ_OK) {
            fprintf(stderr, "%s\n", error.message);
            return 1;
        }
        const double created = now_ns();
        const size_t ids = encode_lines(tokenizer, text, bytes);
        const double done = now_ns();
        printf("create %.2f ms, encode %.1f MB/s, %.1f ns an id\n", 1e-6 * (created - start),
               1e3 * (double)bytes / (done - created), (done - created) / (double)ids);
        dynq_tokenizer_free(tokenizer);
    }
    free(text);
    free(vocabulary);
    return 0;
}
