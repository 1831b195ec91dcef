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

    # log(Phi(y)) for y <= 0, the constant being the float nearest to log(1/2). The error of Phi is Phi
    # times the error of its logarithm; the power 0.7 gives the tail, which the range down to where
    # exp gives 0 would otherwise not have at all, a share. The polynomial must keep falling beyond.
    y = nodes(-13.1, 0)
    phi = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in y])
    log_phi = fit(y, np.log(phi), phi**0.7, [float(np.float32(math.log(0.5)))], 8)
    show("log Phi", log_phi)
    error = np.abs(np.exp(evaluate(log_phi, y)) - phi)
    print(f"    absolute error of Phi {error.max():.2g}")
    wide = evaluate(log_phi, np.linspace(-1000, 0, 1000001))
    assert (np.diff(wide) > 0).all() and evaluate(log_phi, -13.1) < -87

    # 2^(t - 1) / t for a mantissa t from 1 to 2: what takes the line between two powers of two, which
    # a float with a fixed-point number for its bits is, to the exponential function.
    t = nodes(1, 2)
    bend = 2 ** (t - 1) / t
    power = fit(t, bend, 1 / bend, [], 3)
    show("2^(t-1) / t", power)
    print(f"    relative error {np.abs(evaluate(power, t) / bend - 1).max():.2g}")


if __name__ == "__main__":
    main()
