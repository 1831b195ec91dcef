/* Runs the tests one after another, each in a fork; the last line is "N passed, N failed".
 *   PROGRAM [PATTERN...]    only tests whose suite/name one of the shell patterns matches */
#include <criterion/criterion.h>

#include <fnmatch.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_SKIPPED = 77 };

/* The bounds of the section. */
extern const plain_test *const __start_plain_tests[];
extern const plain_test *const __stop_plain_tests[];

static void say(const char *prefix, const char *format, va_list arguments)
{
    fputs(prefix, stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void plain_fail(const char *file, int line, const char *condition, const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "%s:%d: failed: %s\n", file, line, condition);
    va_start(arguments, format);
    say("    ", format, arguments);
    va_end(arguments);
    _exit(EXIT_FAILURE);
}

void plain_skip(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say("skipped: ", format, arguments);
    va_end(arguments);
    _exit(EXIT_SKIPPED);
}

void plain_log(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say("", format, arguments);
    va_end(arguments);
}

/* The exit status of the test, or -1 if a signal ended it. */
static int run(const plain_test *test)
{
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        test->run();
        _exit(EXIT_SUCCESS);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        return -1;
    }
    return WEXITSTATUS(status);
}

/* `patterns` ends with NULL; without any, all tests are wanted. */
static int wanted(const char *name, char *const *patterns)
{
    int found = *patterns == NULL;
    for (; *patterns != NULL && !found; patterns++) {
        found = fnmatch(*patterns, name, 0) == 0;
    }
    return found;
}

int main(int argc, char **argv)
{
    (void)argc;
    size_t passed = 0, failed = 0;
    for (const plain_test *const *entry = __start_plain_tests; entry < __stop_plain_tests;
         entry++) {
        char name[256];
        snprintf(name, sizeof name, "%s/%s", (*entry)->suite, (*entry)->name);
        if (!wanted(name, argv + 1)) {
            continue;
        }
        const int status = run(*entry);
        if (status == EXIT_SUCCESS) {
            passed++;
        } else if (status != EXIT_SKIPPED) {
            fprintf(stderr, "FAILED %s%s\n", name, status < 0 ? " (a signal)" : "");
            failed++;
        }
    }
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed == 0 && passed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
