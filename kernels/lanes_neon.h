/* Sixteen lanes of float or int32, in four q registers. The same names as in lanes_avx512.h, so
 * that float_lanes.h is written once. Every function is the exact IEEE or modulo-2^32 operation in
 * each lane. `count` is 1 to 16; lanes from `count` on are neither read from memory nor written to
 * it, and read as zero. */
#ifndef DYNQ_KERNELS_LANES_NEON_H
#define DYNQ_KERNELS_LANES_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Of a register. */
#define LANES_DOUBLES 2

#define LANES_INLINE static inline __attribute__((always_inline, unused))

typedef struct lanes_f32 {
    float32x4_t part[4];
} lanes_f32;

typedef struct lanes_s32 {
    int32x4_t part[4];
} lanes_s32;

/* All bits of a lane are equal. */
typedef struct lanes_mask {
    uint32x4_t part[4];
} lanes_mask;

/* The lanes below `count`. */
LANES_INLINE lanes_mask lanes_below(size_t count)
{
    static const uint32_t index[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const uint32x4_t n = vdupq_n_u32((uint32_t)count);
    return (lanes_mask){{vcltq_u32(vld1q_u32(index), n), vcltq_u32(vld1q_u32(index + 4), n),
                         vcltq_u32(vld1q_u32(index + 8), n), vcltq_u32(vld1q_u32(index + 12), n)}};
}

LANES_INLINE lanes_s32 lanes_bits(lanes_f32 a)
{
    return (lanes_s32){{vreinterpretq_s32_f32(a.part[0]), vreinterpretq_s32_f32(a.part[1]),
                        vreinterpretq_s32_f32(a.part[2]), vreinterpretq_s32_f32(a.part[3])}};
}

LANES_INLINE lanes_f32 lanes_from_bits(lanes_s32 a)
{
    return (lanes_f32){{vreinterpretq_f32_s32(a.part[0]), vreinterpretq_f32_s32(a.part[1]),
                        vreinterpretq_f32_s32(a.part[2]), vreinterpretq_f32_s32(a.part[3])}};
}

/* The first `count` of four numbers of 4 bytes, zeros behind them; from 4 on, all. */
LANES_INLINE uint8x16_t lanes_load_part(const uint8_t *p, size_t count)
{
    uint64_t low = 0, high = 0;
    switch (count) {
    case 0: break;
    case 1: memcpy(&low, p, 4); break;
    case 2: memcpy(&low, p, 8); break;
    case 3:
        memcpy(&low, p, 8);
        memcpy(&high, p + 8, 4);
        break;
    default: return vld1q_u8(p);
    }
    return vcombine_u8(vcreate_u8(low), vcreate_u8(high));
}

/* As bytes, which may be of either type. */
LANES_INLINE lanes_s32 lanes_load_any(const uint8_t *p, size_t count)
{
    lanes_s32 a;
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        const size_t left = count > 4 * i ? count - 4 * i : 0;
        a.part[i] = vreinterpretq_s32_u8(lanes_load_part(left > 0 ? p + 16 * i : p, left));
    }
    return a;
}

/* Whether all lanes are wanted is asked once and not for each register. */
LANES_INLINE lanes_s32 lanes_load_s32(const int32_t *p, size_t count)
{
    const uint8_t *bytes = (const uint8_t *)p;
    return count == 16 ? lanes_load_any(bytes, 16) : lanes_load_any(bytes, count);
}

LANES_INLINE lanes_f32 lanes_load(const float *p, size_t count)
{
    const uint8_t *bytes = (const uint8_t *)p;
    return lanes_from_bits(count == 16 ? lanes_load_any(bytes, 16) : lanes_load_any(bytes, count));
}

/* From FP16, exactly. */
LANES_INLINE lanes_f32 lanes_load_fp16(const uint16_t *p)
{
    lanes_f32 a;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a.part[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
    }
    return a;
}

/* From bytes. */
LANES_INLINE lanes_s32 lanes_load_s8(const int8_t *p, size_t count)
{
    int8_t part[16] = {0};
    if (count < 16) {
        memcpy(part, p, count);
        p = part;
    }
    const int8x16_t bytes = vld1q_s8(p);
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
    return (lanes_s32){{vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)),
                        vmovl_s16(vget_low_s16(high)), vmovl_s16(vget_high_s16(high))}};
}

