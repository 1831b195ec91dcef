"""Every scheme of quantization on the sentence encoder: bytes, time, cosines; a table and a picture.

    schemes.py MODEL LINES CALIBRATION_LINES [--picture FILE.svg] [--only PATTERN] [--rounds N]

MODEL is the FP32 encoder, from `dynq convert`. Each scheme is made with `dynq quantize`, which is in
the build folder that DYNQ_BUILD names, as is the library that is timed. Cosines are between the
embeddings of LINES and those of FP32; times are medians over rounds in which all schemes take turns,
on one thread, of one text of 16 and one of 128 tokens; that of FP32 is the fastest engine's."""

import argparse
import fnmatch
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import dynq_c

INT4_GROUPS = "--weights int4 --weight-granularity group-32 --granularity row"
INT2_GROUPS = "--weights int2 --weight-granularity group-32 --granularity row"
SCHEMES = [  # name, switches of dynq quantize, whether these want calibration lines
    ("FP32", None, False),
    ("FP16 weights", "--weights fp16", False),
    ("BF16 weights", "--weights bf16", False),
    ("INT16", "--weights int16 --granularity row", False),
    ("INT8 static (mse)", "--ranges static --method mse", True),
    ("INT8 segment", "", False),
    ("INT8 row", "--granularity row", False),
    ("INT8 row, tensor scale", "--granularity row --weight-granularity tensor", False),
    ("INT8 row, groups of 32", "--granularity row --weight-granularity group-32", False),
    ("INT8 row, feedback", "--granularity row --feedback", True),
    ("INT8 row, smooth", "--granularity row --smooth", True),
    ("INT8 row, smooth, feedback", "--granularity row --smooth --feedback", True),
    ("INT4", "--weights int4 --granularity row", False),
    ("INT4, log", "--weights int4 --granularity row --levels log", False),
    ("INT4, clusters", "--weights int4 --granularity row --levels clusters", True),
    ("INT4, feedback", "--weights int4 --granularity row --feedback", True),
    ("INT4, groups of 128", "--weights int4 --weight-granularity group-128 --granularity row", False),
    ("INT4, groups of 32", INT4_GROUPS, False),
    ("INT4, groups of 32, log", INT4_GROUPS + " --levels log", False),
    ("INT4, groups of 32, clusters", INT4_GROUPS + " --levels clusters", True),
    ("INT4, groups of 32, feedback", INT4_GROUPS + " --feedback", True),
    ("INT4, groups of 32, clusters, feedback", INT4_GROUPS + " --levels clusters --feedback", True),
    ("INT4, groups of 32, clusters, smooth, feedback",
     INT4_GROUPS + " --levels clusters --smooth --feedback", True),
    ("INT2, clusters, feedback", "--weights int2 --granularity row --levels clusters --feedback",
     True),
    ("INT2, groups of 32", INT2_GROUPS, False),
    ("INT2, groups of 32, clusters, feedback", INT2_GROUPS + " --levels clusters --feedback", True),
]
CELLS = (16, 128)


class Scheme:
    """A model file and what was found of it."""

    def __init__(self, name, path):
        self.name, self.path = name, path
        self.bytes = os.path.getsize(path)
        self.samples = {}
        self.mean = self.worst = 1.0

    def ms(self, tokens):
        """The median, on the fastest engine if there are several."""
        return 1e3 * min(statistics.median(samples) for (_, length), samples in
                         self.samples.items() if length == tokens)


