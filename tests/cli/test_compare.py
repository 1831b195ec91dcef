"""`dynq compare`."""

import gzip
import math
import os
import struct
import unittest

from cli_support import (REFERENCE, CommandTest, Mlp, floats, read_npy, run_command, write_npy,
                         write_pair)

VARIANT_KEYS = {"name", "accuracy", "top1_agreement", "cosine_mean", "cosine_min", "sqnr_db",
                "max_abs_error", "mean_abs_error", "mean_abs_pct_error", "ms_per_run",
                "weight_bytes", "nodes", "kl", "max_error_at", "batch_effect", "first_below",
                "guilty", "command"}
NODE_KEYS = {"name", "sqnr_db", "cosine", "max_abs_error", "saturated_pct", "own_sqnr_db",
             "headroom_bits"}
USUAL = ["fp32", "int8-static-max", "int8-static-entropy", "int8-static-percentile",
         "int8-static-mse", "int8-static-average", "int8-static-max-symmetric",
         "int8-dynamic-tensor", "int8-dynamic-segment", "int8-dynamic-row",
         "int8-dynamic-segment-symmetric", "int8-dynamic-row-symmetric",
         "int8-dynamic-row-weights-tensor", "int8-static-mse-smooth",
         "int8-dynamic-segment-smooth", "int8-dynamic-row-smooth", "int8-dynamic-row-clip-weights",
         "int8-dynamic-segment-clip-ranges", "int8-dynamic-row-bias",
         "int8-dynamic-row-smooth-bias"]


def largest(row):
    """The first place of the largest element."""
    return row.index(max(row))


def metrics(reference, rows):
    """The measures of the contract in double, from two lists of rows."""
    pairs = [(r, v) for a, b in zip(reference, rows) for r, v in zip(a, b)]
    cosines = [sum(r * v for r, v in zip(a, b)) /
               math.sqrt(sum(r * r for r in a) * sum(v * v for v in b))
               for a, b in zip(reference, rows)]
    noise = sum((v - r) ** 2 for r, v in pairs)
    return {
        "sqnr_db": 10 * math.log10(sum(r * r for r, _ in pairs) / noise) if noise else None,
        "max_abs_error": max(abs(v - r) for r, v in pairs),
        "mean_abs_error": sum(abs(v - r) for r, v in pairs) / len(pairs),
        "mean_abs_pct_error": 100 * sum(abs((v - r) / r) for r, v in pairs) / len(pairs),
        "cosine_mean": sum(cosines) / len(cosines),
        "cosine_min": min(cosines),
        "top1_agreement": sum(largest(a) == largest(b) for a, b in zip(reference, rows)) /
                          len(rows),
    }


