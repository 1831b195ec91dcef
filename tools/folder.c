#include "tools/folder.h"

#include "tools/allocate.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LONGEST_PATH 300 /* in a message, so that the rest of it is seen */
#define CHUNK_BYTES  ((size_t)64 << 10)
#define MAX_BYTES    ((size_t)256 << 20) /* the largest vocabularies have a tenth of it */

char *folder_path(const char *folder, const char *name)
{
    const size_t length = strlen(folder);
    const int slash = length > 0 && folder[length - 1] == '/';
    const size_t size = length + strlen(name) + 2;
    char *path = allocate(size, 1);
    snprintf(path, size, "%s%s%s", folder, slash || name[0] == '\0' ? "" : "/", name);
    return path;
}

int folder_is_inside(const char *name)
{
    return name[0] != '\0' && name[0] != '/' && strstr(name, "..") == NULL;
}

int folder_has(const char *folder, const char *name)
{
    char *path = folder_path(folder, name);
    const int found = access(path, F_OK) == 0;
    free(path);
    return found;
}

dynq_status folder_fail(dynq_error *error, dynq_status status, const char *folder, const char *name,
                        const char *format, ...)
{
    if (error == NULL) {
        return status;
    }
    char *path = folder_path(folder, name);
    *error = (dynq_error){.status = status, .offset = DYNQ_NO_OFFSET};
    const int used = snprintf(error->message, sizeof error->message, "%.*s: ", LONGEST_PATH, path);
    free(path);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message + used, sizeof error->message - (size_t)used, format, arguments);
    va_end(arguments);
    return status;
}

dynq_status folder_text(const char *folder, const char *name, char **text, size_t *size,
                        dynq_error *error)
{
    char *path = folder_path(folder, name);
    FILE *file = fopen(path, "rb");
    struct stat info = {0};
    free(path);
    if (file == NULL) {
        return folder_fail(error, DYNQ_ERR_IO, folder, name, "cannot open: %s", strerror(errno));
    }
    char *bytes = NULL;
    size_t used = 0, got = 1;
    dynq_status status = DYNQ_OK;
    if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode)) {
        status = folder_fail(error, DYNQ_ERR_IO, folder, name, "is not a regular file");
    }
    while (status == DYNQ_OK && got > 0) {
        bytes = allocate_again(bytes, used + CHUNK_BYTES + 1, 1);
        got = fread(bytes + used, 1, CHUNK_BYTES, file);
        used += got;
        if (used > MAX_BYTES) {
            status =
                folder_fail(error, DYNQ_ERR_LIMIT, folder, name, "is over %zu bytes", MAX_BYTES);
        } else if (ferror(file)) {
            status =
                folder_fail(error, DYNQ_ERR_IO, folder, name, "cannot read: %s", strerror(errno));
        }
    }
    fclose(file);
    if (status != DYNQ_OK) {
        free(bytes);
        return status;
    }
    bytes[used] = '\0';
    *text = bytes;
    *size = used;
    return DYNQ_OK;
}

dynq_status folder_json(const char *folder, const char *name, json_t **json, dynq_error *error)
{
    *json = NULL;
    if (!folder_has(folder, name)) {
        return DYNQ_OK;
    }
    char *text = NULL;
    size_t size = 0;
    const dynq_status status = folder_text(folder, name, &text, &size, error);
    if (status != DYNQ_OK) {
        return status;
    }
    json_error_t reason = {.line = 0};
    *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &reason);
    free(text);
    if (*json == NULL) {
        return folder_fail(error, DYNQ_ERR_FORMAT, folder, name, "line %d is not JSON: %s",
                           reason.line, reason.text);
    }
    return DYNQ_OK;
}