def dynq(*arguments):
    command = [os.path.join(os.environ["DYNQ_BUILD"], "tools/dynq"), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make(args, folder):
    """The schemes whose names match, FP32 first."""
    schemes = [Scheme("FP32", args.model)]
    for number, (name, switches, calibrated) in enumerate(SCHEMES[1:]):
        if fnmatch.fnmatch(name, args.only):
            path = os.path.join(folder, f"{number}.safetensors")
            data = ["--calibration-data", args.calibration] if calibrated else []
            print(f"making {name}", file=sys.stderr)
            dynq("quantize", args.model, "-o", path, "-q", *switches.split(), *data)
            schemes.append(Scheme(name, path))
    return schemes


def compare(args, folder, schemes):
    """Fills in the cosines."""
    reference = None
    for scheme in schemes:
        path = os.path.join(folder, "embeddings.npy")
        dynq("embed", scheme.path, args.lines, "-o", path, "-q")
        found = np.load(path).astype(np.float64)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        reference = found if reference is None else reference
        cosines = (found * reference).sum(axis=1)
        scheme.mean, scheme.worst = cosines.mean(), cosines.min()


def measure(args, schemes):
    """Fills in the times."""
    library = dynq_c.Library()
    calls = []
    for scheme in schemes:
        for engine in (None, "openblas", "onednn") if scheme is schemes[0] else (None,):
            for tokens in CELLS:
                ids = np.resize(np.arange(2000, 2256, dtype=np.int32), tokens)
                run = dynq_c.Encoder(library, scheme.path, 1, engine).prepare([ids])
                begin = time.perf_counter()
                run()
                run()
                once = (time.perf_counter() - begin) / 2
                samples = scheme.samples.setdefault((engine, tokens), [])
                calls.append((samples, run, max(1, round(args.seconds / once))))
    for number in range(args.rounds):
        for samples, run, count in calls if number % 2 == 0 else reversed(calls):
            begin = time.perf_counter()
            for _ in range(count):
                run()
            samples.append((time.perf_counter() - begin) / count)


def is_best(one, schemes, cost):
    """Whether no other scheme is at least as good in both and better in one."""
    return not any(
        other.mean >= one.mean and cost(other) <= cost(one) and
        (other.mean > one.mean or cost(other) < cost(one)) for other in schemes)


def print_table(schemes):
    fp32 = schemes[0]
    print("| scheme | MB | of FP32 | speed, 16 tokens | 128 tokens | cosine mean | worst | best |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in schemes:
        best = [name for name, cost in (("bytes", lambda s: s.bytes), ("16", lambda s: s.ms(16)),
                                        ("128", lambda s: s.ms(128)))
                if is_best(one, schemes, cost)]
        print(f"| {one.name} | {one.bytes / 1e6:.1f} | {100 * one.bytes / fp32.bytes:.0f} % "
              f"| {fp32.ms(16) / one.ms(16):.2f} | {fp32.ms(128) / one.ms(128):.2f} "
              f"| {one.mean:.5f} | {one.worst:.4f} | {', '.join(best)} |")


def ticks(low, high):
    """Powers of two from one at or below `low` to one at or above `high`."""
    return [2.0 ** power for power in range(int(np.floor(np.log2(low))), int(np.ceil(np.log2(high))) + 1)]


def draw(schemes, path):
    """The Pareto picture, both axes logarithmic: 1 - mean cosine against bytes and against time."""
    shown = [one for one in schemes if one.mean < 1]
    panels = [("MB", lambda s: s.bytes / 1e6), ("time of 128 tokens, FP32 = 1",
                                                lambda s: s.ms(128) / schemes[0].ms(128))]
    errors = [np.log10(1 - one.mean) for one in shown]
    low, high = np.floor(min(errors)), np.ceil(max(errors))
    width, height, left, top, gap = 430, 460, 56, 34, 70
    total, tall = left + 2 * width + gap + 16, height + 110 + 20 * ((len(shown) + 1) // 2)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {tall}" '
             'font-family="sans-serif" font-size="12">',
             f'<rect width="{total}" height="{tall}" fill="#fff"/>']
    for index, (label, cost) in enumerate(panels):
        x0 = left + index * (width + gap)
        marks = ticks(min(map(cost, shown)), max(map(cost, shown)))

        def across(value, marks=marks, x0=x0):
            return x0 + width * np.log2(value / marks[0]) / np.log2(marks[-1] / marks[0])

        def place(one, cost=cost, across=across):
            share = (np.log10(1 - one.mean) - low) / (high - low)
            return across(cost(one)), top + height * (1 - share)

        lines.append(f'<text x="{x0}" y="{top - 14}" font-weight="bold">1 - mean cosine against '
                     f'{label}</text>')
        for power in range(int(low), int(high) + 1):
            y = top + height * (1 - (power - low) / (high - low))
            lines.append(f'<path d="M{x0} {y:.1f}h{width}" stroke="#ddd"/>'
                         f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end">1e{power}</text>')
        for mark in marks:
            lines.append(f'<path d="M{across(mark):.1f} {top}v{height}" stroke="#eee"/>'
                         f'<text x="{across(mark):.1f}" y="{top + height + 18}" '
                         f'text-anchor="middle">{mark:g}</text>')
        best = sorted((one for one in shown if is_best(one, shown, cost)), key=cost)
        points = " ".join("%.1f,%.1f" % place(one) for one in best)
        lines.append(f'<polyline points="{points}" fill="none" stroke="#c60" stroke-width="1.5"/>')
        for one in sorted(shown, key=best.__contains__):
            x, y = place(one)
            colour = "#c60" if one in best else "#579"
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="{colour}" '
                         'fill-opacity=".85"/>'
                         f'<text x="{x:.1f}" y="{y + 3:.1f}" text-anchor="middle" fill="#fff" '
                         f'font-size="8.5">{shown.index(one) + 1}</text>')
    for number, one in enumerate(shown):
        x = left + (number % 2) * (width + gap)
        y = top + height + 52 + 20 * (number // 2)
        lines.append(f'<text x="{x}" y="{y}">{number + 1}  {one.name}: {one.mean:.5f}</text>')
    lines.append("</svg>")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("model")
    parser.add_argument("lines")
    parser.add_argument("calibration")
    parser.add_argument("--picture")
    parser.add_argument("--only", default="*")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.05)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        schemes = make(args, folder)
        compare(args, folder, schemes)
        measure(args, schemes)
        print_table(schemes)
        if args.picture:
            draw(schemes, args.picture)


if __name__ == "__main__":
    main()
