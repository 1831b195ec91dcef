#!/usr/bin/env python3
"""Writes kernels.txt: what the kernels must compute, by numpy and in float64 where they use floats.

Each entry is a line "name count" and the values in the next line. Inputs are exact floats or
integers; codes and sums are exact results; other results are float64 and have tolerances derived in
test_ref.c.
"""
import math
import pathlib

import numpy as np

RNG = np.random.default_rng(20240611)
ENTRIES = []


def put(name, values):
    flat = np.asarray(values).ravel()
    if flat.dtype == np.float32 or flat.dtype == np.float64:
        text = " ".join(repr(float(v)) for v in flat)
    else:
        text = " ".join(str(int(v)) for v in flat)
    ENTRIES.append(f"{name} {flat.size}\n{text}\n")


def floats(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


ACTIVATIONS = {
    "none": lambda v: v,
    "relu": lambda v: np.maximum(v, 0.0),
    "gelu": np.vectorize(lambda v: 0.5 * v * math.erfc(-v / math.sqrt(2.0))),
    "tanh": np.tanh,
    "sigmoid": lambda v: 1.0 / (1.0 + np.exp(-v)),
    "gelu_tanh": lambda v: 0.5 * v * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (v + 0.044715 * v**3))),
}


def quantize(name, x, inverse, zero, qmin):
    """The product is the only rounding before rne, so numpy's float32 gives the exact codes."""
    scaled = x * inverse[:, None].astype(np.float32)
    assert scaled.dtype == np.float32
    low, high = (qmin - zero)[:, None], (255 - zero)[:, None]
    put(f"{name}_x", x)
    put(f"{name}_inverse", inverse)
    put(f"{name}_zero", zero)
    put(f"{name}_codes", np.rint(np.clip(scaled, low, high)).astype(np.int64) + zero[:, None])


def quantize_cases():
    corners = np.array([0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 1e-45, 3e38, -3e38, 126.5,
                        127.5, -126.5, -127.5, 154.5, 155.5, 1e-3], dtype=np.float32)
    x = np.stack([corners, floats(18, scale=60), floats(18, scale=1e-3)])
    inverse = np.array([1.0, 0.7306, 41234.5], dtype=np.float32)
    quantize("affine", x, inverse, np.array([100, 0, 255]), 0)
    quantize("symmetric", x, inverse, np.array([128, 128, 128]), 1)


def gemm_s8_case(rows=3, k=70, columns=19):
    q = RNG.integers(0, 256, (rows, k))
    w = RNG.integers(-127, 128, (columns, k))
    q[0], w[0] = 255, 127
    w[1] = -127
    zero = np.array([0, 131, 255])
    row_scale = np.array([0.0123, 0.5, 3e-5], dtype=np.float32)
    column_scale = np.abs(floats(columns, scale=0.01))
    bias, residual = floats(columns), floats(rows, columns)
    sums = q @ w.T
    acc = sums - zero[:, None] * w.sum(axis=1)[None, :]
    v = acc * (row_scale[:, None].astype(np.float64) * column_scale.astype(np.float64))
    v = v + bias.astype(np.float64)
    put("s8_q", q)
    put("s8_w", w)
    put("s8_zero", zero)
    put("s8_row_scale", row_scale)
    put("s8_column_scale", column_scale)
    put("s8_column_sum", w.sum(axis=1))
    put("s8_bias", bias)
    put("s8_residual", residual)
    put("s8_sums", sums)
    put("s8_magnitude", np.abs(v - bias) + np.abs(bias))
    for name, function in ACTIVATIONS.items():
        put(f"s8_{name}", function(v) + residual)


def gemm_f32_case(rows=2, k=37, columns=19):
    x, w = floats(rows, k), floats(columns, k, scale=0.3)
    bias, residual = floats(columns), floats(rows, columns)
    wide_x, wide_w = x.astype(np.float64), w.astype(np.float64)
    products = wide_x @ wide_w.T
    put("f32_x", x)
    put("f32_w", w)
    put("f32_bias", bias)
    put("f32_residual", residual)
    put("f32_products", products)
    put("f32_magnitude", np.abs(wide_x) @ np.abs(wide_w).T + np.abs(bias))
    for name, function in ACTIVATIONS.items():
        put(f"f32_{name}", function(products + bias) + residual)


def row_cases(rows=4, columns=37):
    x = floats(rows, columns, scale=4.0)
    x[1] *= 30
    x[2] = 7.25
    x[3] += 1000
    wide = x.astype(np.float64)
    put("rows_x", x)

    e = np.exp(wide - wide.max(axis=1, keepdims=True))
    put("softmax", e / e.sum(axis=1, keepdims=True))

    weight, bias, epsilon = floats(columns), floats(columns), np.float32(1e-5)
    mean = wide.mean(axis=1, keepdims=True)
    variance = ((wide - mean) ** 2).mean(axis=1, keepdims=True)
    put("norm_weight", weight)
    put("norm_bias", bias)
    put("norm_epsilon", epsilon)
    put("norm_inverse_deviation", 1 / np.sqrt(variance + float(epsilon)))
    put("norm", (wide - mean) / np.sqrt(variance + float(epsilon)) * weight + bias)


def main():
    quantize_cases()
    gemm_s8_case()
    gemm_f32_case()
    row_cases()
    pathlib.Path(__file__).with_name("kernels.txt").write_text("".join(ENTRIES))


if __name__ == "__main__":
    main()
