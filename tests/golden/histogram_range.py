#!/usr/bin/env python3
"""Writes histogram_range.txt: distributions and the ranges that independent implementations choose.

    histogram_range.py [--check]    needs numpy and onnxruntime; --check also a C compiler

Three implementations stand against src/histogram_range.c:
- percentile: numpy.quantile on the data themselves, and onnxruntime's HistogramCollector;
- entropy: divergences below, bin by bin as in the talk of TensorRT; onnxruntime's are another method,
  see ort_entropy();
- MSE: brute force over ranges, each with every element rounded to its code.
--check compiles src/histogram_range.c and holds it against all of them on the data; the unit test
histogram_range_golden holds it against what is written.
AFFINE and SYMMETRIC are values of dynq_scheme, METHODS of dynq_calibration_method.
"""
import contextlib
import ctypes
import io
import pathlib
import subprocess
import sys
import tempfile
from fractions import Fraction

import numpy as np
from onnxruntime.quantization.calibrate import HistogramCollector

BINS = 2048
LEVELS = 128
COUNT = 60007  # no percentage of it is whole: onnxruntime leaves out one fewer below than above there
PERCENTILES = ("99", "99.9", "99.99")
HERE = pathlib.Path(__file__).resolve().parent
AFFINE, SYMMETRIC = 1, 2
METHODS = {"entropy": 2, "percentile": 3, "mse": 4}


