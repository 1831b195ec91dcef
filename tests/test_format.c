/* Number formats against numpy and ml_dtypes (golden/formats.py) and against their definition. */
#include <dynq/format.h>

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096, MANY = 10000000, ALL_HALVES = 65536 };

static uint64_t hashed(uint64_t x)
{
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* As floats() of golden/formats.py. */
static uint32_t float_bits(uint64_t i)
{
    const uint64_t x = hashed(i);
    const uint32_t low = (uint32_t)x, high = (uint32_t)(x >> 32);
    const uint32_t sign = low & 0x80000000u, aside = high % 3 - 1;
    uint32_t bits;
    switch (i % 8) {
    case 4: return sign | (((low % 32 + 112) << 23 | (low & 0x7FE000u) | 0x1000u) + aside);
    case 5: {
        const float odd = (float)(low % 1024 * 2 + 1) * 0x1p-25f;
        memcpy(&bits, &odd, sizeof bits);
        return sign | (bits + aside);
    }
    case 6: return sign | (((low & 0x7FFF0000u) | 0x8000u) + aside);
    case 7:
        bits = (high % 2 == 0 ? 0 : 0x7F800000u) | (low & 0x7FFFFFu);
        return sign | (high % 64 == 0 ? bits & 0xFF800000u : bits);
    default: return low;
    }
}

/* As doubles() of golden/formats.py. */
static uint64_t double_bits(uint64_t i)
{
    const uint64_t x = hashed(i);
    const uint64_t around = (x & 0x800FFFFFFFFFFFFFu) | (x % 340 + 850) << 52;
    switch (i % 8) {
    case 0:
    case 1: return around;
    case 2:
    case 3:
        return ((around & ~(uint64_t)0x3FFFFFFF) | (x >> 7 & 1) << 29 | 0x10000000u) +
               (x >> 11 & 3) - 1;
    case 4: return around & ~(UINT64_MAX >> (12 + x % 29));
    case 7: return x | 0x7FF0000000000000u;
    default: return x;
    }
}

typedef enum conversion {
    FP32_FROM_FP16,
    FP32_FROM_BF16,
    FP16_FROM_FP32,
    BF16_FROM_FP32,
    FP64_FROM_FP32,
    FP32_FROM_FP64
} conversion;

static const struct {
    const char *name;
    size_t from_bytes, to_bytes, count;
} conversions[] = {
    [FP32_FROM_FP16] = {"fp32_from_fp16", 2, 4, ALL_HALVES},
    [FP32_FROM_BF16] = {"fp32_from_bf16", 2, 4, ALL_HALVES},
    [FP16_FROM_FP32] = {"fp16_from_fp32", 4, 2, MANY},
    [BF16_FROM_FP32] = {"bf16_from_fp32", 4, 2, MANY},
    [FP64_FROM_FP32] = {"fp64_from_fp32", 4, 8, MANY},
    [FP32_FROM_FP64] = {"fp32_from_fp64", 8, 4, MANY},
};

static void convert(conversion which, const void *from, size_t count, void *to)
{
    switch (which) {
    case FP32_FROM_FP16: dynq_fp32_from_fp16(from, count, to); break;
    case FP32_FROM_BF16: dynq_fp32_from_bf16(from, count, to); break;
    case FP16_FROM_FP32: dynq_fp16_from_fp32(from, count, to); break;
    case BF16_FROM_FP32: dynq_bf16_from_fp32(from, count, to); break;
    case FP64_FROM_FP32: dynq_fp64_from_fp32(from, count, to); break;
    case FP32_FROM_FP64: dynq_fp32_from_fp64(from, count, to); break;
    }
}

/* Number i of the inputs, its bits in `at`. */
static void make(conversion which, uint64_t i, void *at)
{
    const size_t bytes = conversions[which].from_bytes;
    const uint16_t half = (uint16_t)i;
    const uint32_t single = bytes == 4 ? float_bits(i) : 0;
    const uint64_t wide = bytes == 8 ? double_bits(i) : 0;
    memcpy(at, bytes == 2 ? &half : bytes == 4 ? (const void *)&single : &wide, bytes);
}

static uint64_t bits_at(const unsigned char *at, size_t bytes)
{
    uint16_t half;
    uint32_t single;
    uint64_t wide;
    memcpy(bytes == 2 ? &half : bytes == 4 ? (void *)&single : &wide, at, bytes);
    return bytes == 2 ? half : bytes == 4 ? single : wide;
}

static uint64_t digest(conversion which)
{
    static unsigned char from[BLOCK * 8], to[BLOCK * 8];
    const size_t from_bytes = conversions[which].from_bytes;
    const size_t to_bytes = conversions[which].to_bytes, count = conversions[which].count;
    uint64_t sum = 0;
    for (size_t start = 0; start < count; start += BLOCK) {
        const size_t now = count - start < BLOCK ? count - start : BLOCK;
        for (size_t i = 0; i < now; i++) {
            make(which, start + i, from + i * from_bytes);
        }
        convert(which, from, now, to);
        for (size_t i = 0; i < now; i++) {
            sum += hashed(bits_at(to + i * to_bytes, to_bytes) + (start + i) * 0x9E3779B97F4A7C15u);
        }
    }
    return sum;
}

Test(format, golden)
{
    FILE *file = fopen(DYNQ_GOLDEN_DIR "/formats.txt", "r");
    cr_assert_not_null(file);
    for (conversion which = FP32_FROM_FP16; which <= FP32_FROM_FP64; which++) {
        char name[64];
        unsigned long long expected = 0;
        cr_assert_eq(fscanf(file, "%63s %llx", name, &expected), 2);
        cr_assert_str_eq(name, conversions[which].name);
        cr_assert(digest(which) == expected, "%s", name);
    }
    fclose(file);
}

/* Back and forth gives every half and every bfloat again, but for a NaN, which becomes quiet. */
Test(format, round_trips)
{
    for (unsigned i = 0; i < ALL_HALVES; i++) {
        const uint16_t half = (uint16_t)i;
        uint16_t back = 0;
        float wide = 0;
        double wider = 0;
        dynq_fp32_from_fp16(&half, 1, &wide);
        dynq_fp16_from_fp32(&wide, 1, &back);
        cr_assert_eq(back, (i & 0x7FFFu) > 0x7C00 ? i | 0x200u : i, "%x", i);
        dynq_fp32_from_bf16(&half, 1, &wide);
        dynq_bf16_from_fp32(&wide, 1, &back);
        const unsigned quiet = (i & 0x7FFFu) > 0x7F80 ? i | 0x40u : i;
        cr_assert_eq(back, quiet, "%x", i);
        dynq_fp64_from_fp32(&wide, 1, &wider);
        dynq_fp32_from_fp64(&wider, 1, &wide);
        dynq_bf16_from_fp32(&wide, 1, &back);
        cr_assert_eq(back, quiet, "%x", i);
    }
}

Test(format, borders)
{
    const float floats[] = {65504.0f,        65519.996f, 65520.0f, -65520.0f,    0x1p-25f,
                            0x1.000002p-25f, 0x1.8p-24f, -0.0f,    0x1.ffcp-15f, 0x1.ffep-15f};
    const uint16_t halves[] = {0x7BFF, 0x7BFF, 0x7C00, 0xFC00, 0x0000,
                               0x0001, 0x0002, 0x8000, 0x0400, 0x0400};
    uint16_t got[10];
    dynq_fp16_from_fp32(floats, 10, got);
    for (size_t i = 0; i < 10; i++) {
        /* 0x1.ffcp-15 is the middle of 0x3FF and 0x400: even is above. */
        cr_assert_eq(got[i], halves[i], "%g: %x", (double)floats[i], got[i]);
    }
    const float large[] = {FLT_MAX,     0x1.fep127f, 0x1.fefffep127f,
                           0x1.ffp127f, 0x1p-133f,   0x1p-134f};
    const uint16_t brains[] = {0x7F80, 0x7F7F, 0x7F7F, 0x7F80, 0x0001, 0x0000};
    dynq_bf16_from_fp32(large, 6, got);
    cr_assert_eq(memcmp(got, brains, sizeof brains), 0);
    const double wide[] = {0x1.ffffffp127, 0x1.fffffefffffffp127, 0x1p-150, 0x1.0000000000001p-150};
    float narrow[4];
    dynq_fp32_from_fp64(wide, 4, narrow);
    cr_assert(isinf(narrow[0]) && narrow[1] == FLT_MAX && narrow[2] == 0.0f &&
              narrow[3] == 0x1p-149f);
}

Test(format, codes)
{
    for (unsigned bits = 2; bits <= 4; bits += 2) {
        for (size_t count = 0; count <= 33; count++) {
            uint8_t codes[33], packed[20], again[34];
            const size_t bytes = (count * bits + 7) / 8;
            memset(packed, 0xEE, sizeof packed);
            memset(again, 0xEE, sizeof again);
            for (size_t i = 0; i < count; i++) {
                codes[i] = (uint8_t)(hashed(i + count) & ((1u << bits) - 1));
            }
            dynq_codes_pack(codes, count, bits, packed);
            dynq_codes_unpack(packed, count, bits, again);
            cr_assert_eq(memcmp(codes, again, count), 0);
            cr_assert(packed[bytes] == 0xEE && again[count] == 0xEE);
            const unsigned used = (unsigned)(count * bits % 8);
            cr_assert(used == 0 || packed[bytes - 1] >> used == 0);
        }
    }
    const uint8_t codes[] = {1, 15, 3};
    uint8_t packed[2];
    dynq_codes_pack(codes, 3, 4, packed);
    cr_assert(packed[0] == 0xF1 && packed[1] == 0x03);
}

Test(format, names_and_bits)
{
    const char *const names[] = {"fp64", "fp32", "fp16", "bf16", "int16", "int8", "int4", "int2"};
    const unsigned bits[] = {64, 32, 16, 16, 16, 8, 4, 2};
    for (unsigned i = 0; i < 8; i++) {
        cr_assert_str_eq(dynq_format_name((dynq_format)(i + 1)), names[i]);
        cr_assert_eq(dynq_format_bits((dynq_format)(i + 1)), bits[i]);
    }
    cr_assert_null(dynq_format_name((dynq_format)0));
    cr_assert_null(dynq_format_name((dynq_format)9));
    cr_assert_eq(dynq_format_bits((dynq_format)9), 0);
}
