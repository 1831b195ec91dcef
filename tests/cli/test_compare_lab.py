"""`dynq compare` as a lab: variants by name, order, thresholds, guilty layers, advice."""

import json
import math
import os
import random
import threading
import unittest

from cli_support import CommandTest, run_command, write_encoder, write_model, write_npy

SOURCE_ROOT = os.environ.get("DYNQ_SOURCE_ROOT")
MINILM = os.environ.get("DYNQ_MINILM")


class Stack:
    """x(16) -> fc1(24) -> relu1 -> fc2(20) -> relu2 -> fc3(6); Gaussian weights."""

    sizes = [16, 24, 20, 6]

    def __init__(self):
        source = random.Random(11)
        self.weights = [[[source.gauss(0, k ** -0.5) for _ in range(k)] for _ in range(n)]
                        for k, n in zip(self.sizes, self.sizes[1:])]

    def scale_outputs(self, layer, scales):
        for row, scale in zip(self.weights[layer], scales):
            row[:] = [weight * scale for weight in row]

    def scale_inputs(self, layer, scales):
        for row in self.weights[layer]:
            row[:] = [weight * scale for weight, scale in zip(row, scales)]

    def write(self, path):
        nodes = [{"name": "x", "op": "input", "columns": self.sizes[0]}]
        tensors = {}
        for i, weight in enumerate(self.weights, 1):
            k, n = self.sizes[i - 1], self.sizes[i]
            nodes.append({"name": "fc%d" % i, "op": "linear", "inputs": [nodes[-1]["name"]], "k": k,
                          "n": n, "bias": False, "precision": "fp32"})
            tensors["fc%d.weight" % i] = ([n, k], [value for row in weight for value in row])
            if i < len(self.weights):
                nodes.append({"name": "relu%d" % i, "op": "relu", "inputs": ["fc%d" % i]})
        write_model(path, nodes, [{"name": "y", "node": nodes[-1]["name"]}], tensors)
        return path


def spread(count):
    """1e-2 to 1e2 in even steps of the exponent."""
    return [10 ** (4 * i / (count - 1) - 2) for i in range(count)]


