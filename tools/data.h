/* Data files of the command: IDX (also gzip), npy and raw f32, read as matrices. */
#ifndef DYNQ_TOOLS_DATA_H
#define DYNQ_TOOLS_DATA_H

#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

/* Rows of floats: the first dimension of the file is rows, the others are laid end to end. */
typedef struct data_matrix {
    size_t rows, columns;
    float *values; /* [rows][columns], malloc'ed */
} data_matrix;

/* Reads by content and name: gzip or plain IDX (u8 becomes x / 255; f32 and f64 as they are), npy
 * (f4, f8, u1 as x / 255, C order), otherwise raw little-endian f32, for which `columns` must be
 * known. `columns` other than 0 is checked against the file. Errors: DYNQ_ERR_IO, DYNQ_ERR_FORMAT
 * (truncated, oversized, trailing bytes, bad header), DYNQ_ERR_TYPE, DYNQ_ERR_SHAPE,
 * DYNQ_ERR_MEMORY; one line that names the file. */
dynq_status data_read_matrix(const char *path, size_t columns, data_matrix *matrix,
                             dynq_error *error);
void data_matrix_free(data_matrix *matrix);

/* Class labels: IDX u8 of rank 1 (also gzip) or npy of integers of rank 1. malloc'ed into *labels.
 */
dynq_status data_read_labels(const char *path, int32_t **labels, size_t *count, dynq_error *error);

/* Writes [rows][columns] f32 as npy: temporary file, synced, renamed. DYNQ_ERR_IO. */
dynq_status data_write_npy(const char *path, const float *values, size_t rows, size_t columns,
                           dynq_error *error);

#endif
