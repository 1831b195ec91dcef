#include "tools/data.h"

#include "tools/data_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ATTEMPTS 100

static dynq_status fail_write(const char *path, int code, dynq_error *error)
{
    return data_fail(error, DYNQ_ERR_IO, path, DYNQ_NO_OFFSET, "cannot write: %s", strerror(code));
}

/* Creates a new file beside `path`; its name goes to *temporary (malloc'ed). Returns the descriptor
 * or -1 with errno. */
static int create_beside(const char *path, char **temporary)
{
    const size_t size = strlen(path) + 32;
    *temporary = malloc(size);
    if (*temporary == NULL) {
        return -1;
    }
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        snprintf(*temporary, size, "%s.%ld-%d.tmp", path, (long)getpid(), attempt);
        const int descriptor = open(*temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0 || errno != EEXIST) {
            return descriptor;
        }
    }
    return -1;
}

/* The header of version 1.0, padded so that the data starts at a multiple of 64 as NumPy does it.
 * Returns its length. */
static size_t make_header(size_t rows, size_t columns, char header[192])
{
    const char order = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? '>' : '<';
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    const int length = snprintf(header + 10, 128,
                                "{'descr': '%cf4', 'fortran_order': False, 'shape': (%zu, %zu), }",
                                order, rows, columns);
    const size_t end = (10 + (size_t)length + 1 + 63) / 64 * 64;
    memset(header + 10 + length, ' ', end - 10 - (size_t)length);
    header[end - 1] = '\n';
    header[8] = (char)((end - 10) & 0xff);
    header[9] = (char)((end - 10) >> 8);
    return end;
}

/* Writes and closes `descriptor`. Returns 0 or an errno. */
static int write_and_close(int descriptor, const float *values, size_t rows, size_t columns,
                           bool sync)
{
    FILE *stream = fdopen(descriptor, "wb");
    if (stream == NULL) {
        const int code = errno;
        close(descriptor);
        return code;
    }
    char header[192];
    const size_t length = make_header(rows, columns, header);
    const size_t count = rows * columns;
    int code = 0;
    if (fwrite(header, 1, length, stream) != length ||
        (count > 0 && fwrite(values, sizeof *values, count, stream) != count) ||
        fflush(stream) != 0 || (sync && fsync(descriptor) != 0)) {
        code = errno == 0 ? EIO : errno;
    }
    if (fclose(stream) != 0 && code == 0) {
        code = errno;
    }
    return code;
}

/* Something that is not a regular file (a pipe, /dev/null) is written in place. */
static dynq_status write_in_place(const char *path, const float *values, size_t rows,
                                  size_t columns, dynq_error *error)
{
    const int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    const int code =
        descriptor < 0 ? errno : write_and_close(descriptor, values, rows, columns, false);
    return code == 0 ? DYNQ_OK : fail_write(path, code, error);
}

dynq_status data_write_npy(const char *path, const float *values, size_t rows, size_t columns,
                           dynq_error *error)
{
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        return write_in_place(path, values, rows, columns, error);
    }
    /* A symbolic link keeps pointing: its target is replaced. */
    char *resolved = realpath(path, NULL);
    const char *target = resolved == NULL ? path : resolved;
    char *temporary = NULL;
    const int descriptor = create_beside(target, &temporary);
    int code = descriptor < 0 ? errno : 0;
    if (code == 0) {
        code = write_and_close(descriptor, values, rows, columns, true);
        if (code == 0 && rename(temporary, target) != 0) {
            code = errno;
        }
        if (code != 0) {
            unlink(temporary);
        }
    }
    free(temporary);
    free(resolved);
    return code == 0 ? DYNQ_OK : fail_write(path, code, error);
}
