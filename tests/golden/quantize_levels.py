#!/usr/bin/env python3
"""Writes quantize_levels.txt: weights, and what each format makes of them by the largest weight.

Needs numpy. All arithmetic is in float32, one rounding for each operation, as the header of the
library describes it. The weights are 18 columns of 70 inputs; columns 3 and 4 are zero and constant.
"""
import numpy as np

K, N = 70, 18
F = np.float32
TABLES = {
    ("int4", "uniform"): list(range(-8, 8)),
    ("int2", "uniform"): [-3, -1, 1, 3],
    ("int4", "log"): [-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64, 127],
    ("int2", "log"): [-1, 0, 1, 2],
    ("int8", "uniform"): list(range(-127, 128)),
    ("int16", "uniform"): None,
}
GROUPS = {"group-32": 32, "group-64": 64}


def nearest(x, table):
    """Levels nearest to x, ties to the even number."""
    table = np.array(table, F)
    middle = (table[:-1] + table[1:]) * F(0.5)
    odd = np.arange(len(middle)) % 2 == 1
    beyond = (x[..., None] > middle) | ((x[..., None] == middle) & odd)
    return table[beyond.sum(-1)]


def integers(x, high, low):
    return np.rint(np.clip(x, F(low), F(high))).astype(F)


def levels_of(x, name, levels):
    table = TABLES[name, levels]
    if name == "int16":
        return integers(x, 32767, -32767)
    if name == "int8":
        return integers(x, 127, -127)
    if (name, levels) == ("int4", "uniform"):
        return integers(x, 7, -8)
    return nearest(x, table)


def ends(name, levels):
    if name == "int16":
        return F(-32767), F(32767)
    table = TABLES[name, levels]
    return F(table[0]), F(table[-1])


def step_of(w, name, levels, negative):
    """The least step whose levels reach all of w."""
    low, high = ends(name, levels)
    most, least = max(F(0), w.max()), min(F(0), w.min())
    if max(most, -least) < F(2) ** -100:
        return F(0)
    upright = max(most / high, least / low)
    turned = min(least / high, most / low)
    if negative and low != -high and turned < 0 and -turned < upright:
        return turned
    return upright


def zero_step(name, levels):
    return F(2) ** -100 if (name, levels) == ("int2", "uniform") else F(1)


def quantize_block(w, name, levels):
    """One scale, natively above 0."""
    if name in ("int8", "int16"):
        high = ends(name, levels)[1]
        largest = np.abs(w).max()
        if largest < F(2) ** -100:
            return np.zeros_like(w)
        return levels_of(w * (high / largest), name, levels) * (largest / high)
    step = step_of(w, name, levels, False)
    step = zero_step(name, levels) if step == 0 else step
    return levels_of(w / step, name, levels) * step


def quantize_groups(w, name, levels, group):
    result = np.zeros_like(w)
    for c in range(N):
        parts = [slice(i, min(i + group, K)) for i in range(0, K, group)]
        steps = np.array([step_of(w[c, p], name, levels, True) for p in parts], F)
        scale = np.abs(steps).max()
        scale = F(1) if scale == 0 else scale
        steps = (steps / scale).astype(np.float16).astype(F) * scale
        for p, step in zip(parts, steps):
            x = w[c, p] / step if step != 0 else np.zeros_like(w[c, p])
            result[c, p] = levels_of(x, name, levels) * step
    return result


def quantize_affine(w, bits, parts):
    result = np.zeros_like(w)
    high = F(2**bits - 1)
    for p in parts:
        least, most = w[p].min(), w[p].max()
        step = most / high - least / high
        if step < F(2) ** -120:
            result[p] = least
        else:
            result[p] = np.rint(np.clip((w[p] - least) / step, 0, high)) * step + least
    return result


def quantize(w, name, levels, granularity):
    if granularity in GROUPS:
        return quantize_groups(w, name, levels, GROUPS[granularity])
    result = np.zeros_like(w)
    if granularity == "tensor":
        return quantize_block(w, name, levels)
    for c in range(N if granularity == "column" else K):
        at = (c, slice(None)) if granularity == "column" else (slice(None), c)
        result[at] = quantize_block(w[at], name, levels)
    return result


def write(file, values):
    for bits in values.astype(F).view(np.uint32).reshape(-1, 14):
        file.write(" ".join("%08x" % b for b in bits) + "\n")


def main():
    random = np.random.default_rng(7)
    w = (random.standard_normal((N, K)) * np.exp(random.standard_normal((N, 1)))).astype(F)
    w[3] = 0
    w[4] = F(0.3)
    w[5, :35] = 0
    with open("quantize_levels.txt", "w", encoding="ascii") as file:
        write(file, w)
        for name, levels in TABLES:
            for granularity in ("column", "tensor", "group-32", "group-64", "row"):
                if name == "int16" and granularity in GROUPS:
                    continue
                file.write(f"{name} {levels} {granularity}\n")
                write(file, quantize(w, name, levels, granularity))
        for name, bits in (("int8", 8), ("int4", 4), ("int2", 2)):
            file.write(f"{name} affine column\n")
            write(file, quantize_affine(w, bits, [np.s_[c] for c in range(N)]))
            file.write(f"{name} affine group-32\n")
            parts = [np.s_[c, i : i + 32] for c in range(N) for i in range(0, K, 32)]
            write(file, quantize_affine(w, bits, parts))


main()