LANES_INLINE void lanes_store_part(float *p, float32x4_t a, size_t count)
{
    switch (count) {
    case 1: vst1q_lane_f32(p, a, 0); break;
    case 2: vst1_f32(p, vget_low_f32(a)); break;
    case 3:
        vst1_f32(p, vget_low_f32(a));
        vst1q_lane_f32(p + 2, a, 2);
        break;
    default: vst1q_f32(p, a); break;
    }
}

LANES_INLINE void lanes_store(float *p, lanes_f32 a, size_t count)
{
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        if (count > 4 * i) {
            lanes_store_part(p + 4 * i, a.part[i], count - 4 * i);
        }
    }
}

LANES_INLINE void lanes_store_s32(int32_t *p, lanes_s32 a)
{
    vst1q_s32(p, a.part[0]);
    vst1q_s32(p + 4, a.part[1]);
    vst1q_s32(p + 8, a.part[2]);
    vst1q_s32(p + 12, a.part[3]);
}

/* The low bytes. */
LANES_INLINE void lanes_store_u8(uint8_t *p, lanes_s32 a, size_t count)
{
    const int16x8_t low = vcombine_s16(vmovn_s32(a.part[0]), vmovn_s32(a.part[1]));
    const int16x8_t high = vcombine_s16(vmovn_s32(a.part[2]), vmovn_s32(a.part[3]));
    const uint8x16_t bytes = vreinterpretq_u8_s8(vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
    if (count == 16) {
        vst1q_u8(p, bytes);
    } else {
        uint8_t all[16];
        vst1q_u8(all, bytes);
        memcpy(p, all, count);
    }
}

/* What turns rounded values to codes. */
typedef struct lanes_codes {
    int16x8_t zero;
    uint8x16_t least;
} lanes_codes;

LANES_INLINE lanes_codes lanes_codes_with(int32_t zero, int32_t least)
{
    return (lanes_codes){vdupq_n_s16((int16_t)zero), vdupq_n_u8((uint8_t)least)};
}

/* 64 codes: value + zero, not below `least` (0 or 1) and not above 255. */
LANES_INLINE void lanes_store_codes(uint8_t *p, const lanes_s32 value[4], lanes_codes with)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const int32x4_t *part = value[i].part;
        const int16x8_t low = vcombine_s16(vqmovn_s32(part[0]), vqmovn_s32(part[1]));
        const int16x8_t high = vcombine_s16(vqmovn_s32(part[2]), vqmovn_s32(part[3]));
        const uint8x16_t bytes = vcombine_u8(vqmovun_s16(vqaddq_s16(low, with.zero)),
                                             vqmovun_s16(vqaddq_s16(high, with.zero)));
        vst1q_u8(p + 16 * i, vmaxq_u8(bytes, with.least));
    }
}

LANES_INLINE lanes_f32 lanes_set(float a)
{
    const float32x4_t four = vdupq_n_f32(a);
    return (lanes_f32){{four, four, four, four}};
}

LANES_INLINE lanes_s32 lanes_set_s32(int32_t a)
{
    const int32x4_t four = vdupq_n_s32(a);
    return (lanes_s32){{four, four, four, four}};
}

LANES_INLINE lanes_f32 lanes_add(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32){{vaddq_f32(a.part[0], b.part[0]), vaddq_f32(a.part[1], b.part[1]),
                        vaddq_f32(a.part[2], b.part[2]), vaddq_f32(a.part[3], b.part[3])}};
}

LANES_INLINE lanes_f32 lanes_sub(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32){{vsubq_f32(a.part[0], b.part[0]), vsubq_f32(a.part[1], b.part[1]),
                        vsubq_f32(a.part[2], b.part[2]), vsubq_f32(a.part[3], b.part[3])}};
}

LANES_INLINE lanes_f32 lanes_mul(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32){{vmulq_f32(a.part[0], b.part[0]), vmulq_f32(a.part[1], b.part[1]),
                        vmulq_f32(a.part[2], b.part[2]), vmulq_f32(a.part[3], b.part[3])}};
}

LANES_INLINE lanes_f32 lanes_div(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32){{vdivq_f32(a.part[0], b.part[0]), vdivq_f32(a.part[1], b.part[1]),
                        vdivq_f32(a.part[2], b.part[2]), vdivq_f32(a.part[3], b.part[3])}};
}

