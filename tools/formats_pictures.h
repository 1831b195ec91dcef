/* Pictures of one tensor and of many on the page of `dynq formats`. */
#ifndef DYNQ_TOOLS_FORMATS_PICTURES_H
#define DYNQ_TOOLS_FORMATS_PICTURES_H

#include "tools/formats.h"
#include "tools/report.h"

#include <stddef.h>

/* A section about the tensor: its values and the numbers that formats have for them. `chosen`: it
 * is the one of several that has most to lose. */
void formats_add_pictures(report *page, const formats_report *tensor, const double *values,
                          int chosen);
/* A section with what each tensor loses. */
void formats_add_layers(report *page, const formats_report *reports, size_t count);

#endif
