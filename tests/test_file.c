#include "src/file.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* A directory of its own for each test, and paths in it. */
static char directory[64];
static char paths[4][128];

static void set_up(void)
{
    samples_directory(directory);
    for (size_t i = 0; i < 4; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%zu", directory, i);
    }
}

static void assert_holds(const char *path, const char *text)
{
    size_t size = 0;
    unsigned char *bytes = samples_read(path, &size);
    cr_assert_eq(size, strlen(text));
    cr_assert_eq(memcmp(bytes, text, size), 0);
    free(bytes);
}

static dynq_status replace(const char *path, const char *text)
{
    dynq_replacement replacement;
    dynq_error error = {0};
    const dynq_status status = dynq_replacement_begin(path, &replacement, &error);
    if (status != DYNQ_OK) {
        cr_assert_not_null(strstr(error.message, path), "%s", error.message);
        return status;
    }
    fputs(text, replacement.stream);
    return dynq_replacement_commit(&replacement, &error);
}

static mode_t mode_of(const char *path)
{
    struct stat info;
    cr_assert_eq(stat(path, &info), 0);
    return info.st_mode & 07777;
}

Test(file, mapped_and_read)
{
    set_up();
    samples_write(paths[0], "some bytes", 10);
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    for (int copy = 0; copy < 2; copy++) {
        dynq_file file;
        cr_assert_eq(dynq_file_open(paths[0], copy, &allocator, &file, NULL), DYNQ_OK);
        cr_assert(file.size == 10 && file.mapped == !copy);
        cr_assert_eq(memcmp(file.bytes, "some bytes", 10), 0);
        cr_assert_eq((uintptr_t)file.bytes % DYNQ_ALIGNMENT, 0);
        dynq_file_close(&file, &allocator);
        cr_assert(file.bytes == NULL && file.size == 0);
        dynq_file_close(&file, &allocator);
    }
    cr_assert_eq(samples_remove(directory), 1);
}

Test(file, empty)
{
    set_up();
    samples_write(paths[0], "", 0);
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    for (int copy = 0; copy < 2; copy++) {
        dynq_file file;
        cr_assert_eq(dynq_file_open(paths[0], copy, &allocator, &file, NULL), DYNQ_OK);
        cr_assert(file.bytes == NULL && file.size == 0);
    }
    cr_assert_eq(samples_remove(directory), 1);
}

Test(file, what_is_no_regular_file)
{
    set_up();
    cr_assert_eq(mkfifo(paths[0], 0600), 0); /* must not wait for a writer */
    const char *wrong[] = {paths[0], directory, "/dev/null", paths[1]};
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    for (size_t i = 0; i < 4; i++) {
        dynq_file file;
        dynq_error error = {0};
        cr_assert_eq(dynq_file_open(wrong[i], 0, &allocator, &file, &error), DYNQ_ERR_IO);
        cr_assert_not_null(strstr(error.message, wrong[i]));
    }
    cr_assert_eq(samples_remove(directory), 1);
}

Test(file, read_without_memory)
{
    set_up();
    samples_write(paths[0], "x", 1);
    samples_memory memory = {.fail_at = 1};
    const dynq_allocator allocator = samples_allocator(&memory);
    dynq_file file;
    cr_assert_eq(dynq_file_open(paths[0], 1, &allocator, &file, NULL), DYNQ_ERR_MEMORY);
    cr_assert_eq(samples_remove(directory), 1);
}

Test(file, leaves_no_descriptor_open)
{
    set_up();
    const int next = dup(0);
    close(next);
    const dynq_allocator allocator = dynq_allocator_or_default(NULL);
    cr_assert_eq(replace(paths[0], "x"), DYNQ_OK);
    cr_assert_eq(replace(directory, "x"), DYNQ_ERR_IO);
    dynq_file file;
    cr_assert_eq(dynq_file_open(paths[0], 0, &allocator, &file, NULL), DYNQ_OK);
    dynq_file_close(&file, &allocator);
    cr_assert_eq(dynq_file_open(directory, 0, &allocator, &file, NULL), DYNQ_ERR_IO);
    dynq_replacement replacement;
    cr_assert_eq(dynq_replacement_begin(paths[0], &replacement, NULL), DYNQ_OK);
    dynq_replacement_abandon(&replacement);
    const int again = dup(0);
    cr_assert_eq(again, next);
    close(again);
    cr_assert_eq(samples_remove(directory), 1);
}

Test(file, replaces)
{
    set_up();
    cr_assert_eq(replace(paths[0], "first"), DYNQ_OK);
    assert_holds(paths[0], "first");
    dynq_replacement replacement;
    cr_assert_eq(dynq_replacement_begin(paths[0], &replacement, NULL), DYNQ_OK);
    fputs("second", replacement.stream);
    fflush(replacement.stream);
    assert_holds(paths[0], "first"); /* until the commit */
    cr_assert_eq(dynq_replacement_commit(&replacement, NULL), DYNQ_OK);
    assert_holds(paths[0], "second");
    cr_assert_eq(samples_remove(directory), 1);
}

Test(file, abandons)
{
    set_up();
    samples_write(paths[0], "old", 3);
    for (int i = 0; i < 2; i++) {
        dynq_replacement replacement;
        cr_assert_eq(dynq_replacement_begin(paths[i], &replacement, NULL), DYNQ_OK);
        fputs("new", replacement.stream);
        dynq_replacement_abandon(&replacement);
        dynq_replacement_abandon(&replacement);
    }
    assert_holds(paths[0], "old");
    cr_assert_eq(samples_remove(directory), 1);
}

