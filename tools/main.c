/* The `dynq` command: finds the subcommand and makes sure that all output was written. */
#include "tools/baseline.h"
#include "tools/command.h"

#include <dynq/version.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* How far a mistyped name may be from the one that is suggested. */
#define NEAR_ENOUGH  2
#define LONGEST_NAME 32

static const command *const commands[] = {
    &command_info,
#ifdef DYNQ_HAVE_OPENBLAS
    &command_train,
#endif
    &command_convert, &command_calibrate, &command_quantize, &command_run,        &command_compare,
    &command_tune,    &command_formats,   &command_bench,    &command_bench_gemm, &command_embed,
};

#define COMMAND_COUNT (sizeof commands / sizeof *commands)

/* A file opened later must not become stdout because the caller closed it: reports would be written
 * into a model. Descriptor 1 is then one that refuses to be written to. */
static void keep_standard_descriptors(void)
{
    for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; descriptor++) {
        if (fcntl(descriptor, F_GETFD) == -1) {
            const int mode = descriptor == STDERR_FILENO ? O_WRONLY : O_RDONLY;
            if (open("/dev/null", mode) == -1) {
                return; /* nothing to protect it with; writing will fail all the same */
            }
        }
    }
}

static void print_help(void)
{
    puts("Usage: dynq COMMAND [options]\n\n"
         "Runs neural networks made of linear layers in INT8 on a CPU, with ranges found while\n"
         "they run or measured before, and compares them with FP32.\n\nCommands:");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        printf("  %-11s %s\n", commands[i]->name, commands[i]->summary);
    }
    puts("\nOptions:\n"
         "  -h, --help   print this help; `dynq COMMAND --help` prints that of a command\n"
         "  --version    print the version\n\n"
         "Exit codes: 0 done, 1 a threshold was missed, 2 usage, 3 bad model or data file,\n"
         "4 input or output, 5 out of memory.\n\nExample:\n"
         "  dynq quantize mlp.safetensors -o mlp-int8.safetensors");
}

/* The Levenshtein distance; names longer than LONGEST_NAME count as far away. */
static size_t distance(const char *a, const char *b)
{
    const size_t columns = strlen(b);
    size_t row[LONGEST_NAME + 1];
    if (columns > LONGEST_NAME) {
        return columns;
    }
    for (size_t j = 0; j <= columns; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 1; j <= columns; j++) {
            const size_t replaced = diagonal + (a[i] != b[j - 1]);
            const size_t skipped = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replaced < skipped ? replaced : skipped;
        }
    }
    return row[columns];
}

static exit_code refuse_name(const char *name)
{
    const command *nearest = NULL;
    size_t least = NEAR_ENOUGH + 1;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const size_t away = distance(name, commands[i]->name);
        if (away < least) {
            least = away;
            nearest = commands[i];
        }
    }
    char shown[80];
    snprintf(shown, sizeof shown, "%s", name);
    for (char *c = shown; *c != '\0'; c++) {
        *c = (unsigned char)*c < 0x20 || *c == 0x7F ? '?' : *c;
    }
    if (nearest != NULL) {
        fprintf(stderr, "dynq: unknown command '%s'; did you mean '%s'?\n", shown, nearest->name);
    } else {
        fprintf(stderr, "dynq: unknown command '%s'; see `dynq --help`\n", shown);
    }
    return EXIT_CODE_USAGE;
}

/* How many of the words are the name of a command; 0 if they are not. */
static int words_matched(const char *name, int count, char **words)
{
    int matched = 0;
    for (; *name != '\0'; matched++) {
        const size_t length = strcspn(name, " ");
        if (matched == count || strlen(words[matched]) != length ||
            strncmp(words[matched], name, length) != 0) {
            return 0;
        }
        name += length + (name[length] == ' ');
    }
    return matched;
}

/* What uses OpenBLAS starts again where that is faster, which takes a while. */
static int may_use_openblas(const command *chosen, int argc, char **argv)
{
    int asked = !chosen->native;
    for (int i = 2; i < argc; i++) {
        asked = asked || strstr(argv[i], "openblas") != NULL;
    }
    return asked;
}

static exit_code dispatch(int argc, char **argv)
{
    if (argc < 2) {
        fputs("dynq: a command is missing; see `dynq --help`\n", stderr);
        return EXIT_CODE_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_help();
        return EXIT_CODE_DONE;
    }
    if (strcmp(name, "--version") == 0) {
        printf("dynq %s\n", dynq_version());
        return EXIT_CODE_DONE;
    }
    const command *chosen = NULL;
    int words = 0;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const int match = words_matched(commands[i]->name, argc - 1, argv + 1);
        if (match > words) {
            chosen = commands[i];
            words = match;
        }
    }
    if (chosen != NULL) {
        if (may_use_openblas(chosen, argc, argv)) {
            baseline_restart_with_better_core(argv);
        }
        return command_main(chosen, argc - words, argv + words);
    }
#ifndef DYNQ_HAVE_OPENBLAS
    if (strcmp(name, "train") == 0) {
        fputs("dynq train: this build lacks OpenBLAS; build with it installed\n", stderr);
        return EXIT_CODE_USAGE;
    }
#endif
    return refuse_name(name);
}

int main(int argc, char **argv)
{
    keep_standard_descriptors();
    const exit_code code = dispatch(argc, argv);
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_CODE_DONE) {
        fprintf(stderr, "dynq: cannot write to standard output: %s\n",
                errno != 0 ? strerror(errno) : "a write failed");
        return EXIT_CODE_IO;
    }
    return code;
}
