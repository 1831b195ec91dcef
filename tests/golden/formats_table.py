"""Writes formats_table.txt: what numpy says every format makes of the tensor of test_formats.c.

    python3 tests/golden/formats_table.py > tests/golden/formats_table.txt

The tensor is made of a hash, as the test makes it. Lines: format, scaling ("-" for floats), SQNR in
dB, cosine, largest error, least and largest scale (of floats 0), bytes.
"""

import ml_dtypes
import numpy as np

ROWS, COLUMNS, GROUP = 24, 70, 32
F16, F32, F64, U64 = np.float16, np.float32, np.float64, np.uint64


def hashed(x):
    x = (x ^ (x >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> U64(27))) * U64(0x94D049BB133111EB)
    return x ^ (x >> U64(31))


def tensor():
    """Numbers of 53 bits, some rows small, one row of zeros, one outlier."""
    i = np.arange(ROWS * COLUMNS, dtype=U64)
    x = (hashed(i) >> U64(11)).astype(F64) * 2.0**-53 - 0.5
    x = x.reshape(ROWS, COLUMNS) * 2.0 ** -(np.arange(ROWS)[:, None] % 9)
    x[5] = 0
    x[7, 3] = 3.75
    return x


def scales(x, scaling, top):
    """For each element."""
    largest = np.abs(x).max(axis=1, keepdims=True)
    column = (largest / top).astype(F32)
    if scaling == "tensor":
        return np.full(x.shape, (largest.max() / top).astype(F32), F32).astype(F64)
    if scaling == "column":
        return np.broadcast_to(column, x.shape).astype(F64)
    result = np.zeros(x.shape)
    for first in range(0, COLUMNS, GROUP):
        part = x[:, first : first + GROUP]
        own = (np.abs(part).max(axis=1, keepdims=True) / top).astype(F32)
        exact = np.divide(own, column, out=np.zeros_like(own), where=column > 0)
        factor = exact.astype(F16)
        factor = np.where(factor.astype(F32) < exact, np.nextafter(factor, F16(np.inf)), factor)
        result[:, first : first + GROUP] = factor.astype(F64) * column.astype(F64)
    return result


def print_line(name, scaling, x, restored, scale, size):
    error = x - restored
    noise = (error**2).sum()
    sqnr = 10 * np.log10((x**2).sum() / noise) if noise > 0 else np.inf
    cosine = (x * restored).sum() / np.sqrt((x**2).sum()) / np.sqrt((restored**2).sum())
    above = scale[scale > 0] if scale is not None else np.zeros(1)
    print(name, scaling, f"{sqnr:.9f} {cosine:.12f} {np.abs(error).max():.12g}",
          f"{above.min():.12g} {above.max():.12g} {size}")


def main():
    x = tensor()
    single = x.astype(F32)
    for name, stored in (
        ("fp64", x),
        ("fp32", single),
        ("fp16", single.astype(F16)),
        ("bf16", single.astype(ml_dtypes.bfloat16)),
    ):
        print_line(name, "-", x, stored.astype(F64), None, stored.nbytes)
    for bits in (16, 8, 4, 2):
        top = 2.0 ** (bits - 1) - 1
        for scaling in ("tensor", "column", "groups"):
            scale = scales(x, scaling, top)
            quotient = np.divide(x, scale, out=np.zeros_like(x), where=scale > 0)
            restored = np.rint(np.clip(quotient, -top, top)) * scale
            size = x.size * bits // 8 + (4 if scaling == "tensor" else 4 * ROWS)
            size += 2 * ROWS * -(-COLUMNS // GROUP) if scaling == "groups" else 0
            print_line(f"int{bits}", scaling, x, restored, scale, size)


if __name__ == "__main__":
    main()