/* a * b + c, rounded once. */
LANES_INLINE lanes_f32 lanes_fma(lanes_f32 a, lanes_f32 b, lanes_f32 c)
{
    return (lanes_f32){
        {vfmaq_f32(c.part[0], a.part[0], b.part[0]), vfmaq_f32(c.part[1], a.part[1], b.part[1]),
         vfmaq_f32(c.part[2], a.part[2], b.part[2]), vfmaq_f32(c.part[3], a.part[3], b.part[3])}};
}

/* Ordered: false if either is NaN. */
LANES_INLINE lanes_mask lanes_less(lanes_f32 a, lanes_f32 b)
{
    return (lanes_mask){{vcltq_f32(a.part[0], b.part[0]), vcltq_f32(a.part[1], b.part[1]),
                         vcltq_f32(a.part[2], b.part[2]), vcltq_f32(a.part[3], b.part[3])}};
}

/* mask ? a : b */
LANES_INLINE lanes_f32 lanes_select(lanes_mask mask, lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32){{vbslq_f32(mask.part[0], a.part[0], b.part[0]),
                        vbslq_f32(mask.part[1], a.part[1], b.part[1]),
                        vbslq_f32(mask.part[2], a.part[2], b.part[2]),
                        vbslq_f32(mask.part[3], a.part[3], b.part[3])}};
}

/* a > b ? a : b, so b if either is NaN (the instruction of that name would give NaN). */
LANES_INLINE lanes_f32 lanes_max(lanes_f32 a, lanes_f32 b)
{
    return lanes_select(lanes_less(b, a), a, b);
}

/* a < b ? a : b, so b if either is NaN. */
LANES_INLINE lanes_f32 lanes_min(lanes_f32 a, lanes_f32 b)
{
    return lanes_select(lanes_less(a, b), a, b);
}

/* To the nearest integer, ties to even. Unlike on x86, what is out of range goes to the nearest
 * int32 and NaN to 0; nobody asks, as all callers clamp first. */
LANES_INLINE lanes_s32 lanes_round_s32(lanes_f32 a)
{
    return (lanes_s32){{vcvtnq_s32_f32(a.part[0]), vcvtnq_s32_f32(a.part[1]),
                        vcvtnq_s32_f32(a.part[2]), vcvtnq_s32_f32(a.part[3])}};
}

LANES_INLINE int32x4_t lanes_round_part(float32x4_t a, float32x4_t highest)
{
    const float32x4_t number = vmaxnmq_f32(a, vdupq_n_f32(-65536.0f)); /* that if a is NaN */
    return vcvtnq_s32_f32(vminq_f32(number, highest));
}

/* min(a, highest), `highest` below 2^31, to the nearest integer, ties to even; what is below
 * -65536, and NaN, gives -65536 or less. */
LANES_INLINE lanes_s32 lanes_round_code(lanes_f32 a, lanes_f32 highest)
{
    return (lanes_s32){{lanes_round_part(a.part[0], highest.part[0]),
                        lanes_round_part(a.part[1], highest.part[1]),
                        lanes_round_part(a.part[2], highest.part[2]),
                        lanes_round_part(a.part[3], highest.part[3])}};
}

/* As lanes_round_code for an `a` below 2^31. */
LANES_INLINE lanes_s32 lanes_round_bounded(lanes_f32 a)
{
    return lanes_round_code(a, lanes_set(0x1p30f));
}

LANES_INLINE lanes_f32 lanes_from_s32(lanes_s32 a)
{
    return (lanes_f32){{vcvtq_f32_s32(a.part[0]), vcvtq_f32_s32(a.part[1]),
                        vcvtq_f32_s32(a.part[2]), vcvtq_f32_s32(a.part[3])}};
}

LANES_INLINE lanes_s32 lanes_add_s32(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){{vaddq_s32(a.part[0], b.part[0]), vaddq_s32(a.part[1], b.part[1]),
                        vaddq_s32(a.part[2], b.part[2]), vaddq_s32(a.part[3], b.part[3])}};
}

LANES_INLINE lanes_s32 lanes_sub_s32(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){{vsubq_s32(a.part[0], b.part[0]), vsubq_s32(a.part[1], b.part[1]),
                        vsubq_s32(a.part[2], b.part[2]), vsubq_s32(a.part[3], b.part[3])}};
}

