#include "tools/data.h"

#include "tools/allocate.h"
#include "tools/data_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ATTEMPTS     100
#define HEADER_BYTES 128 /* room for two numbers of 20 digits */

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

/* The header of version 1.0, padded so that the data starts at a multiple of 64 as NumPy does it:
 * at HEADER_BYTES, whatever the numbers. */
static void make_header(size_t rows, size_t columns, char header[HEADER_BYTES])
{
    const char order = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? '>' : '<';
    memset(header, ' ', HEADER_BYTES);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    const int length = snprintf(header + 10, HEADER_BYTES - 10,
                                "{'descr': '%cf4', 'fortran_order': False, 'shape': (%zu, %zu), }",
                                order, rows, columns);
    header[10 + length] = ' ';
    header[HEADER_BYTES - 1] = '\n';
    header[8] = (char)(HEADER_BYTES - 10);
    header[9] = 0;
}

struct npy_writer {
    char *path;      /* as the caller says it */
    char *target;    /* what a symbolic link stands for: it keeps pointing */
    char *temporary; /* beside the target; NULL: written in place at the end */
    FILE *stream;
    size_t rows, columns;
};

static void release(npy_writer *self)
{
    free(self->path);
    free(self->target);
    free(self->temporary);
    free(self);
}

void data_npy_abandon(npy_writer *self)
{
    if (self == NULL) {
        return;
    }
    if (self->stream != NULL) {
        fclose(self->stream);
    }
    if (self->temporary != NULL) {
        unlink(self->temporary);
    }
    release(self);
}

/* Opens a new file that becomes the target. Returns 0 or an errno. */
static int open_stream(npy_writer *self)
{
    struct stat info;
    if (stat(self->target, &info) == 0 && !S_ISREG(info.st_mode)) {
        self->stream = tmpfile();
        return self->stream == NULL ? errno : 0;
    }
    const int descriptor = create_beside(self->target, &self->temporary);
    if (descriptor < 0) {
        const int code = errno;
        free(self->temporary);
        self->temporary = NULL;
        return code;
    }
    self->stream = fdopen(descriptor, "wb");
    if (self->stream == NULL) {
        const int code = errno;
        close(descriptor);
        return code;
    }
    return 0;
}

dynq_status data_npy_create(const char *path, size_t columns, npy_writer **writer,
                            dynq_error *error)
{
    char header[HEADER_BYTES];
    npy_writer *self = allocate(1, sizeof *self);
    char *resolved = realpath(path, NULL);
    self->path = allocate_text(path);
    self->target = resolved != NULL ? resolved : allocate_text(path);
    self->columns = columns;
    int code = open_stream(self);
    make_header(0, columns, header);
    if (code == 0 && fwrite(header, 1, sizeof header, self->stream) != sizeof header) {
        code = errno == 0 ? EIO : errno;
    }
    if (code != 0) {
        data_npy_abandon(self);
        return fail_write(path, code, error);
    }
    *writer = self;
    return DYNQ_OK;
}

dynq_status data_npy_append(npy_writer *self, const float *values, size_t rows, dynq_error *error)
{
    const size_t count = rows * self->columns;
    self->rows += rows;
    errno = 0;
    return count == 0 || fwrite(values, sizeof *values, count, self->stream) == count
               ? DYNQ_OK
               : fail_write(self->path, errno == 0 ? EIO : errno, error);
}

/* Copies what was written to something that cannot be renamed over. Returns 0 or an errno. */
static int copy_in_place(npy_writer *self)
{
    char block[4096];
    size_t got = 0;
    int code = 0;
    FILE *target = fopen(self->target, "wb");
    if (target == NULL) {
        return errno;
    }
    rewind(self->stream);
    while (code == 0 && (got = fread(block, 1, sizeof block, self->stream)) > 0) {
        code = fwrite(block, 1, got, target) == got ? 0 : errno == 0 ? EIO : errno;
    }
    if (code == 0 && ferror(self->stream)) {
        code = EIO;
    }
    if (fclose(target) != 0 && code == 0) {
        code = errno;
    }
    return code;
}

/* Writes the header that now knows the rows. Returns 0 or an errno. */
static int complete(npy_writer *self)
{
    char header[HEADER_BYTES];
    make_header(self->rows, self->columns, header);
    if (fseek(self->stream, 0, SEEK_SET) != 0 ||
        fwrite(header, 1, sizeof header, self->stream) != sizeof header ||
        fflush(self->stream) != 0 ||
        (self->temporary != NULL && fsync(fileno(self->stream)) != 0)) {
        return errno == 0 ? EIO : errno;
    }
    return self->temporary == NULL ? copy_in_place(self) : 0;
}

dynq_status data_npy_finish(npy_writer *self, dynq_error *error)
{
    int code = complete(self);
    if (fclose(self->stream) != 0 && code == 0) {
        code = errno;
    }
    if (self->temporary != NULL && (code != 0 || rename(self->temporary, self->target) != 0)) {
        code = code == 0 ? errno : code;
        unlink(self->temporary);
    }
    const dynq_status status = code == 0 ? DYNQ_OK : fail_write(self->path, code, error);
    release(self);
    return status;
}

dynq_status data_write_npy(const char *path, const float *values, size_t rows, size_t columns,
                           dynq_error *error)
{
    npy_writer *writer = NULL;
    dynq_status status = data_npy_create(path, columns, &writer, error);
    if (status != DYNQ_OK) {
        return status;
    }
    status = data_npy_append(writer, values, rows, error);
    if (status == DYNQ_OK) {
        return data_npy_finish(writer, error);
    }
    data_npy_abandon(writer);
    return status;
}