class CompareLab(CommandTest):
    def setUp(self):
        super().setUp()
        source = random.Random(12)
        self.inputs = [[source.gauss(0, 1) for _ in range(Stack.sizes[0])] for _ in range(300)]
        self.samples = self.path("samples.npy")
        write_npy(self.samples, self.inputs)
        self.stack = Stack()

    def write(self):
        return self.stack.write(self.path("stack.safetensors"))

    def arguments(self, model, *options):
        return ["compare", model, "--data", self.samples, "--repeat", "1", *options]

    def compare(self, model, *options):
        return self.succeed_json(*self.arguments(model, *options))

    def names(self, *options):
        report = self.compare(self.write(), *options)
        return [variant["name"] for variant in report["variants"]]

    def by_name(self, report):
        return {variant["name"]: variant for variant in report["variants"]}

    def guilty(self, *names):
        report = self.compare(self.write(), "--variants", ",".join(names or ["int8-dynamic-row"]))
        return [variant["guilty"] for variant in report["variants"][1:]]

    def test_variants_by_name_and_pattern(self):
        self.assertEqual(self.names("--variants", "int8-dynamic-row-bias-symmetric,int8-static-m*"),
                         ["fp32", "int8-dynamic-row-symmetric-bias", "int8-static-max",
                          "int8-static-mse", "int8-static-max-symmetric",
                          "int8-static-mse-smooth"])
        self.assertEqual(self.names("--variants", "int8-static-percentile,int8-static-max",
                                    "--percentile", "99"),
                         ["fp32", "int8-static-percentile-99", "int8-static-max"])
        every = ("int8-static-entropy-symmetric-weights-tensor-clip-weights-bias,"
                 "int8-dynamic-tensor-symmetric-clip-ranges-clip-weights-bias")
        self.assertEqual(len(self.names("--variants", every)), 3)
        for bad in ["int8-static-median", "int8-dynamic-row,", "nothing*",
                    "int8-static-max-clip-ranges"]:
            self.assertIn("--variants", self.fail_with(2, *self.arguments(
                self.write(), "--variants", bad)))
        many = ",".join("int8-static-percentile-%d" % p for p in range(20, 90))
        self.assertIn("more than 63", self.fail_with(2, *self.arguments(
            self.write(), "--variants", many)))
        model = self.write()
        self.assertIn("one FP32 model", self.fail_with(
            2, *self.arguments(model, model, "--variants", "int8-dynamic-row")))

    def test_scopes_share_one_model_and_differ(self):
        report = self.by_name(self.compare(self.write(), "--variants", "int8-dynamic-*"))
        row, tensor = report["int8-dynamic-row"], report["int8-dynamic-tensor"]
        self.assertGreater(row["sqnr_db"], tensor["sqnr_db"])
        self.assertTrue(row["batch_effect"]["identical"])
        self.assertEqual(row["batch_effect"]["worst"], 0)
        self.assertFalse(tensor["batch_effect"]["identical"])
        self.assertGreaterEqual(tensor["batch_effect"]["worst"], tensor["batch_effect"]["mean"])
        self.assertGreater(tensor["batch_effect"]["mean"], 0)

    def test_sort(self):
        def keys(key, field):
            report = self.compare(self.write(), "--sort", key)
            self.assertEqual(report["variants"][0]["name"], "fp32")
            return [variant[field] for variant in report["variants"][1:]]
        for key, field, falling in [("name", "name", False), ("sqnr", "sqnr_db", True),
                                    ("cosine", "cosine_mean", True), ("ms", "ms_per_run", False),
                                    ("agreement", "top1_agreement", True),
                                    ("bytes", "weight_bytes", False)]:
            found = keys(key, field)
            self.assertEqual(found, sorted(found, reverse=falling), key)
        self.assertIn("--sort", self.fail_with(2, *self.arguments(self.write(), "--sort", "age")))

    def test_thresholds(self):
        def missed(*options):
            result = run_command(*self.arguments(self.write(), "--variants",
                                                 "int8-dynamic-row,int8-static-max", *options))
            self.assertEqual(result.stderr.count("\n"), 1 if result.returncode else 0)
            return result.returncode, result.stderr
        self.assertEqual(missed("--min-agreement", "0.5", "--min-cosine", "0.9", "--max-slowdown",
                                "100000")[0], 0)
        code, text = missed("--min-cosine", "1")
        self.assertEqual(code, 1)
        for name in ["int8-dynamic-row mean cosine", "int8-static-max mean cosine"]:
            self.assertIn(name, text)
        self.assertEqual(missed("--max-slowdown", "0.00001")[0], 1)
        code, text = missed("--min-cosine", "1", "--max-slowdown", "0.00001")
        self.assertIn("limit 1, slowdown ", text)
        self.assertEqual(missed("--min-agreement", "1.1")[0], 2)
        self.assertEqual(missed("--min-agreement", "99")[0], 2)
        row = self.by_name(self.compare(self.write(), "--variants",
                                        "int8-dynamic-row-weights-tensor,int8-dynamic-row"))
        worse = row["int8-dynamic-row-weights-tensor"]["cosine_mean"]
        better = row["int8-dynamic-row"]["cosine_mean"]
        self.assertLess(worse, better)
        result = run_command(*self.arguments(
            self.write(), "--variants", "int8-dynamic-row,int8-dynamic-row-weights-tensor",
            "--min-cosine", repr((worse + better) / 2)))
        self.assertEqual(result.returncode, 1)
        self.assertIn("int8-dynamic-row-weights-tensor mean cosine", result.stderr)
        self.assertNotIn("int8-dynamic-row mean", result.stderr)

    def test_first_node_below_a_limit(self):
        variant = self.compare(self.write(), "--variants", "int8-dynamic-row", "--node-limit",
                               "200")["variants"][1]
        self.assertEqual(variant["first_below"]["node"], "fc1")
        self.assertEqual(variant["first_below"]["sqnr_db"], variant["nodes"][0]["sqnr_db"])
        text = self.succeed(*self.arguments(self.write(), "--node-limit", "0")).stdout
        self.assertIn("No node of any variant is below 0 dB", text)

    def test_healthy_layers_are_guilty_of_nothing_but_errors(self):
        for guilty in self.guilty("int8-dynamic-row", "int8-static-max"):
            self.assertEqual({one["cause"] for one in guilty}, {"error"})
            self.assertAlmostEqual(sum(one["share"] for one in guilty), 1, places=9)
            shares = [one["share"] for one in guilty]
            self.assertEqual(shares, sorted(shares, reverse=True))

    def test_planted_outputs(self):
        for layer in range(3):
            self.stack = Stack()
            self.stack.scale_outputs(layer, spread(Stack.sizes[layer + 1]))
            for guilty in self.guilty("int8-dynamic-row", "int8-static-max",
                                      "int8-dynamic-row-weights-tensor"):
                self.assertEqual(guilty[0]["node"], "fc%d" % (layer + 1))
                self.assertEqual(guilty[0]["cause"], "outputs")
                self.assertGreater(guilty[0]["spread"], 1000)

    def test_planted_inputs(self):
        for layer in range(3):
            self.stack = Stack()
            self.stack.scale_inputs(layer, spread(Stack.sizes[layer]))
            for guilty in self.guilty("int8-dynamic-row", "int8-static-max"):
                self.assertEqual(guilty[0]["node"], "fc%d" % (layer + 1))
                self.assertEqual(guilty[0]["cause"], "inputs")

    def test_planted_and_undone_by_the_next_layer(self):
        """The function is the same: a relu passes positive scales on."""
        healthy = self.by_name(self.compare(self.write(), "--variants", "int8-dynamic-row"))
        for layer in range(2):
            self.stack = Stack()
            scales = spread(Stack.sizes[layer + 1])
            self.stack.scale_outputs(layer, scales)
            self.stack.scale_inputs(layer + 1, [1 / scale for scale in scales])
            report = self.by_name(self.compare(self.write(), "--variants", "int8-dynamic-row"))
            self.assertLess(report["int8-dynamic-row"]["sqnr_db"],
                            healthy["int8-dynamic-row"]["sqnr_db"] - 10)
            guilty = report["int8-dynamic-row"]["guilty"]
            self.assertEqual([one["node"] for one in guilty[:2]],
                             ["fc%d" % (layer + 1), "fc%d" % (layer + 2)])
            self.assertEqual(guilty[0]["reader"], "fc%d" % (layer + 2))
            text = " ".join(self.succeed(*self.arguments(
                self.write(), "--variants", "int8-dynamic-row")).stdout.split())
            self.assertRegex(text, r"Guilty in int8-dynamic-row: fc%d \(.*which reads them"
                             % (layer + 1))

    def test_planted_outlier(self):
        """One element of a calibration row, a hundred times too large."""
        source = random.Random(13)
        rows = [[source.gauss(0, 1) for _ in range(Stack.sizes[0])] for _ in range(300)]
        rows[3][5] = 400.0
        calibration = self.path("outlier.npy")
        write_npy(calibration, rows)
        report = self.compare(self.write(), "--calibration-data", calibration, "--variants",
                              "int8-static-*,int8-dynamic-row", "--percentile", "99.9")
        variants = self.by_name(report)
        for method in ["entropy", "percentile-99.9"]:
            self.assertGreater(variants["int8-static-" + method]["sqnr_db"],
                               variants["int8-static-max"]["sqnr_db"] + 6, method)
        line = [one for one in report["advice"] if "Calibration" in one["text"]][0]
        self.assertNotEqual(line["better"], "int8-static-max")
        best = max((variant for name, variant in variants.items()
                    if name in ["int8-static-" + m for m in
                                ["max", "entropy", "mse", "average", "percentile-99.9"]]),
                   key=lambda variant: variant["sqnr_db"])
        self.assertEqual(line["better"], best["name"])

    def test_advice_is_true(self):
        report = self.compare(self.write())
        variants = self.by_name(report)
        self.assertTrue(1 <= len(report["advice"]) <= 8)
        for one in report["advice"]:
            self.assertLessEqual({"text", "gain_db", "node", "better", "worse", "switches"},
                                 set(one))
            if one["gain_db"] is None:
                continue
            better, worse = variants[one["better"]], variants[one["worse"]]
            if one["node"] is None:
                gain = better["sqnr_db"] - worse["sqnr_db"]
            else:
                gain = next(a["own_sqnr_db"] - b["own_sqnr_db"]
                            for a, b in zip(better["nodes"], worse["nodes"])
                            if a["name"] == one["node"])
            self.assertAlmostEqual(gain, one["gain_db"], places=6, msg=one["text"])
            self.assertIn("%.1f dB" % gain, one["text"])

    def test_smoothing_is_no_error(self):
        """Values inside a smoothed model have other scales; they are compared with their like."""
        variants = self.by_name(self.compare(self.write(), "--variants",
                                             "int8-dynamic-row,int8-dynamic-row-smooth"))
        self.assertEqual([node["name"] for node in variants["int8-dynamic-row-smooth"]["nodes"]],
                         [node["name"] for node in variants["int8-dynamic-row"]["nodes"]])
        for node in variants["int8-dynamic-row-smooth"]["nodes"]:
            self.assertGreater(node["sqnr_db"], 30, node)
            if node["name"].startswith("fc"):
                self.assertGreater(node["own_sqnr_db"], 30, node)

    def test_commands_make_the_variants(self):
        """What "commands" says gives, run, files with the numbers of the report."""
        names = ("int8-static-mse,int8-dynamic-row-bias,"
                 "int8-dynamic-row-symmetric-weights-tensor,int8-dynamic-row-smooth-bias,"
                 "int8-dynamic-segment-smooth,int8-dynamic-row-smooth,int8-static-mse-smooth")
        calibration = self.path("calibration.npy")
        write_npy(calibration, self.inputs[:100])
        model = self.write()
        report = self.compare(model, "--calibration-data", calibration, "--variants", names)
        commands = report["commands"]
        self.assertEqual(len(commands), 7)
        files = [self.path("%d.st" % number) for number in range(7)]
        for command, file in zip(commands, files):
            self.assertTrue(command.startswith("dynq quantize "), command)
            self.succeed(*command.replace("OUT", file).split()[1:], "-q")
        read = self.compare(model, *files)["variants"][1:]
        self.assertEqual([variant["sqnr_db"] for variant in read],
                         [variant["sqnr_db"] for variant in report["variants"][1:]])

    def test_calibration_data_from_a_pipe(self):
        """It serves all but smoothing, which calibrates twice."""
        model, pipe = self.write(), self.path("pipe")
        os.mkfifo(pipe)
        with open(self.samples, "rb") as samples:
            content = samples.read()

        def feed():
            with open(pipe, "wb") as out:
                out.write(content)

        for variant, code in [("int8-static-max", 0), ("int8-static-max-smooth", 2)]:
            writer = threading.Thread(target=feed, daemon=True)
            writer.start()
            result = run_command(*self.arguments(model, "--calibration-data", pipe,
                                                 "--variants", variant))
            writer.join(10)
            self.assertEqual(result.returncode, code, result.stderr)
        self.assertIn("not a pipe", result.stderr)

    def test_bad_data(self):
        rows = [list(row) for row in self.inputs]
        rows[7][2] = math.nan
        bad, wide = self.path("nan.npy"), self.path("wide.npy")
        write_npy(bad, rows)
        write_npy(wide, [row + [0.0] for row in self.inputs])
        model = self.write()
        for path, word in [(bad, "nan.npy"), (wide, "wide.npy")]:
            self.assertIn(word, self.fail_with(3, *self.arguments(model, "--calibration-data",
                                                                  path)))
        one = self.path("one.npy")
        write_npy(one, self.inputs[:1])
        report = self.succeed_json("compare", model, "--data", one, "--calibration-data",
                                   self.samples, "--repeat", "1")
        self.assertEqual(report["rows"], 1)
        self.assertEqual(self.compare(model, "--calibration-data", one)["calibration"]["rows"], 1)

    def test_text_fits_a_terminal(self):
        for options in [[], ["--node-limit", "60", "--layers", "all"], ["--layers", "1"]]:
            text = self.succeed(*self.arguments(self.write(), *options)).stdout
            for line in text.splitlines():
                if "/" not in line:  # a path cannot be broken
                    self.assertLessEqual(len(line), 80, line)
        text = self.succeed(*self.arguments(self.write(), "--layers", "1")).stdout
        self.assertIn("--layers all has the others", " ".join(text.split()))
        for bad in ["-1", "many", ""]:
            self.assertIn("--layers", self.fail_with(2, *self.arguments(self.write(), "--layers",
                                                                        bad)))

    def test_nothing_is_infinite_in_json(self):
        result = self.succeed(*self.arguments(self.write(), "--json", "-q"))

        def refuse(constant):
            self.fail(constant)
        json.loads(result.stdout, parse_constant=refuse)


