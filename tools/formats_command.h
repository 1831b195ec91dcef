/* What the files of `dynq formats` share. */
#ifndef DYNQ_TOOLS_FORMATS_COMMAND_H
#define DYNQ_TOOLS_FORMATS_COMMAND_H

#include "tools/command.h"
#include "tools/formats.h"
#include "tools/formats_source.h"

typedef struct formats_options {
    const char *tensor, *html;
} formats_options;

typedef struct formats_job {
    const command_call *call;
    formats_source source;
    formats_report *reports; /* [source.count], in the order of its items */
    formats_report all;      /* the sum of them */
} formats_job;

/* Bits for a value, with its share of the scales. */
double formats_bits_per_value(const formats_report *measured, size_t kind);
/* "512 x 384, 196608 values from -1 to 1, 3 of them 0", or "3 tensors, ...". */
void formats_describe_job(const formats_job *job, char *buffer, size_t size);
/* "fp16: 3 of 100 values overflow to infinity." for the kind; 0: nothing to say. */
int formats_warning(const formats_report *measured, size_t kind, char *buffer, size_t size);

void formats_print_json(const formats_job *job);
void formats_print_tables(const formats_job *job);
/* Writes the page; on failure an error was printed. */
exit_code formats_write_html(const formats_job *job);

#endif
