/* What `dynq calibrate` says of a calibration. */
#ifndef DYNQ_TOOLS_CALIBRATE_H
#define DYNQ_TOOLS_CALIBRATE_H

#include "tools/table.h"

#include <dynq/calibration.h>

void calibrate_print_json(const dynq_calibration *calibration, const char *path);
void calibrate_print_table(const dynq_calibration *calibration, table_format format);

#endif
