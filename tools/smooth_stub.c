#include <dynq/smooth.h>
dynq_status dynq_smooth(const dynq_model *model, const dynq_calibration *calibration, const dynq_smooth_options *options, dynq_model **smoothed, dynq_error *error);
dynq_status dynq_smooth(const dynq_model *model, const dynq_calibration *calibration, const dynq_smooth_options *options, dynq_model **smoothed, dynq_error *error)
{ (void)calibration; (void)options; (void)error; *smoothed = dynq_model_retain((dynq_model *)model); return DYNQ_OK; }