LANES_INLINE lanes_s32 lanes_mul_s32(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){{vmulq_s32(a.part[0], b.part[0]), vmulq_s32(a.part[1], b.part[1]),
                        vmulq_s32(a.part[2], b.part[2]), vmulq_s32(a.part[3], b.part[3])}};
}

LANES_INLINE lanes_s32 lanes_and(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){{vandq_s32(a.part[0], b.part[0]), vandq_s32(a.part[1], b.part[1]),
                        vandq_s32(a.part[2], b.part[2]), vandq_s32(a.part[3], b.part[3])}};
}

LANES_INLINE lanes_s32 lanes_or(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){{vorrq_s32(a.part[0], b.part[0]), vorrq_s32(a.part[1], b.part[1]),
                        vorrq_s32(a.part[2], b.part[2]), vorrq_s32(a.part[3], b.part[3])}};
}

/* Into the place of the exponent. */
LANES_INLINE lanes_s32 lanes_shift_left_23(lanes_s32 a)
{
    return (lanes_s32){{vshlq_n_s32(a.part[0], 23), vshlq_n_s32(a.part[1], 23),
                        vshlq_n_s32(a.part[2], 23), vshlq_n_s32(a.part[3], 23)}};
}

/* Into the upper half. */
LANES_INLINE lanes_s32 lanes_shift_left_16(lanes_s32 a)
{
    return (lanes_s32){{vshlq_n_s32(a.part[0], 16), vshlq_n_s32(a.part[1], 16),
                        vshlq_n_s32(a.part[2], 16), vshlq_n_s32(a.part[3], 16)}};
}

LANES_INLINE lanes_s32 lanes_max_s32(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){{vmaxq_s32(a.part[0], b.part[0]), vmaxq_s32(a.part[1], b.part[1]),
                        vmaxq_s32(a.part[2], b.part[2]), vmaxq_s32(a.part[3], b.part[3])}};
}

LANES_INLINE int32x4_t lanes_max_u32_part(int32x4_t a, int32x4_t b)
{
    return vreinterpretq_s32_u32(vmaxq_u32(vreinterpretq_u32_s32(a), vreinterpretq_u32_s32(b)));
}

LANES_INLINE lanes_s32 lanes_max_u32(lanes_s32 a, lanes_s32 b)
{
    return (lanes_s32){
        {lanes_max_u32_part(a.part[0], b.part[0]), lanes_max_u32_part(a.part[1], b.part[1]),
         lanes_max_u32_part(a.part[2], b.part[2]), lanes_max_u32_part(a.part[3], b.part[3])}};
}

LANES_INLINE int32_t lanes_highest_s32(lanes_s32 a)
{
    return vmaxvq_s32(vmaxq_s32(vmaxq_s32(a.part[0], a.part[1]), vmaxq_s32(a.part[2], a.part[3])));
}

LANES_INLINE uint32_t lanes_highest_u32(lanes_s32 a)
{
    const int32x4_t low = lanes_max_u32_part(a.part[0], a.part[1]);
    const int32x4_t high = lanes_max_u32_part(a.part[2], a.part[3]);
    return vmaxvq_u32(vreinterpretq_u32_s32(lanes_max_u32_part(low, high)));
}

/* The largest lane of a, none of which is NaN; of zeros, either. */
LANES_INLINE float lanes_highest(lanes_f32 a)
{
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a.part[0], a.part[1]), vmaxq_f32(a.part[2], a.part[3])));
}

