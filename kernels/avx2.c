/* AVX2 without any dot-product instruction. */
#include "kernels/lanes_avx2.h"
#include "kernels/codes_avx2.h"
#include "kernels/float_lanes.h"
#include "kernels/row_lanes.h"
#include "kernels/pool_lanes.h"
#include "kernels/error_lanes.h"
#include "kernels/table.h"

#include <dynq/cpu.h>
#include <string.h>

#define GEMM_F32_WIDE_ROWS                                                                         \
    1 /* 8 accumulators, and of more rows 6 by 1 panel: 12, of 16 registers */
#include "kernels/gemm_f32_lanes.h"

/* One row by four panels: 8 sums, q and |q|, a weight, a product and the ones in 16 registers. The
 * work on q counts little when it serves four panels: with more rows by fewer panels, or with the
 * weights widened to 16 bits, there are more instructions to a product. */
#define S8_ROWS          1
#define S8_MANY_ROWS     1
#define S8_SLOW_ROWS     0
#define S8_COLUMNS       64
#define CODES_PANELS     1
#define S8_GROUP_PANELS  1
#define S8_GROUP_ROWS    1
#define S8_GROUP_COLUMNS 32

/* The sums are of (q - 128) * w: |q - 128| is an unsigned byte again and its sign can move to the
 * weight, and then the 16-bit sums of vpmaddubsw cannot saturate: 2 * 128 * 127 < 32768. */
#define S8_OFFSET 128

/* q - 128, and without its sign. */
typedef struct dot_codes {
    __m256i code, magnitude;
} dot_codes;

LANES_INLINE dot_codes dot_codes_of(__m256i q)
{
    const __m256i code = _mm256_xor_si256(q, _mm256_set1_epi8(-S8_OFFSET));
    return (dot_codes){code, _mm256_abs_epi8(code)};
}

LANES_INLINE dot_codes dot_broadcast(const uint8_t *q)
{
    int32_t bytes;
    memcpy(&bytes, q, sizeof bytes);
    return dot_codes_of(_mm256_set1_epi32(bytes));
}

LANES_INLINE lanes_s32 dot_weights(const int8_t *w)
{
    return (lanes_s32){_mm256_load_si256((const __m256i *)w),
                       _mm256_load_si256((const __m256i *)(w + 32))};
}

LANES_INLINE __m256i dot_add_half(__m256i acc, dot_codes q, __m256i w)
{
    const __m256i pairs = _mm256_maddubs_epi16(q.magnitude, _mm256_sign_epi8(w, q.code));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

LANES_INLINE lanes_s32 dot_add(lanes_s32 acc, dot_codes q, lanes_s32 w)
{
    return (lanes_s32){dot_add_half(acc.low, q, w.low), dot_add_half(acc.high, q, w.high)};
}

/* acc + the products of four codes and four weights in each lane. */
LANES_INLINE lanes_s32 dot_lanes(lanes_s32 acc, lanes_s32 q, lanes_s32 w)
{
    return (lanes_s32){dot_add_half(acc.low, dot_codes_of(q.low), w.low),
                       dot_add_half(acc.high, dot_codes_of(q.high), w.high)};
}

#include "kernels/gemm_s8_lanes.h"

static void s8_tile_rows(size_t rows, const s8_columns *c, size_t row, size_t columns,
                         const s8_sums *out)
{
    (void)rows;
    s8_across(1, 4, 1, c, row, columns, out);
}

static void s8_group_rows(size_t rows, s8_columns *c, const s8_groups *s, size_t row,
                          size_t columns)
{
    (void)rows;
    s8_group_across(8, 1, 2, c, s, row, columns);
}

#define ATTENTION_GROUPS      1
#define ATTENTION_TILE_KEYS   4
#define ATTENTION_TILE_ROWS   4
#define ATTENTION_TILE_PANELS 1
#include "kernels/attention_s8_lanes.h"

/* Without the sign trick, which is this kernel's own cost. The first assembly hides that operands
 * are the same every time, the second keeps GCC from spilling accumulators. */
#define PROBE_WIDTH    5
#define PROBE_PRODUCTS 4
LANES_INLINE __m256i probe_dot_half(__m256i acc, __m256i u8s, __m256i s8s)
{
    __asm__ volatile("" : "+x"(u8s));
    const __m256i pairs = _mm256_maddubs_epi16(u8s, s8s);
    const __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    __asm__("vpaddd %1, %0, %0" : "+x"(acc) : "x"(sums));
    return acc;
}

LANES_INLINE lanes_s32 probe_dot(lanes_s32 acc, lanes_s32 u8s, lanes_s32 s8s)
{
    return (lanes_s32){probe_dot_half(acc.low, u8s.low, s8s.low),
                       probe_dot_half(acc.high, u8s.high, s8s.high)};
}
#include "kernels/probe_lanes.h"

const dynq_kernel dynq_kernel_avx2 = {
    .name = "avx2",
    .features = DYNQ_CPU_AVX2,
    .gemm_s8 = gemm_s8,
    .gemm_f32 = gemm_f32,
    .epilogue_s32 = epilogue_s32,
    .epilogue_f32 = epilogue_f32,
    .range = range,
    .quantize = quantize,
    .activate = activate,
    .add = add,
    .multiply = multiply,
    .softmax = softmax,
    .layer_norm = layer_norm,
    .embed = embed,
    .pool = pool,
    .normalize = normalize,
    .attention_f32 = attention_f32,
    .attention_prepare = attention_prepare,
    .attention_s8 = attention_s8,
    .errors = errors,
    .probe_s8 = probe_s8,
    .probe_f32 = probe_f32,
    .probe_read = probe_read,
};