Test(file, in_the_working_directory)
{
    set_up();
    cr_assert_eq(chdir(directory), 0);
    cr_assert_eq(replace("name", "text"), DYNQ_OK);
    assert_holds("name", "text");
    char longest[NAME_MAX + 1];
    memset(longest, 'n', NAME_MAX);
    longest[NAME_MAX] = '\0';
    cr_assert_eq(replace(longest, "text"), DYNQ_OK, "the temporary name is no longer");
    cr_assert_eq(chdir("/"), 0);
    cr_assert_eq(samples_remove(directory), 2);
}

Test(file, two_at_a_time)
{
    set_up();
    dynq_replacement one, other;
    cr_assert_eq(dynq_replacement_begin(paths[0], &one, NULL), DYNQ_OK);
    cr_assert_eq(dynq_replacement_begin(paths[0], &other, NULL), DYNQ_OK);
    fputs("one", one.stream);
    fputs("other", other.stream);
    cr_assert_eq(dynq_replacement_commit(&one, NULL), DYNQ_OK);
    assert_holds(paths[0], "one");
    cr_assert_eq(dynq_replacement_commit(&other, NULL), DYNQ_OK);
    assert_holds(paths[0], "other");
    cr_assert_eq(samples_remove(directory), 1);
}

Test(file, modes)
{
    set_up();
    umask(027);
    cr_assert_eq(replace(paths[0], "x"), DYNQ_OK);
    cr_assert_eq(mode_of(paths[0]), 0640);
    umask(0);
    cr_assert_eq(replace(paths[1], "x"), DYNQ_OK);
    cr_assert_eq(mode_of(paths[1]), 0666);
    cr_assert_eq(chmod(paths[1], 0600), 0);
    umask(022);
    cr_assert_eq(replace(paths[1], "y"), DYNQ_OK);
    cr_assert_eq(mode_of(paths[1]), 0600, "an existing file keeps its mode");
    cr_assert_eq(samples_remove(directory), 2);
}

Test(file, symbolic_links_stay)
{
    set_up();
    samples_write(paths[0], "old", 3);
    cr_assert_eq(symlink("0", paths[1]), 0);
    cr_assert_eq(replace(paths[1], "new"), DYNQ_OK);
    struct stat info;
    cr_assert(lstat(paths[1], &info) == 0 && S_ISLNK(info.st_mode));
    assert_holds(paths[0], "new");
    cr_assert_eq(symlink("nothing", paths[2]), 0);
    cr_assert_eq(replace(paths[2], "new"), DYNQ_ERR_IO);
    cr_assert_eq(symlink("3", paths[3]), 0); /* to itself */
    cr_assert_eq(replace(paths[3], "new"), DYNQ_ERR_IO);
    cr_assert_eq(samples_remove(directory), 4);
}

Test(file, devices_are_written_directly)
{
    set_up();
    cr_assert_eq(replace("/dev/null", "x"), DYNQ_OK);
    struct stat info;
    cr_assert(stat("/dev/null", &info) == 0 && S_ISCHR(info.st_mode));
    cr_assert_eq(replace("/dev/full", "x"), DYNQ_ERR_IO);
    dynq_replacement replacement;
    cr_assert_eq(dynq_replacement_begin("/dev/null", &replacement, NULL), DYNQ_OK);
    dynq_replacement_abandon(&replacement);
    cr_assert_eq(stat("/dev/null", &info), 0);

    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    char path[32], got[8] = "";
    snprintf(path, sizeof path, "/dev/fd/%d", ends[1]); /* as /dev/stdout in a pipeline */
    cr_assert_eq(replace(path, "piped"), DYNQ_OK);
    cr_assert_eq(read(ends[0], got, sizeof got), 5);
    cr_assert_str_eq(got, "piped");
    close(ends[0]);
    close(ends[1]);
    cr_assert_eq(samples_remove(directory), 0);
}

Test(file, places_that_cannot_be_written)
{
    set_up();
    cr_assert_eq(replace(directory, "x"), DYNQ_ERR_IO);
    cr_assert_eq(replace("/nowhere/file", "x"), DYNQ_ERR_IO);
    cr_assert_eq(replace("", "x"), DYNQ_ERR_IO);
    samples_write(paths[0], "old", 3);
    char below[160];
    snprintf(below, sizeof below, "%s/file", paths[0]);
    cr_assert_eq(replace(below, "x"), DYNQ_ERR_IO);
    if (geteuid() != 0) { /* nothing is protected against root */
        cr_assert_eq(chmod(paths[0], 0444), 0);
        cr_assert_eq(replace(paths[0], "x"), DYNQ_ERR_IO);
    }
    assert_holds(paths[0], "old");
    cr_assert_eq(samples_remove(directory), 1);
}

Test(file, a_full_disk)
{
    set_up();
    samples_write(paths[0], "old", 3);
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {.rlim_cur = 100, .rlim_max = RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (size_t flush = 0; flush < 2; flush++) { /* noticed early or by the commit */
        dynq_replacement replacement;
        dynq_error error = {0};
        cr_assert_eq(dynq_replacement_begin(paths[0], &replacement, NULL), DYNQ_OK);
        fprintf(replacement.stream, "%200s", "x");
        if (flush) {
            fflush(replacement.stream);
        }
        cr_assert_eq(dynq_replacement_commit(&replacement, &error), DYNQ_ERR_IO);
        cr_assert_not_null(strstr(error.message, paths[0]));
    }
    assert_holds(paths[0], "old");
    cr_assert_eq(samples_remove(directory), 1);
}
