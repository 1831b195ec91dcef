#!/usr/bin/env python3
"""Derives the coefficients of kernels/polynomials.h and prints them as C float constants.

Each function is fitted by weighted least squares on Chebyshev nodes; the weights are multiplied by
the error until the largest error stops shrinking (Lawson's iteration), which tends to the minimax
fit. Coefficients are rounded to float one after the other, from the lowest power on, and the rest
is fitted again each time, so that the rounding of one is made up for by the next.
"""
import math

import numpy as np

LAWSON_ROUNDS = 300


def nodes(low, high, count=4001):
    t = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    return low + (high - low) * (t + 1) / 2


def lawson(powers, target, scale):
    """The coefficients a that make max |(powers a - target) * scale| small."""
    weights = np.ones(len(target)) / len(target)
    best, best_error = None, np.inf
    for _ in range(LAWSON_ROUNDS):
        root = np.sqrt(weights) * scale
        system = powers * root[:, None]
        norms = np.sqrt((system**2).sum(axis=0))
        solution = np.linalg.lstsq(system / norms, target * root, rcond=None)[0] / norms
        error = np.abs((powers @ solution - target) * scale)
        if error.max() < best_error:
            best, best_error = solution, error.max()
        weights = weights * (error + 1e-3 * error.max())
        weights /= weights.sum()
    return best


def fit(x, values, scale, fixed, degree):
    """values ~ fixed[0] + fixed[1] x + ... + c x^k + ... up to x^degree, every c a float."""
    known = list(fixed)
    while len(known) <= degree:
        rest = values - sum(c * x**i for i, c in enumerate(known))
        powers = np.stack([x**i for i in range(len(known), degree + 1)], axis=1)
        known.append(float(np.float32(lawson(powers, rest, scale)[0])))
    return known


def evaluate(coefficients, x):
    return sum(c * x**i for i, c in enumerate(coefficients))


def hexadecimal(value):
    mantissa, exponent = float(value).hex().split("p")
    return mantissa.rstrip("0").rstrip(".") + "p" + exponent + "f"


def show(name, coefficients):
    """Highest power first, as Horner's rule takes them."""
    print(name + ": " + ", ".join(hexadecimal(c) for c in reversed(coefficients)))


def main():
    # exp(r) on [-ln2/2, ln2/2], relative error; 1 + r is exact.
    r = nodes(-math.log(2) / 2 * 1.0001, math.log(2) / 2 * 1.0001)
    exp = fit(r, np.exp(r), np.exp(-r), [1.0, 1.0], 6)
    show("exp", [2 * c for c in exp[1:]])
    print(f"    relative error {np.abs(evaluate(exp, r) * np.exp(-r) - 1).max():.2g}")

    # ln 2 as the sum of two floats, the first so short that its product with n is exact.
    high = round(math.log(2) * 2**15) / 2**15
    low = float(np.float32(math.log(2) - high))
    print(f"ln2: {hexadecimal(high)} + {hexadecimal(low)}")
    print(f"log2(e): {hexadecimal(np.float32(1 / math.log(2)))}")

    # Phi(y) for y <= 0, as max(p, 0)^4 of a polynomial p in y, which must keep falling below its
    # zero. With root = Phi(y)^(1/4), p^4 - Phi = (p - root) (p + root) (p^2 + root^2), whose last
    # factors are taken from the round before. Weighted by |y|, as in gelu, but not below 1/2, so that
    # Phi itself is known where y is near 0.
    y = nodes(-5.7, 0)
    phi = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in y])
    root = phi**0.25
    powers = np.stack([y**i for i in range(9)], axis=1)
    p = root
    for _ in range(10):
        scale = np.maximum(-y, 0.5) * (p + root) * (p**2 + root**2)
        p = powers @ lawson(powers, root, scale)
    tail = fit(y, root, scale, [], 8)
    show("tail", tail)
    error = np.abs(np.maximum(evaluate(tail, y), 0) ** 4 - phi)
    print(f"    absolute error of y Phi(y) {(-y * error).max():.2g}, of Phi(y) {error.max():.2g}")
    assert (np.diff(evaluate(tail, np.linspace(-1000, 0, 1000001))) > 0).all()

    # 2^(t - 1) / t for a mantissa t from 1 to 2: what takes the line between two powers of two, which
    # a float with a fixed-point number for its bits is, to the exponential function.
    t = nodes(1, 2)
    bend = 2 ** (t - 1) / t
    power = fit(t, bend, 1 / bend, [], 3)
    show("2^(t-1) / t", power)
    print(f"    relative error {np.abs(evaluate(power, t) / bend - 1).max():.2g}")


if __name__ == "__main__":
    main()