def distributions():
    rng = np.random.default_rng(6)
    gauss = rng.standard_normal(COUNT)
    gelu = 2.5 * rng.standard_normal(COUNT)
    gelu = 0.5 * gelu * (1 + np.tanh(0.7978845608 * (gelu + 0.044715 * gelu**3)))
    outlier = rng.standard_normal(COUNT)
    outlier[COUNT // 2] = 100
    far = rng.standard_normal(COUNT)
    far[0] = -5000
    few = rng.standard_normal(10)
    sparse = np.where(rng.random(COUNT) < 0.1, rng.standard_normal(COUNT), 0)
    side = rng.random(COUNT) < 0.5
    data = {
        "gaussian": gauss,
        "laplace": rng.laplace(size=COUNT),
        "relu": np.maximum(rng.standard_normal(COUNT), 0),
        "relu mostly zero": np.maximum(rng.standard_normal(COUNT) - 1.5, 0),
        "gelu": gelu,
        "student t 3": rng.standard_t(3, COUNT),
        "student t 5 negative": -np.abs(rng.standard_t(5, COUNT)),
        "cauchy clipped": np.clip(rng.standard_cauchy(COUNT), -200, 200),
        "one outlier": outlier,
        "far outlier": far,
        "bimodal": np.where(side, -4, 3) + 0.5 * rng.standard_normal(COUNT),
        "bimodal uneven": np.where(rng.random(COUNT) < 0.02, 9, -0.5) + 0.3 * gauss,
        "constant": np.full(1000, 0.37),
        "constant negative": np.full(1000, -5.0),
        "uniform": rng.uniform(-1, 1, COUNT),
        "uniform positive": rng.uniform(0, 255, COUNT),
        "log-normal": rng.lognormal(0, 1, COUNT),
        "exponential": rng.exponential(1, COUNT),
        "gamma": rng.gamma(0.3, 1, COUNT),
        "sparse": sparse,
        "nearly all zero": np.where(np.arange(COUNT) == 77, 3, 0),
        "shifted": 3 + rng.standard_normal(COUNT),
        "shifted negative": -20 + rng.standard_normal(COUNT),
        "two-valued": np.where(side, 1, 5),
        "two-valued signs": np.where(side, -0.25, 0.75),
        "pixels": np.round(np.where(side, 0, 255 * rng.beta(2, 0.5, COUNT))) / 255,
        "tiny scale": 1e-30 * rng.standard_normal(COUNT),
        "huge scale": 1e30 * rng.laplace(size=COUNT),
        "few elements": few,
        "softmax": 1 / (1 + np.exp(4 + 3 * rng.standard_normal(COUNT))),
        "normalized with outlying columns": np.where(np.arange(COUNT) % 384 < 3, 15, 1) * gauss,
    }
    return {name: values.astype(np.float32) for name, values in data.items()}


def histogram(values):
    """Counts of negative and positive values by bin of |x|, of zeros, and the limit."""
    magnitude = np.abs(values.astype(np.float64))
    limit = 2.0 ** np.frexp(magnitude.max())[1]
    sides = []
    for side in (values < 0, values > 0):
        bins = np.floor(magnitude[side] / limit * BINS).astype(np.int64)
        sides.append(np.bincount(bins, minlength=BINS))
    return sides[0], sides[1], int((values == 0).sum()), limit


def extremes(values):
    return min(0.0, float(values.min())), max(0.0, float(values.max()))


def cut(values, low, high):
    lo, hi = extremes(values)
    return max(lo, -low), min(hi, high)


def quantile_range(values, percentile, scheme):
    outside = 100 - Fraction(percentile)
    count = len(values)

    def upper(of, leave_out):
        # half an element away from where rounding could choose another one
        return max(0.0, float(np.quantile(of, (count - leave_out - 0.5) / count, method="inverted_cdf")))

    if scheme == SYMMETRIC:
        threshold = upper(np.abs(values), int(outside * count / 100))
        found = cut(values, threshold, threshold)
    else:
        leave_out = int(outside * count / 200)
        found = cut(values, upper(-values, leave_out), upper(values, leave_out))
    return extremes(values) if found == (0.0, 0.0) else found


def entropy_edge(negative, positive):
    """The edge of the least divergence, for each edge straight from the definition."""
    folded = (negative + positive).astype(np.float64)
    folded[0] = folded[1]
    used = int(np.flatnonzero(folded)[-1]) + 1
    divergences = np.full(used + 1, np.inf)
    for edge in range(LEVELS, used + 1):
        reference = folded[:edge].copy()
        reference[-1] += folded[edge:].sum()
        if edge < used and reference[-1] > reference.sum() / 2:
            continue
        level = np.arange(edge) * LEVELS // edge
        filled = reference > 0
        merged = np.bincount(level, folded[:edge], LEVELS)
        spread = np.bincount(level[filled], minlength=LEVELS)
        quantized = np.where(filled, merged[level] / np.maximum(spread[level], 1), 0)
        quantized[filled & (quantized == 0)] = 1e-4
        p = reference[filled] / reference.sum()
        q = quantized[filled] / folded[:edge].sum()
        divergences[edge] = np.sum(p * np.log(p / q))
    return int(np.flatnonzero(divergences <= divergences.min() + 1e-9)[-1])


def ort_collector(values, method, scheme, percentile=99.99):
    """onnxruntime's collector with the bins of the library: it would end them at the largest |x|."""
    collector = HistogramCollector(method, scheme == SYMMETRIC, 2 * BINS, 2 * LEVELS, percentile, "same")
    limit = histogram(values)[3]
    if method == "percentile" and scheme == SYMMETRIC:
        counts, edges = np.histogram(np.abs(values.astype(np.float64)), BINS, range=(0, limit))
    else:
        counts, edges = np.histogram(values.astype(np.float64), 2 * BINS, range=(-limit, limit))
    collector.histogram_dict["x"] = (counts, edges, np.float64(values.min()), np.float64(values.max()), limit)
    return collector


def ort_percentile(values, percentile, scheme):
    """Its upper end is the lower edge of the bin that the library ends above: one bin apart. It
    gives [0, 0] where the library falls back on everything."""
    with contextlib.redirect_stdout(io.StringIO()):
        found = ort_collector(values, "percentile", scheme, float(percentile)).compute_collection_result()
    lo, hi = extremes(values)
    return max(lo, min(0.0, float(found["x"][0]))), min(hi, max(0.0, float(found["x"][1])))


def ort_entropy(values):
    """The threshold on |x| of onnxruntime, in bins: shown, not compared. What it does is not the
    method of the talk: 2 * edge + 1 bins of both signs are divided by 2 * LEVELS, the remainder is
    counted in the last level and left without any counterpart, so that only edges just above a
    multiple of 128 have a fair chance, and exact zeros are counted in the middle bin. It agrees where
    that does not matter."""
    collector = ort_collector(values, "entropy", AFFINE)
    found = collector.get_entropy_threshold(
        (*collector.histogram_dict["x"][:2], np.float64(-np.inf), np.float64(np.inf)), 2 * LEVELS)
    return int(round(float(found[1]) / histogram(values)[3] * BINS))


def actual_error(values, lo, hi, scheme):
    """Mean squared error of the codes, in double."""
    largest = max(-lo, hi)
    step = largest / 127 if scheme == SYMMETRIC else (hi - lo) / 255
    if step == 0:
        return float(np.mean(values**2))
    zero = 128 if scheme == SYMMETRIC else np.rint(-lo / step)
    codes = np.clip(np.rint(values / step) + zero, 1 if scheme == SYMMETRIC else 0, 255)
    return float(np.mean(((codes - zero) * step - values) ** 2))


def best_of(values, ranges, scheme):
    return min((actual_error(values, lo, hi, scheme), lo, hi) for lo, hi in ranges)[1:]


def brute_force(values, scheme):
    """The best range of a grid of ratios: symmetric of a fine one, affine of a coarse and then of a
    fine one around its best."""
    data = values.astype(np.float64)
    lo, hi = extremes(values)
    if scheme == SYMMETRIC:
        ratios = [*(0.98 ** np.arange(400)), *np.linspace(0.05, 1, 200)]
        thresholds = [ratio * max(-lo, hi) for ratio in ratios]
        return best_of(data, [cut(values, threshold, threshold) for threshold in thresholds], scheme)
    coarse = [*(0.88 ** np.arange(44)), 0.0]
    lows = [ratio * lo for ratio in coarse] if lo < 0 else [0.0]
    highs = [ratio * hi for ratio in coarse] if hi > 0 else [0.0]
    best = best_of(data, [(low, high) for low in lows for high in highs], scheme)
    fine = np.linspace(0.88, 1 / 0.88, 21)
    lows = [max(lo, ratio * best[0]) for ratio in fine]
    highs = [min(hi, ratio * best[1]) for ratio in fine]
    return best_of(data, [(lo, hi), best, *((low, high) for low in lows for high in highs)], scheme)


def counts_text(counts):
    """Counts up to the last that is not 0; -n are n bins of 0."""
    words, empty = [], 0
    for count in counts:
        if count == 0:
            empty += 1
            continue
        if empty:
            words.append(str(-empty))
        words.append(str(count))
        empty = 0
    return " ".join(words)


class Choice(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("method", ctypes.c_int), ("percentile", ctypes.c_double),
                ("scheme", ctypes.c_int)]


class Histogram(ctypes.Structure):
    _fields_ = [("limit", ctypes.c_double), ("zeros", ctypes.c_uint64),
                ("negative", ctypes.c_uint64 * BINS), ("positive", ctypes.c_uint64 * BINS)]


def load_library(folder):
    root = HERE.parent.parent
    target = pathlib.Path(folder) / "histogram_range.so"
    subprocess.run(["cc", "-std=c11", "-O2", "-shared", "-fPIC", f"-I{root}", f"-I{root / 'include'}",
                    str(root / "src/histogram_range.c"), "-lm", "-o", str(target)], check=True)
    return ctypes.CDLL(str(target))


def library_range(library, values, method, scheme, percentile=0.0):
    negative, positive, zeros, limit = histogram(values)
    counts = Histogram(limit, zeros, (ctypes.c_uint64 * BINS)(*negative.tolist()),
                       (ctypes.c_uint64 * BINS)(*positive.tolist()))
    choice = Choice(ctypes.sizeof(Choice), METHODS[method], percentile, scheme)
    lo, hi = ctypes.c_float(), ctypes.c_float()
    library.dynq_histogram_range(ctypes.byref(counts), ctypes.c_float(values.min()), ctypes.c_float(values.max()),
                                 ctypes.byref(choice), ctypes.byref(lo), ctypes.byref(hi))
    return lo.value, hi.value


def same(a, b, width):
    return max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= width * (1 + 1e-6)


def expected_ranges(values):
    """By (method, percentile, scheme); and how often onnxruntime has another percentile."""
    negative, positive, _, limit = histogram(values)
    width = limit / BINS
    edge = entropy_edge(negative, positive)
    found, differences = {}, 0
    for scheme in (AFFINE, SYMMETRIC):
        for percentile in PERCENTILES:
            wanted = quantile_range(values, percentile, scheme)
            other = ort_percentile(values, percentile, scheme)
            found["percentile", percentile, scheme] = wanted
            if not same(wanted, other, width) and other != (0.0, 0.0):
                print("BAD onnxruntime's percentile", percentile, scheme, wanted, other, "bin", width)
                differences += 1
        found["entropy", "0", scheme] = cut(values, edge * width, edge * width)
        found["mse", "0", scheme] = brute_force(values, scheme)
    return found, differences


def check(library, name, values, expected):
    failures = 0
    width = histogram(values)[3] / BINS
    data = values.astype(np.float64)
    for (method, percentile, scheme), wanted in expected.items():
        found = library_range(library, values, method, scheme, float(percentile))
        if method == "mse":
            errors = [actual_error(data, *limits, scheme) for limits in (found, wanted)]
            good = errors[0] <= 1.02 * errors[1] + 1e-15 * float(np.mean(data**2))
            note = f"error {errors[0] / errors[1] - 1:+.2%}" if errors[1] > 0 else f"error {errors[0]:g}"
        else:
            good = same(found, wanted, width)
            note = f"{max(abs(found[0] - wanted[0]), abs(found[1] - wanted[1])) / width:.2f} bins off"
        print(f"{'ok ' if good else 'BAD'} {name:32} {method:10} {percentile:5} {scheme} "
              f"{found[0]:12.5g} {found[1]:12.5g}  wanted {wanted[0]:12.5g} {wanted[1]:12.5g}  {note}")
        failures += not good
    return failures


def write_case(out, name, values, expected):
    negative, positive, zeros, limit = histogram(values)
    out.write(f"case {name.replace(' ', '-')}\nlimit {limit.hex()} zeros {zeros}\n")
    out.write(f"seen {float(values.min()).hex()} {float(values.max()).hex()}\n")
    out.write(f"negative {counts_text(negative)} 0\npositive {counts_text(positive)} 0\n")
    out.write(f"ranges {len(expected)}\n")
    for (method, percentile, scheme), (lo, hi) in expected.items():
        out.write(f"{METHODS[method]} {percentile} {scheme} {float(lo).hex()} {float(hi).hex()}\n")


def main():
    checking = "--check" in sys.argv[1:]
    failures = 0
    with tempfile.TemporaryDirectory() as folder, open(HERE / "histogram_range.txt", "w") as out:
        library = load_library(folder) if checking else None
        for name, values in distributions().items():
            expected, differences = expected_ranges(values)
            failures += differences
            write_case(out, name, values, expected)
            edge = entropy_edge(*histogram(values)[:2])
            print(f"    {name}: entropy at bin {edge}, onnxruntime at {ort_entropy(values)}")
            if checking:
                failures += check(library, name, values, expected)
    print("failures:", failures)
    return 1 if failures else 0


sys.exit(main())
