/* The files of a folder that holds a model of another program. */
#ifndef DYNQ_TOOLS_FOLDER_H
#define DYNQ_TOOLS_FOLDER_H

#include <dynq/status.h>
#include <jansson.h>
#include <stddef.h>

/* "FOLDER/NAME", or FOLDER where `name` is "". Released with free(). */
char *folder_path(const char *folder, const char *name);
/* Whether `name`, which came from a file, stays in the folder: not "", no ".." and no "/" in front.
 */
int folder_is_inside(const char *name);
/* Whether there is something of this name. */
int folder_has(const char *folder, const char *name);

/* Reads a whole file and sets *text, with a zero behind it, released with free(), and *size.
 * DYNQ_ERR_IO, DYNQ_ERR_LIMIT (over 256 MB). */
dynq_status folder_text(const char *folder, const char *name, char **text, size_t *size,
                        dynq_error *error);
/* Reads a JSON object or array into *json, a new reference. Where there is no such file it is NULL,
 * which is no error. DYNQ_ERR_IO, DYNQ_ERR_LIMIT, DYNQ_ERR_FORMAT (naming the line). */
dynq_status folder_json(const char *folder, const char *name, json_t **json, dynq_error *error);

/* Fills *error with "FOLDER/NAME: ..." and returns `status`. */
dynq_status folder_fail(dynq_error *error, dynq_status status, const char *folder, const char *name,
                        const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