class SmallEncoder(CommandTest):
    """A model of texts, whose answers are embeddings."""

    def setUp(self):
        super().setUp()
        source = random.Random(14)
        self.encoder = self.path("encoder.safetensors")
        write_encoder(self.encoder)
        self.ids = self.path("ids.npy")
        write_npy(self.ids, [[source.randrange(50) for _ in range(9)] for _ in range(60)], "i4")

    def test_embeddings(self):
        report = self.succeed_json("compare", self.encoder, "--data", self.ids, "--repeat", "1",
                                   "--variants", "int8-dynamic-*,int8-static-max")
        variants = {variant["name"]: variant for variant in report["variants"]}
        for variant in variants.values():
            self.assertIsNone(variant["top1_agreement"])
            self.assertIsNone(variant["kl"])
            self.assertEqual([node["name"] for node in variant["nodes"]],
                             ["words", "places", "sum", "heads", "mean", "fc"])
        row = variants["int8-dynamic-row"]
        own = {node["name"]: node["own_sqnr_db"] for node in row["nodes"]}
        self.assertIsNone(own["mean"])
        for name in ["words", "heads", "fc"]:
            self.assertGreater(own[name], 20)
        self.assertLessEqual({one["node"] for one in row["guilty"]}, {"words", "heads", "fc"})
        for name in ["int8-dynamic-row", "int8-dynamic-segment", "int8-static-max"]:
            self.assertTrue(variants[name]["batch_effect"]["identical"], name)
        text = self.succeed("compare", self.encoder, "--data", self.ids, "--repeat", "1").stdout
        self.assertIn("mean cosine of", " ".join(text.split()))
        self.assertIn("--min-agreement", self.fail_with(
            2, "compare", self.encoder, "--data", self.ids, "--min-agreement", "0.9"))


