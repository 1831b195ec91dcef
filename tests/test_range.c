#include "src/range.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>

Test(range, affine_follows_the_specification)
{
    const dynq_range_params p = dynq_range_params_of(-1.0f, 3.0f, DYNQ_SCHEME_AFFINE);
    cr_assert_eq(p.scale, (float)(4.0 / 255.0));
    cr_assert_eq(p.inverse, (float)(255.0 / 4.0));
    cr_assert_eq(p.zero, 64);
    cr_assert_eq(dynq_range_params_of(-5.0f, 0.0f, DYNQ_SCHEME_AFFINE).zero, 255);
    cr_assert_eq(dynq_range_params_of(0.0f, 5.0f, DYNQ_SCHEME_AFFINE).zero, 0);
}

Test(range, symmetric_follows_the_specification)
{
    const dynq_range_params p = dynq_range_params_of(-2.0f, 1.0f, DYNQ_SCHEME_SYMMETRIC);
    cr_assert_eq(p.scale, 2.0f / 127.0f);
    cr_assert_eq(p.inverse, 127.0f / 2.0f);
    cr_assert_eq(p.zero, 128);
}

Test(range, tiny_ranges_count_as_zero)
{
    const float tiny = 0x1p-101f;
    const dynq_range_params a = dynq_range_params_of(0.0f, tiny, DYNQ_SCHEME_AFFINE);
    cr_assert(a.scale == 1.0f && a.inverse == 0.0f && a.zero == 0);
    const dynq_range_params s = dynq_range_params_of(-tiny, 0.0f, DYNQ_SCHEME_SYMMETRIC);
    cr_assert(s.scale == 1.0f && s.inverse == 0.0f && s.zero == 128);
    cr_assert_eq(dynq_range_params_of(0.0f, 0x1p-100f, DYNQ_SCHEME_SYMMETRIC).scale,
                 0x1p-100f / 127.0f);
}

Test(range, the_widest_range_keeps_a_finite_scale)
{
    const dynq_range_params p = dynq_range_params_of(-FLT_MAX, FLT_MAX, DYNQ_SCHEME_AFFINE);
    cr_assert(isfinite(p.scale) && p.inverse > 0.0f);
    cr_assert_eq(p.zero, 128);
}

Test(range, bits_tell_finite_from_not)
{
    cr_assert(dynq_range_finite((dynq_range_bits){0, 0}));
    cr_assert(dynq_range_finite((dynq_range_bits){0x7F7FFFFF, 0xFF7FFFFFu}));
    cr_assert_not(dynq_range_finite((dynq_range_bits){0x7F800000, 0}));
    cr_assert_not(dynq_range_finite((dynq_range_bits){0x7FC00000, 0}));
    cr_assert_not(dynq_range_finite((dynq_range_bits){0, 0xFF800000u}));
    cr_assert_not(dynq_range_finite((dynq_range_bits){0, 0xFFC00000u}));
}

Test(range, bits_back_to_floats)
{
    const dynq_range_bits positive = {0x40000000, 0x40000000u};
    cr_assert_eq(dynq_range_high(positive), 2.0f);
    cr_assert_eq(dynq_range_low(positive), 0.0f);
    const dynq_range_bits joined = dynq_range_join(positive, (dynq_range_bits){0, 0xC0400000u});
    cr_assert_eq(dynq_range_high(joined), 2.0f);
    cr_assert_eq(dynq_range_low(joined), -3.0f);
}