class Compare(CommandTest):
    def setUp(self):
        super().setUp()
        right = [largest(self.mlp.answer(row)) for row in self.rows]
        self.classes = [(label + row % 3 % 2) % Mlp.classes for row, label in enumerate(right)]
        self.labels = self.write_labels("labels.idx", self.classes)

    def write_labels(self, name, labels):
        return self.write_bytes(name, struct.pack(">BBBBI", 0, 0, 8, 1, len(labels)) +
                                bytes(labels))

    def compare(self, *arguments):
        return self.succeed_json("compare", *arguments, "--data", self.data, "--repeat", "2")

    def copied(self):
        """The same rows in another file, for numbers that have to agree with other runs."""
        return self.write_bytes("copy.npy", self.read_bytes(self.data))

    def outputs(self, model, *options):
        path = self.path("y.npy")
        self.succeed("run", model, "--input", self.data, "-o", path, "-q", *options)
        return read_npy(path)

    def test_json_keys_and_variants(self):
        report = self.compare(self.model, "--labels", self.labels)
        self.assertEqual(report["schema"], "dynq.compare/1")
        self.assertEqual([variant["name"] for variant in report["variants"]],
                         USUAL)
        for variant in report["variants"]:
            self.assertLessEqual(VARIANT_KEYS, set(variant))
            self.assertEqual([node["name"] for node in variant["nodes"]], ["fc1", "act", "fc2"])
            for node in variant["nodes"]:
                self.assertLessEqual(NODE_KEYS, set(node))
            self.assertGreater(variant["ms_per_run"], 0)
        reference = report["variants"][0]
        self.assertIsNone(reference["sqnr_db"])
        self.assertEqual(reference["top1_agreement"], 1)
        self.assertEqual(reference["max_abs_error"], 0)
        info = self.succeed_json("info", self.model)
        self.assertEqual(reference["weight_bytes"], info["weight_bytes"])
        self.assertIsNone(reference["command"])
        for layer in report["inputs"]:
            self.assertLessEqual({"layer", "value", "producer", "outlier_index", "kurtosis",
                                  "zero_rows", "output_spread", "input_spread"}, set(layer))
        self.assertEqual([layer["producer"] for layer in report["inputs"]], [None, "fc1"])

    def test_nothing_is_held_out_where_nothing_calibrates(self):
        report = self.compare(self.model, "--variants", "int8-dynamic-row,int8-dynamic-tensor")
        self.assertEqual(report["rows"], 100)
        self.assertIsNone(report["calibration"])
        one = self.path("one.npy")
        write_npy(one, self.rows[:1])
        text = self.succeed("compare", self.model, "--data", one, "--repeat", "1", "--variants",
                            "int8-dynamic-row").stdout
        self.assertTrue(text.startswith("1 row of "), text)
        self.assertIn("one row only", self.fail_with(3, "compare", self.model, "--data", one))

    def test_without_labels(self):
        for variant in self.compare(self.model)["variants"]:
            self.assertIsNone(variant["accuracy"])

    def test_first_tenth_calibrates_and_is_left_out(self):
        report = self.compare(self.model)
        self.assertEqual(report["rows"], 90)
        self.assertEqual(report["calibration"],
                         {"data": self.data, "rows": 10, "held_out": 10})
        text = self.succeed("compare", self.model, "--data", self.data, "--repeat", "2").stdout
        self.assertIn("first 10 of the 100 rows, which are left out", " ".join(text.split()))
        report = self.compare(self.model, "--calibration-data", self.copied())
        self.assertEqual(report["rows"], 100)
        self.assertEqual(report["calibration"]["held_out"], 0)
        self.assertIn("flatter", self.fail_with(2, "compare", self.model, "--data", self.data,
                                                "--calibration-data", self.data))

    def test_numbers_against_runs(self):
        """Everything end to end, recomputed from what `dynq run` writes."""
        int8 = self.quantized("--granularity", "row")
        report = self.compare(self.model, int8, "--labels", self.labels, "--engine", "native")
        self.assertEqual([variant["name"] for variant in report["variants"]],
                         ["fp32", "int8-dynamic-row"])
        self.assertIsNone(report["calibration"])
        reference = self.outputs(self.model, "--engine", "native")
        rows = self.outputs(int8)
        variant = report["variants"][1]
        for key, value in metrics(reference, rows).items():
            self.assertAlmostEqual(variant[key], value, delta=1e-9 + 1e-6 * abs(value), msg=key)
        for found, outputs in zip(report["variants"], [reference, rows]):
            right = sum(largest(row) == label for row, label in zip(outputs, self.classes))
            self.assertAlmostEqual(found["accuracy"], right / len(outputs), places=12)
            self.assertLess(0.3, found["accuracy"])
            self.assertLess(found["accuracy"], 0.9)
        last = variant["nodes"][-1]
        self.assertAlmostEqual(last["sqnr_db"], variant["sqnr_db"], places=9)
        self.assertAlmostEqual(last["max_abs_error"], variant["max_abs_error"], places=9)

    def test_scopes_in_memory_are_those_of_files(self):
        made = {variant["name"]: variant for variant in
                self.compare(self.model, "--calibration-data", self.copied())["variants"]}
        for scope in ["tensor", "segment", "row"]:
            file = self.quantized("--granularity", scope, name=scope)
            read = self.compare(self.model, file)["variants"][1]
            self.assertEqual(read["name"], "int8-dynamic-" + scope)
            for key in ["sqnr_db", "cosine_min", "max_abs_error"]:
                self.assertEqual(read[key], made[read["name"]][key], (scope, key))
        static = self.quantized("--ranges", "static", "--calibration", self.calibrated(),
                                name="fixed.safetensors")
        read = self.compare(self.model, static)["variants"][1]
        self.assertEqual(read["name"], "fixed.safetensors")
        self.assertEqual(read["sqnr_db"], made["int8-static-max"]["sqnr_db"])

    def test_saturation(self):
        """Values outside what a few calibration rows had, counted here."""
        few = self.path("few.npy")
        write_npy(few, [[value / 2 for value in row] for row in self.rows[:4]])
        report = self.compare(self.model, "--calibration-data", few)
        values = [value / 2 for row in self.rows[:4] for value in row]
        low, high = min(0, *values), max(0, *values)
        flat = [value for row in self.rows for value in row]
        outside = sum(value < low or value > high for value in flat)
        self.assertGreater(outside, 0)
        for variant in report["variants"]:
            share = variant["nodes"][0]["saturated_pct"]
            if variant["name"] in ["int8-static-max", "int8-static-average"]:
                self.assertAlmostEqual(share, 100 * outside / len(flat), places=9)
            elif variant["name"].startswith("int8-dynamic") and "clip" not in variant["name"]:
                self.assertEqual(share, 0)

    def test_batches(self):
        """Ranges of a batch depend on its size, those of requests do not."""
        def by_name(batch):  # the native FP32 reference has the same bits in every batch
            report = self.compare(self.model, "-b", batch, "--engine", "native")
            return {variant["name"]: variant for variant in report["variants"]}
        one, many = by_name("1"), by_name("1000")
        for name in ["int8-dynamic-segment", "int8-dynamic-row", "int8-static-max"]:
            self.assertEqual(one[name]["sqnr_db"], many[name]["sqnr_db"], name)
        self.assertNotEqual(one["int8-dynamic-tensor"]["sqnr_db"],
                            many["int8-dynamic-tensor"]["sqnr_db"])
        self.assertEqual(one["int8-dynamic-tensor"]["sqnr_db"],
                         one["int8-dynamic-row"]["sqnr_db"])

    def test_same_names(self):
        copy = self.quantized(name="copy.safetensors")
        report = self.compare(self.model, self.quantized(), copy, copy, copy)
        names = [variant["name"] for variant in report["variants"]]
        self.assertEqual(names, ["fp32", "int8-dynamic-segment", "copy.safetensors", copy,
                                 copy + "#2"])

    def test_remedied_files_go_by_their_own_names(self):
        """Only what plain `dynq quantize` makes of the reference has the plain name."""
        switches = {"bias": ["--correct-bias"], "clip": ["--clip-weights"],
                    "cut": ["--clip-ranges"], "smooth": ["--smooth"],
                    "tensor": ["--weight-granularity", "tensor"]}
        files = []
        for name, switch in switches.items():
            calibration = [] if name in ["clip", "tensor"] else ["--calibration-data", self.data]
            files.append(self.quantized(*switch, *calibration, name=name + ".safetensors"))
        report = self.compare(self.model, *files, self.quantized("--granularity", "row"))
        self.assertEqual([variant["name"] for variant in report["variants"]],
                         ["fp32", *(name + ".safetensors" for name in switches),
                          "int8-dynamic-row"])
        other = self.path("other.safetensors")
        mlp = Mlp()
        mlp.bias[0] += 1
        mlp.write(other)
        file = self.path("of-other.safetensors")
        self.succeed("quantize", other, "-o", file, "-q")
        self.assertEqual(self.compare(self.model, file)["variants"][1]["name"],
                         "of-other.safetensors")

    def test_tables(self):
        arguments = ["compare", self.model, "--data", self.data, "--labels", self.labels,
                     "--repeat", "2"]
        text = self.succeed(*arguments).stdout
        self.assertIn("Guilty in int8-dynamic-segment: fc", text)
        self.assertIn("only these change", " ".join(text.split()))
        for line in text.splitlines():
            if "/" not in line:  # a path cannot be broken
                self.assertLessEqual(len(line), 80, line)
        csv = self.succeed(*arguments, "-f", "csv").stdout.splitlines()
        self.assertEqual(len(csv), 1 + len(USUAL))
        self.assertEqual({line.count(",") for line in csv}, {12})
        markdown = self.succeed(*arguments, "-f", "md").stdout
        self.assertIn("| int8-dynamic-row", markdown)

    def test_html(self):
        page = self.path("report.html")
        self.succeed("compare", self.model, "--data", self.data, "--labels", self.labels,
                     "--repeat", "2", "--html", page)
        text = self.read_bytes(page).decode("utf-8")
        for word in ["int8-static-max", "fc1 reads x", "fc2 reads act", "first 10 of the 100"]:
            self.assertIn(word, text)
        for word in ["http", "<script", "nan", "src="]:
            self.assertNotIn(word, text)
        self.assertGreaterEqual(text.count("<svg"), 4)
        self.assertEqual([name for name in os.listdir(self.folder) if "html." in name], [])

    def test_thresholds(self):
        base = ["compare", self.model, "--data", self.data, "--repeat", "2"]
        labelled = base + ["--labels", self.labels]
        self.succeed(*labelled, "--min-accuracy", "20", "--max-drop", "50", "--min-agreement",
                     "0.5")
        for options in [labelled + ["--min-accuracy", "99.9"],
                        labelled + ["--min-accuracy", "99", "--min-agreement", "0.1"]]:
            result = self.run_missed(*options)
            self.assertEqual(result.stderr.count("\n"), 1)
            self.assertIn("accuracy", result.stderr)
            self.assertIn("int8-static-max", result.stdout)
        self.fail_with(2, *base, "--min-accuracy", "50")
        self.fail_with(2, *base, "--max-drop", "1")

    def run_missed(self, *arguments):
        result = run_command(*arguments)
        self.assertEqual(result.returncode, 1, result.stderr)
        return result

    def test_usage_errors(self):
        int8 = self.quantized()
        pair = self.path("pair.safetensors")
        write_pair(pair)
        self.assertIn("--data", self.fail_with(2, "compare", self.model))
        self.assertIn("MODEL", self.fail_with(2, "compare", "--data", self.data))
        self.assertIn("--labled", self.fail_with(2, "compare", self.model, "--data", self.data,
                                                 "--labled", self.labels))
        self.fail_with(2, "compare", int8, "--data", self.data)
        self.fail_with(2, "compare", self.model, int8, "--data", self.data, "--calibration-data",
                       self.data)
        self.fail_with(2, "compare", self.model, "--data", self.data, "--engine", "abacus")
        self.fail_with(2, "compare", self.model, "--data", self.data, "-b", "0")
        self.assertIn("2 inputs", self.fail_with(3, "compare", pair, "--data", self.data))

    def test_data_errors(self):
        def fail(code, *arguments):
            return self.fail_with(code, "compare", self.model, *arguments)
        short = self.write_labels("short.idx", self.classes[:-1])
        self.assertIn("99 labels", fail(3, "--data", self.data, "--labels", short))
        large = self.write_labels("large.idx", [Mlp.classes] + self.classes[1:])
        self.assertIn("row 0", fail(3, "--data", self.data, "--labels", large))
        wrong = self.path("wrong.npy")
        write_npy(wrong, [[1.0] * (Mlp.inputs + 1)] * 20)
        self.assertIn("wrong.npy", fail(3, "--data", wrong))
        rows = [list(row) for row in self.rows]
        rows[37][2] = math.nan
        bad = self.path("nan.npy")
        write_npy(bad, rows)
        self.assertIn("row 37", fail(3, "--data", bad))
        self.assertIn("nan.npy", fail(3, "--data", self.data, "--calibration-data", bad))
        one = self.path("one.npy")
        write_npy(one, self.rows[:1])
        self.assertIn("one row", fail(3, "--data", one))
        fail(4, "--data", self.path("missing.npy"))
        fail(4, "--data", self.data, "--html", self.path("missing/report.html"))
        fail(4, "--data", self.data, "--html", self.folder)
        self.fail_with(4, "compare", self.path("missing"), "--data", self.data)
        self.fail_with(3, "compare", self.data, "--data", self.data)

    def test_other_shapes(self):
        other = self.path("other.safetensors")
        mlp = Mlp()
        mlp.classes = 3
        mlp.fc2 = floats(3 * Mlp.hidden, 5)
        mlp.write(other)
        self.assertIn("other.safetensors",
                      self.fail_with(3, "compare", self.model, other, "--data", self.data))

    def test_old_page_survives_a_failure(self):
        page = self.write_bytes("report.html", b"old")
        bad = self.write_bytes("bad.npy", b"\x93NUMPY\x01\x00")
        self.fail_with(3, "compare", self.model, "--data", bad, "--html", page)
        self.assertEqual(self.read_bytes(page), b"old")


