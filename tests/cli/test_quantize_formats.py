"""`dynq quantize`: formats, granularity and levels of weights, and rules from a file."""

import csv
import io
import os
import unittest

from cli_support import CommandTest


class Formats(CommandTest):
    """The MLP has 5 inputs, too few for groups; `wide` has 70."""

    def quantize(self, *options):
        return self.succeed_json("quantize", self.model, "-o", self.path("out"), *options)

    def refused(self, code, expected, *options, model=None):
        message = self.fail_with(code, "quantize", model or self.model, "-o", self.path("none"),
                                 *options)
        self.assertRegex(message, expected)
        self.assertFalse(os.path.exists(self.path("none")))

    def node(self, report):
        return report["nodes"][0]

    def test_formats(self):
        precision = {"fp32": "fp32", "fp16": "fp32", "bf16": "fp32", "int16": "int16",
                     "int8": "int8", "int4": "int8", "int2": "int8"}
        sqnr = {"fp16": (60, 90), "bf16": (45, 70), "int16": (75, 120), "int8": (35, 70),
                "int4": (13, 40), "int2": (2, 30)}
        for weights, expected in precision.items():
            with self.subTest(weights):
                report = self.quantize("--weights", weights)
                node = self.node(report)
                self.assertEqual((node["precision"], node["weights"]), (expected, weights))
                if weights == "fp32":
                    self.assertIsNone(node["weight_sqnr_db"])
                    continue
                low, high = sqnr[weights]
                self.assertGreater(node["weight_sqnr_db"], low)
                self.assertLess(node["weight_sqnr_db"], high)
                self.assertEqual(report["file_bytes_after"], os.path.getsize(self.path("out")))
                self.succeed("info", self.path("out"), "--verify")

    def test_json_keys(self):
        node = self.node(self.quantize())
        self.assertEqual((node["weights"], node["weight_granularity"], node["group"],
                          node["levels"], node["table"], node["clip_weights"]),
                         ("int8", "column", None, None, None, False))
        node = self.node(self.quantize("--weights", "int4"))
        self.assertEqual((node["levels"], node["table"], node["clip_weights"]),
                         ("uniform", "tensor", True))
        node = self.node(self.quantize("--weights", "int2", "--levels", "clusters",
                                       "--clip-weights=off"))
        self.assertEqual((node["levels"], node["table"], node["clip_weights"]),
                         ("clusters", "panel", False))
        node = self.node(self.quantize("--weights", "bf16"))
        self.assertEqual((node["weights"], node["weight_granularity"], node["levels"]),
                         ("bf16", None, None))

    def test_channel_is_column(self):
        self.quantize("--weight-granularity", "channel")
        one = self.read_bytes(self.path("out"))
        self.quantize()
        self.assertEqual(self.read_bytes(self.path("out")), one)

    def test_clipping_is_the_default_of_few_bits(self):
        for weights, default in [("int8", "off"), ("int4", "on"), ("int2", "on")]:
            self.quantize("--weights", weights)
            one = self.read_bytes(self.path("out"))
            self.quantize("--weights", weights, "--clip-weights=" + default)
            self.assertEqual(self.read_bytes(self.path("out")), one, weights)

    def test_groups_do_not_fit(self):
        self.refused(3, "node 'fc1': groups of 64 inputs, but it has 5.*'fc1=weights-column'",
                     "--weight-granularity", "group-64")

    def test_simulate(self):
        report = self.quantize("--weights", "int4", "--levels", "affine", "--simulate")
        self.assertTrue(report["simulated"])
        node = self.node(report)
        self.assertEqual((node["precision"], node["weights"], node["levels"], node["range"]),
                         ("fp32", "int4", "affine", None))
        self.assertGreater(node["weight_sqnr_db"], 13)
        nodes = self.succeed_json("info", self.path("out"), "--verify")["nodes"]
        self.assertEqual({node["precision"] for node in nodes}, {"fp32"})

    def test_simulated_and_native_weights_are_the_same(self):
        for options in [("int4",), ("int4", "--levels", "log"), ("int2", "--levels", "clusters"),
                        ("int16",), ("fp16",), ("int8", "--weight-granularity", "tensor")]:
            native = self.quantize("--weights", *options)
            simulated = self.quantize("--weights", *options, "--simulate")
            for one, other in zip(native["nodes"], simulated["nodes"]):
                self.assertAlmostEqual(one["weight_sqnr_db"], other["weight_sqnr_db"], places=4)

    def test_better_levels(self):
        def sqnr(*options):
            return self.node(self.quantize("--weights", "int2", *options))["weight_sqnr_db"]
        self.assertGreater(sqnr("--levels", "clusters"), sqnr("--levels", "uniform"))
        exact = self.quantize("--simulate", "--weight-granularity", "element")
        self.assertTrue(all(node["weight_sqnr_db"] is None or node["weight_sqnr_db"] > 130
                            for node in exact["nodes"]))
        few = self.quantize("--simulate", "--levels", "clusters", "--clusters", "2")
        many = self.quantize("--simulate", "--levels", "clusters", "--clusters", "12")
        self.assertGreater(self.node(many)["weight_sqnr_db"],
                           self.node(few)["weight_sqnr_db"] + 6)

    def test_what_cannot_be(self):
        for code, expected, *options in [
                (2, "only be simulated", "--weight-granularity", "row"),
                (2, "only be simulated", "--weights", "int4", "--levels", "affine"),
                (2, "weights in int8 have no levels", "--levels", "log"),
                (2, "weights in fp16 have no scales", "--weights", "fp16",
                 "--weight-granularity", "group-32"),
                (2, "no levels are clusters", "--clusters", "4"),
                (2, "2 to 256|256", "--clusters", "300"),
                (2, "int3", "--weights", "int3"),
                (3, "256 clusters of the .* weights", "--simulate", "--levels", "clusters",
                 "--clusters", "256")]:
            with self.subTest(expected):
                self.refused(code, expected, *options)

    def test_a_model_of_halves_is_refused(self):
        self.quantize("--weights", "fp16")
        self.refused(3, "quantized already.*FP32 model", model=self.path("out"))

    def test_table(self):
        text = self.succeed("quantize", self.model, "-o", self.path("out"), "--weights", "int4",
                            "--levels", "clusters").stdout
        self.assertIn("int4 clusters", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        text = self.succeed("quantize", self.model, "-o", self.path("out"), "--weights", "int4",
                            "--weight-granularity", "tensor", "-f", "csv").stdout
        rows = list(csv.DictReader(io.StringIO(text)))
        self.assertEqual((rows[0]["precision"], rows[0]["weights"]), ("int8", "int4/tensor"))

    def test_rules(self):
        report = self.quantize("--rule", "*=int4,log", "--rule", "fc2=fp16")
        first, second = report["nodes"]
        self.assertEqual((first["weights"], first["levels"]), ("int4", "log"))
        self.assertEqual((second["weights"], second["levels"]), ("fp16", None))
        self.refused(2, "weights in int8 have no levels", "--rule", "fc1=int8,clusters")

    def test_rules_from_a_file(self):
        path = self.write_bytes("rules", b"# found by somebody\n\n  *=int4 \r\nfc2=int8,row")
        first, second = self.quantize("--rules", path)["nodes"]
        self.assertEqual((first["weights"], second["weights"]), ("int4", "int8"))
        self.assertEqual(second["granularity"], "row")
        one = self.read_bytes(self.path("out"))
        self.quantize("--rule", "*=int4", "--rule", "fc2=int8,row")
        self.assertEqual(self.read_bytes(self.path("out")), one)
        last = self.quantize("--rules", path, "--rule", "fc2=bf16")["nodes"][1]
        self.assertEqual(last["weights"], "bf16")

    def test_bad_rules_files(self):
        for content, expected in [(b"*=int4\nfc1=int5\n", "rules: line 2: .*'int5'"),
                                  (b"*=in\0t4\n", "rules: line 1: .*NUL"),
                                  (b"fc1\n", "rules: line 1: .*GLOB=VALUE")]:
            self.refused(3, expected, "--rules", self.write_bytes("rules", content))
        self.refused(4, "absent", "--rules", self.path("absent"))
        self.refused(2, "matches no", "--rules", self.write_bytes("rules", b"fc9=int4\n"))

    def test_a_calibration_weighs(self):
        calibration = self.calibrated()
        self.quantize("--weights", "int2", "--levels", "clusters")
        one = self.read_bytes(self.path("out"))
        self.quantize("--weights", "int2", "--levels", "clusters", "--calibration", calibration)
        self.assertNotEqual(self.read_bytes(self.path("out")), one)
        other = self.read_bytes(self.path("out"))
        self.quantize("--weights", "int2", "--levels", "clusters", "--calibration-data", self.data)
        self.assertEqual(self.read_bytes(self.path("out")), other)

    def test_remedies_for_all_formats(self):
        for weights in ["fp16", "int16", "int4", "int2"]:
            with self.subTest(weights):
                report = self.quantize("--weights", weights, "--correct-bias", "--smooth=0.5",
                                       "--calibration-data", self.data)
                self.assertTrue(self.node(report)["correct_bias"])


if __name__ == "__main__":
    unittest.main()
