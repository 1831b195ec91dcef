/* What the parts of `dynq embed` share. */
#ifndef DYNQ_TOOLS_EMBED_H
#define DYNQ_TOOLS_EMBED_H

#include "tools/command.h"
#include "tools/data.h"
#include "tools/inputs.h"
#include "tools/runner.h"
#include "tools/texts.h"

#include <jansson.h>

#include <stddef.h>
#include <stdint.h>

typedef struct embed_options {
    const char *out, *query;
    uint64_t batch_tokens, max_tokens, top;
    int similarity, format;
} embed_options;

/* The choices of --format. */
enum { EMBED_TEXT = 1, EMBED_MARKDOWN, EMBED_CSV, EMBED_JSON, EMBED_JSON_LINES };

/* A line that waits for its embedding, or that was kept. */
typedef struct embed_line {
    uint64_t number; /* from 1 on */
    char *text;      /* any bytes */
    size_t bytes, tokens;
} embed_line;

/* A line that is like the query, or two lines that are like each other. */
typedef struct embed_match {
    embed_line line, other; /* of pairs: their texts belong to embed.kept */
    double cosine;
} embed_match;

typedef struct embed {
    const command_call *call;
    const embed_options *options;
    const char *path; /* of the lines, "-" for the standard input */
    int json;
    table_format format; /* of tables */
    dynq_model *model;
    model_slot input;
    size_t output, columns; /* which output, and its columns */
    texts texts;
    /* The batch that is being collected. */
    int32_t *ids;
    size_t *offsets;
    embed_line *lines;
    size_t count, text_bytes;
    runner runner;
    /* So far. */
    uint64_t line_count, token_count, tokenize_ns, run_ns;
    npy_writer *writer;
    int json_begun;
    /* --similarity: everything; otherwise the first lines, for the summary. */
    float *kept;
    embed_line *kept_lines;
    size_t kept_count, kept_room;
    /* --query, and the pairs of --similarity: the best so far, best first. */
    float *query;
    embed_match *matches;
    size_t match_count;
} embed;

/* The most lines that --similarity shows as a matrix; and that the summary shows. */
#define EMBED_MATRIX_LINES 8

/* embed_run.c: reads, encodes and runs everything, and hands each embedding on. Prints its error.
 */
exit_code embed_all(embed *self);

/* embed_output.c: an embedding goes where the options say, and what is printed at the end. */
exit_code embed_take(embed *self, const embed_line *line, const float *embedding);
exit_code embed_finish(embed *self);

/* embed_similarity.c */
double embed_cosine(const float *a, const float *b, size_t columns);
/* Takes over match->line.text where there is a query. */
void embed_offer(embed *self, const embed_match *match);
/* The most similar pairs of the lines that were kept. */
void embed_find_pairs(embed *self);
void embed_print_similarity(const embed *self);
/* Sets the keys "similarity", "pairs" and "matches". */
void embed_set_similarity(const embed *self, json_t *object);

#endif
