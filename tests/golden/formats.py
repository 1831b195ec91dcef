"""Writes formats.txt: digests of what numpy and ml_dtypes make of the floats of test_format.c.

    python3 tests/golden/formats.py > tests/golden/formats.txt

Both sides make the same numbers from a counter, so that the results of ten million of them are
compared and none of them is kept: a digest is the sum of a hash of each result and its place. A
line is a conversion and its digest.

NaN is made here by the rule of dynq/format.h, because numpy keeps or quiets one as the machine does
and ml_dtypes makes one of all; that they give a NaN of the same sign is checked.
"""

import ml_dtypes
import numpy as np

BLOCK = 1 << 20
COUNT = 10_000_000
U16, U32, U64 = np.uint16, np.uint32, np.uint64


def hashed(x):
    """Steele and others' mix of 64 bits."""
    x = (x ^ (x >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> U64(27))) * U64(0x94D049BB133111EB)
    return x ^ (x >> U64(31))


def floats(i):
    """Bits of float number i. Of eight, four are any bits, one is a tie of normal halves or a
    neighbour of one, one of subnormal halves, one of bfloats, one is subnormal, Inf or NaN."""
    x = hashed(i)
    low = x.astype(U32)
    high = (x >> U64(32)).astype(U32)
    sign = low & U32(0x80000000)
    aside = high % U32(3) - U32(1)
    half = ((low % U32(32) + U32(112)) << U32(23) | (low & U32(0x7FE000)) | U32(0x1000)) + aside
    odd = (low % U32(1024) * U32(2) + U32(1)).astype(np.float32) * np.float32(2.0**-25)
    subnormal_half = odd.view(U32) + aside
    brain = (low & U32(0x7FFF0000) | U32(0x8000)) + aside
    edge = np.where(high % U32(2) == 0, U32(0), U32(0x7F800000)) | low & U32(0x7FFFFF)
    edge = np.where(high % U32(64) == 0, edge & U32(0xFF800000), edge)
    kind = i % U64(8)
    bits = np.select(
        [kind == 4, kind == 5, kind == 6, kind == 7],
        [sign | half, sign | subnormal_half, sign | brain, sign | edge],
        low,
    )
    return bits


def doubles(i):
    """Bits of double number i: any, or around the range of floats, or ties of floats."""
    x = hashed(i)
    exponent = x % U64(340) + U64(850)
    around = x & U64(0x800FFFFFFFFFFFFF) | exponent << U64(52)
    tie = (around & ~U64(0x3FFFFFFF) | (x >> U64(7) & U64(1)) << U64(29) | U64(0x10000000)) + (
        x >> U64(11) & U64(3)
    ) - U64(1)
    short = around & ~(U64(0xFFFFFFFFFFFFFFFF) >> U64(12) + x % U64(29))
    special = x | U64(0x7FF0000000000000)
    kind = i % U64(8)
    return np.select([kind < 2, kind < 4, kind == 4, kind == 7], [around, tie, short, special], x)


def with_nan(result, source, source_nan, made):
    """`result` with the NaN that the rule makes. `made` is an array of every number's."""
    assert np.array_equal(np.isnan(result), source_nan)
    bits = result.view(made.dtype)
    top = made.dtype.type(8 * made.dtype.itemsize - 1)
    assert np.array_equal(bits[source_nan] >> top, made[source_nan] >> top)
    return np.where(source_nan, made, bits)


def fp16_from_fp32(bits):
    x = bits.view(np.float32)
    made = bits >> U32(16) & U32(0x8000) | U32(0x7E00) | bits >> U32(13) & U32(0x3FF)
    return with_nan(x.astype(np.float16), x, np.isnan(x), made.astype(U16))


def bf16_from_fp32(bits):
    x = bits.view(np.float32)
    made = bits >> U32(16) | U32(0x40)
    return with_nan(x.astype(ml_dtypes.bfloat16), x, np.isnan(x), made.astype(U16))


def fp32_from_fp64(bits):
    x = bits.view(np.float64)
    upper = (bits >> U64(32)).astype(U32) & U32(0x80000000)
    made = upper | U32(0x7FC00000) | (bits >> U64(29)).astype(U32) & U32(0x7FFFFF)
    return with_nan(x.astype(np.float32), x, np.isnan(x), made)


def fp64_from_fp32(bits):
    x = bits.view(np.float32)
    wide = bits.astype(U64)
    made = (wide & U64(0x80000000)) << U64(32) | U64(0x7FF) << U64(52)
    made |= (wide & U64(0x7FFFFF)) << U64(29)
    return with_nan(x.astype(np.float64), x, np.isnan(x), made)


def fp32_from_fp16(bits):
    x = bits.view(np.float16)
    wide = bits.astype(U32)
    made = (wide & U32(0x8000)) << U32(16) | U32(0x7F800000) | (wide & U32(0x3FF)) << U32(13)
    return with_nan(x.astype(np.float32), x, np.isnan(x), made)


def fp32_from_bf16(bits):
    x = bits.view(ml_dtypes.bfloat16)
    return with_nan(x.astype(np.float32), x, np.isnan(x), bits.astype(U32) << U32(16))


def digest(convert, make, count):
    total = U64(0)
    for start in range(0, count, BLOCK):
        i = np.arange(start, min(start + BLOCK, count), dtype=U64)
        result = convert(make(i)).astype(U64)
        total += hashed(result + i * U64(0x9E3779B97F4A7C15)).sum()
    return int(total)


def main():
    np.seterr(all="ignore")
    for convert, make, count in (
        (fp32_from_fp16, lambda i: i.astype(U16), 65536),
        (fp32_from_bf16, lambda i: i.astype(U16), 65536),
        (fp16_from_fp32, floats, COUNT),
        (bf16_from_fp32, floats, COUNT),
        (fp64_from_fp32, floats, COUNT),
        (fp32_from_fp64, doubles, COUNT),
    ):
        print(convert.__name__, f"{digest(convert, make, count):016x}")


if __name__ == "__main__":
    main()
