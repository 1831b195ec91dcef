"""Writes quantizer.txt, the expected results of dynq/quantizer.h, with numpy.

    python3 tests/golden/quantizer.py

Written from the formulas of the header alone: whole arrays, one value of min and max per element,
where the library walks sets. Floats stand in the file as the hexadecimal of their bits:

    input ROWS COLUMNS bits...
    case INPUT MAPPING GRANULARITY BITS GROUP_SIZE SETS
    params (scale bits, factor bits, zero)...      one triple per set
    codes q...
    restored bits...
"""

import os
import warnings

import numpy as np

F32 = np.float32
TINY = float(np.finfo(F32).tiny)
LARGEST = float(np.finfo(F32).max)
ROWS, COLUMNS = 4, 6
GROUP = 4
MINMAX, SYMMETRIC, AFFINE = 1, 2, 3
TENSOR, ROW, COLUMN, PER_GROUP, ELEMENT = 1, 2, 3, 4, 5


def inputs():
    draw = np.random.default_rng(20240501)
    normal = draw.normal(0, 3, (ROWS, COLUMNS)).astype(F32)
    positive = draw.uniform(2, 9, (ROWS, COLUMNS)).astype(F32)
    huge = (draw.uniform(-1, 1, (ROWS, COLUMNS)) * LARGEST).astype(F32)
    huge[0, 0], huge[3, 5] = LARGEST, -LARGEST
    mixed = draw.normal(0, 1, (ROWS, COLUMNS)).astype(F32)
    mixed[0] = 0
    mixed[1] = 1e-41
    mixed[2] = -2.5
    mixed[:, 3] *= F32(1e-30)
    return [normal, positive, huge, mixed]


def set_numbers(granularity):
    row, column = np.indices((ROWS, COLUMNS))
    groups = -(-COLUMNS // GROUP)
    return {
        TENSOR: row * 0,
        ROW: row,
        COLUMN: column,
        PER_GROUP: row * groups + column // GROUP,
        ELEMENT: row * COLUMNS + column,
    }[granularity]


def parameters(x, numbers, mapping, bits):
    levels, top = 2.0**bits - 1, 2.0 ** (bits - 1) - 1
    scale, factor, zero = [], [], []
    for members in (x[numbers == s].astype(np.float64) for s in range(numbers.max() + 1)):
        low, high = members.min(), members.max()
        if mapping == SYMMETRIC:
            peak = np.abs(members).max()
            usable = peak / top >= TINY
            this_factor = F32(top / peak) if usable else F32(1)
            this_scale = F32(min(1 / np.float64(this_factor), LARGEST))
        else:
            if mapping == AFFINE:
                low, high = min(low, 0.0), max(high, 0.0)
            step = (high - low) / levels
            usable = step >= TINY
            this_scale = F32(step) if usable else F32(1)
            this_factor = F32(1 / step) if usable else F32(1)
        scale.append(this_scale)
        factor.append(this_factor)
        bottom = -(2.0 ** (bits - 1))
        has_zero = mapping == AFFINE and usable
        zero.append(int(np.clip(np.round(bottom - low / step), bottom, top)) if has_zero else 0)
    return np.array(scale), np.array(factor), np.array(zero)


def codes(x, scale, factor, zero, mapping, bits):
    top = 2 ** (bits - 1) - 1
    bottom = -top if mapping == SYMMETRIC else -top - 1
    steps = x * factor if mapping == SYMMETRIC else x / scale
    assert steps.dtype == F32
    return np.clip(np.round(steps).astype(np.float64) + zero, bottom, top).astype(np.int16)


def restore(q, scale, factor, zero, mapping):
    if mapping == SYMMETRIC:
        exact = q.astype(np.float64) / factor.astype(np.float64)
    else:
        exact = (q.astype(np.float64) - zero) * scale.astype(np.float64)
    return np.clip(exact, -LARGEST, LARGEST).astype(F32)


def hexadecimal(floats):
    return " ".join(f"{bits:x}" for bits in np.ravel(floats).view(np.uint32))


def case_lines(index, x, mapping, granularity, bits):
    numbers = set_numbers(granularity)
    per_set = parameters(x, numbers, mapping, bits)
    scale, factor, zero = (p[numbers] for p in per_set)
    q = codes(x, scale, factor, zero, mapping, bits)
    triples = (f"{hexadecimal(s)} {hexadecimal(f)} {z}" for s, f, z in zip(*per_set))
    return [
        f"case {index} {mapping} {granularity} {bits} {GROUP} {numbers.max() + 1}",
        "params " + " ".join(triples),
        "codes " + " ".join(map(str, q.ravel())),
        "restored " + hexadecimal(restore(q, scale, factor, zero, mapping)),
    ]


def main():
    warnings.simplefilter("ignore")  # the huge input overflows on purpose
    arrays = inputs()
    lines = [f"input {ROWS} {COLUMNS} {hexadecimal(x)}" for x in arrays]
    index = 0
    for mapping in (MINMAX, SYMMETRIC, AFFINE):
        for granularity in (TENSOR, ROW, COLUMN, PER_GROUP, ELEMENT):
            for bits in (2, 3, 4, 5, 6, 7, 8, 16):
                lines += case_lines(index, arrays[index], mapping, granularity, bits)
                index = (index + 1) % len(arrays)
            index = (index + 1) % len(arrays)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "quantizer.txt")
    with open(path, "w", encoding="ascii") as out:
        out.write("\n".join(lines) + "\n")


main()
