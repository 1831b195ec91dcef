/* `dynq formats`: what each way to store numbers makes of a tensor. */
#ifndef DYNQ_TOOLS_FORMATS_H
#define DYNQ_TOOLS_FORMATS_H

#include <dynq/format.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

#define FORMATS_COUNT 8  /* DYNQ_FORMAT_FP64 to DYNQ_FORMAT_INT2 */
#define FORMATS_KINDS 16 /* four of floats, four of integers in three ways to scale */
#define FORMATS_GROUP 32 /* inputs that share a scale in the finest of them */

/* What has one scale, for integers. */
typedef enum formats_scaling {
    FORMATS_FLOAT = 1, /* nothing: the numbers are floats */
    FORMATS_TENSOR,
    FORMATS_COLUMN,
    FORMATS_GROUPS
} formats_scaling;

typedef struct formats_kind {
    dynq_format format;
    formats_scaling scaling;
} formats_kind;

extern const formats_kind formats_kinds[FORMATS_KINDS];

/* The first kind of a format: for integers the one with a scale for the tensor. */
size_t formats_first_kind(dynq_format format);
/* Its place in formats_kinds[]. */
size_t formats_kind_number(formats_kind kind);
/* "", "tensor", "column", "groups". */
const char *formats_scaling_name(formats_scaling scaling);

/* What a format can hold; of integers in steps, which a scale makes numbers of. */
typedef struct formats_limits {
    unsigned exponent, fraction; /* bits; integers: 0 and all but the sign */
    double largest;
    double least_normal, least; /* above 0; integers: both 1 */
    double epsilon;             /* the step above 1 */
    double digits;              /* decimal ones */
} formats_limits;

formats_limits formats_limits_of(dynq_format format);
/* From `magnitude` (above 0) to the next larger number of a format of floats. */
double formats_step_at(dynq_format format, double magnitude);

/* Sums over the values of a tensor, or of several. */
typedef struct formats_result {
    double signal, error, dot, restored; /* squares of values, of errors, ... */
    double largest_error;
    double least_scale, largest_scale; /* integers: of those above 0; both 0 if there is none */
    uint64_t bytes;                    /* codes, and scales: FP32, those of groups FP16 besides */
    uint64_t overflowed;               /* values that became infinite */
    uint64_t vanished;                 /* values other than 0 that became 0 */
} formats_result;

/* Signal to quantization noise in dB; infinite without error, NaN without signal. */
double formats_sqnr(const formats_result *result);
double formats_cosine(const formats_result *result); /* NaN where it is not defined */

/* A tensor and what became of it. */
typedef struct formats_report {
    char *name; /* malloc'ed */
    size_t n, k;
    uint64_t values, zeros;
    double min, max;
    formats_result results[FORMATS_KINDS];
} formats_report;

/* Measures values [n][k], finite, at least one: k inputs of each of n columns. Codes of integers
 * are symmetric, [-127, 127] for 8 bits, and scales by the largest magnitude: largest / 127, in
 * FP32. A group's scale is its column's times a factor in FP16, as model files hold it, rounded up.
 * Fields before `values` are left alone. */
void formats_measure(const double *values, size_t n, size_t k, formats_report *measured);
/* Adds what was measured of one tensor to that of all; `all` starts as all zero. */
void formats_add(formats_report *all, const formats_report *one);

#endif
