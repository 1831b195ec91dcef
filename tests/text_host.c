/* A host program of dynq-text, for check_install.sh: C11 and C++17, public headers only. */
#include <dynq/tokenizer.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    const char *vocabulary = "[UNK]\n[CLS]\n[SEP]\ntoken\n##izer\n!\n";
    const char *text = "Tok\xc3\xa9nizer!";
    dynq_tokenizer *tokenizer = NULL;
    dynq_error error;
    if (dynq_tokenizer_create(vocabulary, strlen(vocabulary), NULL, &tokenizer, &error) !=
        DYNQ_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    int32_t ids[16];
    size_t count = 0;
    if (dynq_tokenizer_encode(tokenizer, text, strlen(text), 16, ids, &count, &error) != DYNQ_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        const char *token = NULL;
        size_t bytes = 0;
        dynq_tokenizer_token(tokenizer, (size_t)ids[i], &token, &bytes);
        printf("%s%.*s", i == 0 ? "" : " ", (int)bytes, token);
    }
    printf("\n");
    dynq_tokenizer_free(tokenizer);
    return 0;
}
