"""`dynq calibrate` and `dynq quantize`."""

import json
import math
import os
import unittest

from cli_support import (CommandTest, Mlp, write_encoder, write_idx_gz, write_npy,
                         write_pair)


class Calibrate(CommandTest):
    def calibrate(self, *options):
        return self.succeed_json("calibrate", self.model, "--data", self.data, "-o",
                                 self.path("cal.json"), *options)

    def test_json(self):
        report = self.calibrate()
        self.assertEqual(report["schema"], "dynq.calibrate/1")
        self.assertEqual(report["samples"], 100)
        tensors = {tensor["name"]: tensor for tensor in report["tensors"]}
        self.assertEqual(set(tensors), {"x", "act"})
        values = [value for row in self.rows for value in row]
        self.assertAlmostEqual(tensors["x"]["min"], min(values), places=12)
        self.assertAlmostEqual(tensors["x"]["max"], max(values), places=12)
        hidden = [value for row in self.rows for value in self.mlp.hidden_row(row)]
        self.assertEqual(tensors["act"]["min"], 0)
        self.assertAlmostEqual(tensors["act"]["max"], max(hidden), places=5)
        self.assertEqual(tensors["act"]["rows"], 100)
        self.assertEqual(tensors["act"]["elements"], 100 * Mlp.hidden)

    def test_the_first_rows(self):
        report = self.calibrate("--rows", "3")
        self.assertEqual(report["samples"], 3)
        values = [value for row in self.rows[:3] for value in row]
        self.assertAlmostEqual(report["tensors"][0]["max"], max(values), places=12)

    def test_threads_do_not_matter(self):
        self.calibrate()
        one = self.read_bytes(self.path("cal.json"))
        self.calibrate("--threads", "2")
        self.assertEqual(self.read_bytes(self.path("cal.json")), one)

    def test_table(self):
        text = self.succeed("calibrate", self.model, "--data", self.data, "-o",
                            self.path("cal.json")).stdout
        self.assertEqual(text.splitlines()[0].split(),
                         ["tensor", "min", "max", "deviation", "outlier", "kurtosis", "zero",
                          "rows", "rows"])
        self.assertLessEqual(max(map(len, text.splitlines())), 80)

    def test_idx(self):
        path = self.path("x.gz")
        write_idx_gz(path, [[0, 1, 2, 3, 255], [9, 9, 9, 9, 9]])
        report = self.succeed_json("calibrate", self.model, "--data", path, "-o", self.path("c"))
        self.assertEqual(report["samples"], 2)
        self.assertEqual(report["tensors"][0]["max"], 1)

    def test_bad_data(self):
        for case in ["columns", "NaN", "infinite", "truncated", "oversized", "type", "rows"]:
            with self.subTest(case):
                path, expected = self.bad_data(case)
                message = self.fail_with(3, "calibrate", self.model, "--data", path, "-o",
                                         self.path("out"))
                self.assertIn(path, message)
                self.assertRegex(message, expected)
        self.fail_with(4, "calibrate", self.model, "--data", self.path("none"), "-o",
                       self.path("out"))

    def bad_data(self, case):
        path = self.path("bad.npy")
        content = self.read_bytes(self.data)
        if case == "columns":
            write_npy(path, [[1.0] * 6])
            return path, "6.*5|5.*6"
        if case in ("NaN", "infinite"):
            rows = [list(row) for row in self.rows]
            rows[70][3] = math.nan if case == "NaN" else -math.inf
            write_npy(path, rows)
            return path, "row 70, column 3 .*" + case
        if case == "type":
            write_npy(path, [[1] * 5], "i4")
            return path, "integers"
        if case == "rows":
            write_npy(path, [])
            return path, "."
        self.write_bytes("bad.npy", content[:-1] if case == "truncated" else content + b"\0")
        return path, "."

    def test_unwritable_output(self):
        for out in [self.path("none/cal.json"), self.folder]:
            message = self.fail_with(4, "calibrate", self.model, "--data", self.data, "-o", out)
            self.assertIn(out, message)

    def test_several_inputs(self):
        pair = self.path("pair")
        write_pair(pair)
        self.assertIn("several inputs", self.fail_with(3, "calibrate", pair, "--data", self.data,
                                                       "-o", self.path("out")))


