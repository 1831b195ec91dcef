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

/* Whether the file begins as npy; not if it cannot be read. */
int data_is_npy(const char *path);

typedef struct data_integers {
    size_t rank;          /* 1 or 2 */
    size_t rows, columns; /* rank 1: one column */
    int32_t *values;      /* [rows][columns], malloc'ed */
} data_integers;

/* Integers of 32 bits: npy of rank 1 or 2, also gzip. Errors as above. */
dynq_status data_read_integers(const char *path, data_integers *integers, dynq_error *error);

/* Rows of either, piecewise: what is in memory does not depend on the size of the file. */
typedef struct data_reader {
    struct data_source *source;
    size_t rank, columns;
    size_t rows; /* 0: as many as the file holds */
} data_reader;

/* Opens a matrix as data_read_matrix() does, or with `integers` as data_read_integers(). `path`
 * stays borrowed. What is all zero may be closed. */
dynq_status data_reader_open(const char *path, size_t columns, int integers, data_reader *self,
                             dynq_error *error);
void data_reader_close(data_reader *self);
/* Reads up to `rows` rows of 4-byte elements to `values`, or passes over them if that is NULL. *got
 * is smaller only at the end of the file, which is then as it should be. */
dynq_status data_reader_next(data_reader *self, void *values, size_t rows, size_t *got,
                             dynq_error *error);

/* Class labels: IDX u8 of rank 1 (also gzip) or npy of integers of rank 1. malloc'ed into *labels.
 */
dynq_status data_read_labels(const char *path, int32_t **labels, size_t *count, dynq_error *error);

/* Writes [rows][columns] f32 as npy: temporary file, synced, renamed. DYNQ_ERR_IO. */
dynq_status data_write_npy(const char *path, const float *values, size_t rows, size_t columns,
                           dynq_error *error);

/* The same, row by row. */
typedef struct npy_writer npy_writer;

/* What is not a regular file (a pipe) is written when the writer is closed. */
dynq_status data_npy_create(const char *path, size_t columns, npy_writer **writer,
                            dynq_error *error);
dynq_status data_npy_append(npy_writer *writer, const float *values, size_t rows,
                            dynq_error *error);
/* The file is there when this succeeded, and frees the writer in any case. */
dynq_status data_npy_finish(npy_writer *writer, dynq_error *error);
/* Leaves everything as it was before. NULL is fine. */
void data_npy_abandon(npy_writer *writer);

#endif