IMAGES = "/usr/share/datasets/fashion-mnist/%s-ubyte.gz"  # of Debian's dataset-fashion-mnist
SOURCE_ROOT = os.environ.get("DYNQ_SOURCE_ROOT")


@unittest.skipUnless(SOURCE_ROOT, "DYNQ_SOURCE_ROOT is not set")
@unittest.skipUnless(os.path.exists(IMAGES % "t10k-images-idx3"), "no dataset-fashion-mnist")
class ShippedModel(CommandTest):
    """What the shipped model promises on the test images, with ranges from training images."""

    def setUp(self):
        super().setUp()
        self.model = os.path.join(SOURCE_ROOT, "models", "fashion-mnist-mlp.safetensors")

    def test_accuracy(self):
        images, labels = IMAGES % "t10k-images-idx3", IMAGES % "t10k-labels-idx1"
        few = ["--variants", "int8-static-max,int8-dynamic-tensor,int8-dynamic-row"]
        few = few if REFERENCE else []
        variants = {variant["name"]: variant for variant in self.succeed_json(
            "compare", self.model, "--data", images, "--labels", labels, "--calibration-data",
            IMAGES % "train-images-idx3", "--repeat", "1", *few)["variants"]}
        fp32 = variants.pop("fp32")["accuracy"]
        self.assertGreaterEqual(fp32, 0.895)
        points = {"int8-dynamic-tensor": 0.15, "int8-dynamic-row": 0.10, "int8-static-max": 0.30}
        for name, limit in points.items():
            self.assertLessEqual(100 * abs(variants[name]["accuracy"] - fp32), limit + 1e-9, name)
        for name, variant in variants.items():
            self.assertGreaterEqual(variant["top1_agreement"], 0.99, name)

    def test_accuracy_is_that_of_a_run(self):
        """Counted from the classes that `dynq run` gives."""
        images, labels = IMAGES % "t10k-images-idx3", IMAGES % "t10k-labels-idx1"
        int8 = self.quantized("--granularity", "row")
        report = self.succeed_json("compare", self.model, int8, "--data", images, "--labels",
                                   labels, "--repeat", "1")
        out = self.path("y.npy")
        self.succeed("run", int8, "--input", images, "-o", out, "-q")
        with gzip.open(labels) as file:
            classes = file.read()[8:]
        right = sum(largest(row) == label for row, label in zip(read_npy(out), classes))
        self.assertEqual(len(classes), report["rows"])
        self.assertAlmostEqual(report["variants"][1]["accuracy"], right / len(classes), places=12)
        self.assertLessEqual(os.path.getsize(int8), 0.27 * os.path.getsize(self.model))


if __name__ == "__main__":
    unittest.main()