class Quantize(CommandTest):
    def quantize(self, *options):
        return self.succeed_json("quantize", self.model, "-o", self.path("out"), *options)

    def test_json(self):
        report = self.quantize()
        self.assertEqual(report["schema"], "dynq.quantize/1")
        self.assertEqual([node["name"] for node in report["nodes"]], ["fc1", "fc2"])
        before = {node["name"]: node for node in
                  self.succeed_json("info", self.model)["nodes"]}
        after = {node["name"]: node for node in
                 self.succeed_json("info", self.path("out"), "--verify")["nodes"]}
        for node in report["nodes"]:
            self.assertEqual((node["precision"], node["range"], node["granularity"],
                              node["scheme"]), ("int8", "dynamic", "segment", "affine"))
            self.assertGreater(node["weight_sqnr_db"], 35)
            self.assertLess(node["weight_sqnr_db"], 70)
            self.assertEqual(node["bytes_before"], before[node["name"]]["weight_bytes"])
            self.assertEqual(node["bytes_after"], after[node["name"]]["weight_bytes"])
        self.assertEqual(report["file_bytes_after"], os.path.getsize(self.path("out")))
        self.assertAlmostEqual(report["compression"],
                               report["file_bytes_before"] / report["file_bytes_after"])

    def test_options_reach_the_model(self):
        self.quantize("--granularity", "tensor", "--scheme", "symmetric")
        node = self.succeed_json("info", self.path("out"))["nodes"][1]
        self.assertEqual((node["granularity"], node["scheme"]), ("tensor", "symmetric"))

    def test_static(self):
        calibration = self.calibrated()
        self.quantize("--ranges", "static", "--calibration", calibration, "--method", "max")
        node = self.succeed_json("info", self.path("out"))["nodes"][1]
        values = [value for row in self.rows for value in row]
        self.assertEqual((node["range"], node["granularity"]), ("static", "tensor"))
        self.assertAlmostEqual(node["lo"], min(values), places=12)
        self.assertAlmostEqual(node["hi"], max(values), places=12)

    def test_rules(self):
        report = self.quantize("--rule", "*=row", "--rule", "fc2=fp32", "--rule", "fc1=symmetric")
        first, second = report["nodes"]
        self.assertEqual((first["granularity"], first["scheme"]), ("row", "symmetric"))
        self.assertEqual((second["precision"], second["range"]), ("fp32", None))
        self.assertIsNone(second["weight_sqnr_db"])
        self.assertEqual(second["bytes_before"], second["bytes_after"])
        last_wins = self.quantize("--rule", "fc1=fp32", "--rule", "fc*=int8,tensor")
        self.assertEqual([node["granularity"] for node in last_wins["nodes"]], ["tensor"] * 2)

    def test_bad_rules(self):
        out = self.path("out")
        for rule in ["head=fp32", "fc1=int7", "fc1", "=fp32", "fc1=", "fc1=fp32,", "act=fp32", ""]:
            with self.subTest(rule):
                message = self.fail_with(2, "quantize", self.model, "-o", out, "--rule", rule)
                self.assertIn(rule.split("=")[0], message)

    def test_static_without_calibration(self):
        out = self.path("out")
        for options in [["--ranges", "static"], ["--rule", "fc1=static"]]:
            message = self.fail_with(2, "quantize", self.model, "-o", out, *options)
            self.assertIn("dynq calibrate", message)

    def test_bad_calibrations(self):
        out, good = self.path("out"), self.read_bytes(self.calibrated())
        other = self.path("other.safetensors")
        self.mlp.write(other, first_name="image")
        foreign = self.calibrated(other, "foreign.json")
        static = ["quantize", self.model, "-o", out, "--ranges", "static", "--calibration"]
        self.assertIn("'x'", self.fail_with(3, *static, foreign))
        for length in range(0, len(good.rstrip()), 131):
            self.fail_with(3, *static, self.write_bytes("cut", good[:length]))
        self.fail_with(3, *static, self.write_bytes("list", b"[]"))
        self.fail_with(3, *static, self.model)
        self.fail_with(4, *static, self.path("none"))

    def test_an_int8_model_is_refused(self):
        path = self.quantized()
        self.assertIn("INT8 already", self.fail_with(3, "quantize", path, "-o", self.path("out")))

    def test_in_place(self):
        expected = self.read_bytes(self.quantized())
        self.succeed("quantize", self.model, "-o", self.model, "-q")
        self.assertEqual(self.read_bytes(self.model), expected)
        self.assertEqual(sorted(os.listdir(self.folder)),
                         ["int8.safetensors", "mlp.safetensors", "x.npy"])

    def test_unwritable_output(self):
        for out in [self.path("none/out"), self.folder]:
            self.assertIn(out, self.fail_with(4, "quantize", self.model, "-o", out))

    def test_an_older_file_survives_a_failure(self):
        self.write_bytes("out", b"precious")
        self.fail_with(2, "quantize", self.model, "-o", self.path("out"), "--rule", "none=fp32")
        self.assertEqual(self.read_bytes(self.path("out")), b"precious")

    def test_table(self):
        text = self.succeed("quantize", self.model, "-o", self.path("out"), "--rule",
                            "fc2=fp32").stdout
        self.assertIn("compression", text)
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80, line)

    def test_the_same_twice(self):
        first = self.read_bytes(self.quantized(name="a"))
        self.assertEqual(self.read_bytes(self.quantized(name="b")), first)
        json.dumps(self.quantize())