/* The sum of the lanes: the upper half is added to the lower one, four times. */
LANES_INLINE float lanes_fold(lanes_f32 a)
{
    const float32x4_t low = vaddq_f32(a.part[0], a.part[2]);
    const float32x4_t four = vaddq_f32(low, vaddq_f32(a.part[1], a.part[3]));
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/* a in the lanes below `count`, b in the others. */
LANES_INLINE lanes_f32 lanes_fill(lanes_f32 a, size_t count, float b)
{
    return count == 16 ? a : lanes_select(lanes_below(count), a, lanes_set(b));
}

/* a in the lanes below `count`, zero in the others. */
LANES_INLINE lanes_f32 lanes_keep(lanes_f32 a, size_t count)
{
    return lanes_fill(a, count, 0.0f);
}

LANES_INLINE float32x4_t lanes_low_pairs(float32x4_t a, float32x4_t b)
{
    return vreinterpretq_f32_f64(vtrn1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}

LANES_INLINE float32x4_t lanes_high_pairs(float32x4_t a, float32x4_t b)
{
    return vreinterpretq_f32_f64(vtrn2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}

/* Columns 0 to 3 of sixteen rows, a row to a lane. */
LANES_INLINE void lanes_columns(const float *const row[16], size_t at, lanes_f32 columns[4])
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const float32x4_t a = vld1q_f32(row[4 * i] + at), b = vld1q_f32(row[4 * i + 1] + at);
        const float32x4_t c = vld1q_f32(row[4 * i + 2] + at), d = vld1q_f32(row[4 * i + 3] + at);
        const float32x4_t even = vtrn1q_f32(a, b), odd = vtrn2q_f32(a, b);
        const float32x4_t more = vtrn1q_f32(c, d), most = vtrn2q_f32(c, d);
        columns[0].part[i] = lanes_low_pairs(even, more);
        columns[1].part[i] = lanes_low_pairs(odd, most);
        columns[2].part[i] = lanes_high_pairs(even, more);
        columns[3].part[i] = lanes_high_pairs(odd, most);
    }
}

/* The low bytes of four numbers, those of the first lowest. */
LANES_INLINE lanes_s32 lanes_join_bytes(const lanes_s32 a[4])
{
    lanes_s32 joined;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const int32x4_t high = vsliq_n_s32(a[2].part[i], a[3].part[i], 8);
        joined.part[i] = vsliq_n_s32(a[0].part[i], vsliq_n_s32(a[1].part[i], high, 8), 8);
    }
    return joined;
}

/* The low bytes of four rows: quarter i has the columns 4 * i to 4 * i + 3 of the first row, then
 * of the second and so on. */
LANES_INLINE lanes_s32 lanes_join_rows(const lanes_s32 rows[4])
{
    static const uint8_t order[16] = {0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60};
    const uint8x16_t at = vld1q_u8(order);
    lanes_s32 joined;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const uint8x16x4_t table = {
            {vreinterpretq_u8_s32(rows[0].part[i]), vreinterpretq_u8_s32(rows[1].part[i]),
             vreinterpretq_u8_s32(rows[2].part[i]), vreinterpretq_u8_s32(rows[3].part[i])}};
        joined.part[i] = vreinterpretq_s32_u8(vqtbl4q_u8(table, at));
    }
    return joined;
}

/* Quarters change places: quarter j of turned[i] is quarter i of a[j]. */
LANES_INLINE void lanes_turn_quarters(const lanes_s32 a[4], lanes_s32 turned[4])
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        turned[i] = (lanes_s32){{a[0].part[i], a[1].part[i], a[2].part[i], a[3].part[i]}};
    }
}

LANES_INLINE int32x4_t lanes_max_quarter(const int is_signed, int32x4_t a, int32x4_t b)
{
    return is_signed ? vmaxq_s32(a, b) : lanes_max_u32_part(a, b);
}

/* The larger ones of the pairs of a, then of b. */
LANES_INLINE int32x4_t lanes_max_pairs(const int is_signed, int32x4_t a, int32x4_t b)
{
    return is_signed ? vpmaxq_s32(a, b)
                     : vreinterpretq_s32_u32(
                           vpmaxq_u32(vreinterpretq_u32_s32(a), vreinterpretq_u32_s32(b)));
}

/* The largest lane of each of sixteen rows, a row to a lane. */
LANES_INLINE lanes_s32 lanes_highest_rows(const int is_signed, const lanes_s32 rows[16])
{
    lanes_s32 highest;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        int32x4_t part[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            const int32x4_t *of = rows[4 * i + j].part;
            part[j] = lanes_max_quarter(is_signed, lanes_max_quarter(is_signed, of[0], of[1]),
                                        lanes_max_quarter(is_signed, of[2], of[3]));
        }
        highest.part[i] = lanes_max_pairs(is_signed, lanes_max_pairs(is_signed, part[0], part[1]),
                                          lanes_max_pairs(is_signed, part[2], part[3]));
    }
    return highest;
}

#endif
