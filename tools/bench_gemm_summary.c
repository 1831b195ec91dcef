#include "tools/bench_gemm.h"

#include <math.h>

const char *const gemm_group_names[GEMM_GROUPS] = {"M 1 to 4", "M 5 to 12", "M 13 to 63",
                                                   "M 64 and more"};

static int group_of(size_t rows)
{
    return rows <= 4 ? 0 : rows <= 12 ? 1 : rows < 64 ? 2 : 3;
}

/* Time of a line, NAN where it was not measured. */
static double time_of(const gemm_bench *self, const gemm_point *point, int line)
{
    return self->lines[line].wanted ? point->runs[line].us.median : NAN;
}

/* The fastest foreign FP32, or the native one where there is no other. */
static double best_fp32(const gemm_bench *self, const gemm_point *point)
{
    const double foreign = fmin(time_of(self, point, GEMM_ONEDNN_FP32),
                                time_of(self, point, GEMM_OPENBLAS_FP32)); /* ignores NAN */
    return isnan(foreign) ? time_of(self, point, GEMM_NATIVE_FP32) : foreign;
}

static const gemm_point *single_thread(const gemm_bench *self, const gemm_point *point)
{
    for (size_t i = 0; i < self->point_count; i++) {
        const gemm_point *other = &self->points[i];
        if (other->threads == 1 && other->cold == point->cold && other->shape.m == point->shape.m &&
            other->shape.k == point->shape.k && other->shape.n == point->shape.n) {
            return other;
        }
    }
    return NULL;
}

gemm_summary gemm_compare(const gemm_bench *self, const gemm_point *point)
{
    const double ours = time_of(self, point, GEMM_DYNAMIC);
    const gemm_point *single = point->threads > 1 ? single_thread(self, point) : NULL;
    return (gemm_summary){
        .points = 1,
        .fraction = isnan(ours) ? NAN : point->runs[GEMM_DYNAMIC].fraction,
        .over_onednn = time_of(self, point, GEMM_ONEDNN_INT8) / ours,
        .over_fp32 = best_fp32(self, point) / ours,
        .over_static = ours / time_of(self, point, GEMM_STATIC),
        .over_single = single != NULL ? time_of(self, single, GEMM_DYNAMIC) / ours : NAN,
    };
}

gemm_summary gemm_summarize(const gemm_bench *self, uint32_t threads, int cold, int group)
{
    gemm_summary sum = {0};
    for (size_t i = 0; i < self->point_count; i++) {
        const gemm_point *point = &self->points[i];
        if (point->threads == threads && point->cold == cold && group_of(point->shape.m) == group) {
            const gemm_summary one = gemm_compare(self, point);
            sum.points++;
            sum.fraction += log(one.fraction);
            sum.over_onednn += log(one.over_onednn);
            sum.over_fp32 += log(one.over_fp32);
            sum.over_static += log(one.over_static);
            sum.over_single += log(one.over_single);
        }
    }
    const double count = (double)sum.points;
    return (gemm_summary){
        .points = sum.points,
        .fraction = exp(sum.fraction / count),
        .over_onednn = exp(sum.over_onednn / count),
        .over_fp32 = exp(sum.over_fp32 / count),
        .over_static = exp(sum.over_static / count),
        .over_single = exp(sum.over_single / count),
    };
}