class Encoder(CommandTest):
    def setUp(self):
        super().setUp()
        self.model = self.path("encoder.safetensors")
        write_encoder(self.model)

    def test_tables_and_attention(self):
        report = self.succeed_json("quantize", self.model, "-o", self.path("out"))
        nodes = {node["name"]: node for node in report["nodes"]}
        self.assertEqual(list(nodes), ["words", "places", "heads", "fc"])
        self.assertEqual(nodes["places"]["precision"], "fp32")
        for name in ["words", "fc"]:
            self.assertEqual(nodes[name]["precision"], "int8")
            self.assertTrue(35 < nodes[name]["weight_sqnr_db"] < 60, nodes[name])
        self.assertEqual((nodes["words"]["bytes_before"], nodes["words"]["bytes_after"]),
                         (1600, 600))
        self.assertEqual((nodes["words"]["range"], nodes["fc"]["range"]), (None, "dynamic"))
        heads = nodes["heads"]
        self.assertEqual((heads["precision"], heads["range"], heads["weight_sqnr_db"],
                          heads["bytes_after"]), ("int8", None, None, 0))
        self.succeed("info", self.path("out"), "--verify")
        text = self.succeed("quantize", self.model, "-o", self.path("out")).stdout
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80, line)

    def test_rules(self):
        report = self.succeed_json("quantize", self.model, "-o", self.path("out"), "--rule",
                                   "*=fp32", "--rule", "w*=int8")
        self.assertEqual([node["precision"] for node in report["nodes"]],
                         ["int8", "fp32", "fp32", "fp32"])
        message = self.fail_with(2, "quantize", self.model, "-o", self.path("new"), "--rule",
                                 "heads=row")
        self.assertIn("about ranges, weights or biases of linear layers", message)
        self.fail_with(2, "quantize", self.model, "-o", self.path("new"), "--rule", "mean=fp32")
        self.fail_with(3, "quantize", self.path("out"), "-o", self.path("new"))


if __name__ == "__main__":
    unittest.main()
