"""Writes compare.txt, the expected measures of dynq/compare.h, with numpy.

    python3 tests/golden/compare.py

Each case is a line "case ROWS COLUMNS", the bits of the reference and of the value in hexadecimal,
and a line of seven measures (nan and inf as such) in the order of dynq_metrics_summary.
"""

import os

import numpy as np


def pairs():
    draw = np.random.default_rng(7)
    normal = draw.normal(0, 2, (5, 8))
    yield normal, normal + draw.normal(0, 0.05, normal.shape)
    wide = draw.normal(0, 1, (3, 11)) * 10.0 ** draw.integers(-30, 30, (3, 11))
    yield wide, wide * (1 + draw.normal(0, 0.3, wide.shape))
    sparse = normal * (draw.uniform(0, 1, normal.shape) < 0.5)
    sparse[2] = 0
    yield sparse, sparse + draw.normal(0, 0.3, normal.shape)
    yield np.round(normal), np.round(normal * 0.8)
    yield normal, -normal
    yield normal, normal
    yield np.zeros((2, 3)), np.ones((2, 3))
    yield np.zeros((1, 1)), np.zeros((1, 1))


def measures(reference, value):
    r, v = reference.astype(np.float64), value.astype(np.float64)
    error = np.abs(v - r)
    signal, noise = np.sum(np.square(r)), np.sum(np.square(error))
    norms = np.linalg.norm(r, axis=1) * np.linalg.norm(v, axis=1)
    cosines = (np.sum(r * v, axis=1) / norms)[norms > 0]
    percent = 100 * (error / np.abs(r))[r != 0]
    return [
        10 * np.log10(signal / noise) if signal > 0 else np.nan,
        cosines.mean() if cosines.size else np.nan,
        cosines.min() if cosines.size else np.nan,
        error.max(),
        error.mean(),
        percent.mean() if percent.size else np.nan,
        np.mean(r.argmax(axis=1) == v.argmax(axis=1)),
    ]


def main():
    lines = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for reference, value in pairs():
            reference, value = reference.astype(np.float32), value.astype(np.float32)
            lines.append("case %d %d" % reference.shape)
            for array in (reference, value):
                lines.append(" ".join(f"{bits:x}" for bits in array.ravel().view(np.uint32)))
            lines.append(" ".join(f"{m:.17g}" for m in measures(reference, value)))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compare.txt")
    with open(path, "w", encoding="ascii") as out:
        out.write("\n".join(lines) + "\n")


main()