def load_tests(loader, tests, pattern):
    """The encoder has the same bits on every kernel, and takes minutes on the slow ones: once."""
    if "DYNQ_TEST_KERNEL" in os.environ:
        return unittest.TestSuite(map(loader.loadTestsFromTestCase, [CompareLab, SmallEncoder]))
    return tests


@unittest.skipUnless(MINILM and SOURCE_ROOT, "DYNQ_MINILM or DYNQ_SOURCE_ROOT is not set")
class PublishedEncoder(CommandTest):
    # In SQNR, or the text says which method does and why.
    def test_rows_beat_static_ranges(self):
        model = self.path("minilm.safetensors")
        self.succeed("convert", MINILM, "-o", model, "-q")
        with open(os.path.join(SOURCE_ROOT, "tests/golden/sentences.txt"), encoding="utf-8") as f:
            lines = f.readlines()[:40]
        sentences = self.write_bytes("sentences.txt", "".join(lines).encode())
        report = self.succeed_json("compare", model, "--data", sentences, "--repeat", "1",
                                   "--variants", "int8-static-max,int8-static-mse,"
                                   "int8-dynamic-row")
        variants = {variant["name"]: variant for variant in report["variants"]}
        row = variants["int8-dynamic-row"]["sqnr_db"]
        for name in ["int8-static-max", "int8-static-mse"]:
            if variants[name]["sqnr_db"] >= row:
                self.assertTrue(any(name in one["text"] and "beats" in one["text"]
                                    for one in report["advice"]), name)
        self.assertTrue(math.isfinite(row))


if __name__ == "__main__":
    unittest.main()
