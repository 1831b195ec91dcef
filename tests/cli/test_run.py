"""`dynq run`."""

import math
import os
import struct
import unittest

from cli_support import CommandTest, Mlp, read_npy, run_command, write_idx_gz, write_npy, write_pair


class Run(CommandTest):
    def run_model(self, model, *options, out="y.npy"):
        """The bytes of what a run writes."""
        path = self.path(out)
        self.succeed("run", model, "--input", self.data, "-o", path, "-q", *options)
        return self.read_bytes(path)

    def test_fp32_gives_the_right_numbers(self):
        self.run_model(self.model)
        rows = read_npy(self.path("y.npy"))
        self.assertEqual(len(rows), len(self.rows))
        for row, result in zip(self.rows, rows):
            for expected, value in zip(self.mlp.answer(row), result):
                self.assertAlmostEqual(value, expected, places=5)

    def test_int8_is_close(self):
        self.run_model(self.quantized())
        for row, result in zip(self.rows, read_npy(self.path("y.npy"))):
            for expected, value in zip(self.mlp.answer(row), result):
                self.assertAlmostEqual(value, expected, delta=0.1)

    def test_json(self):
        report = self.succeed_json("run", self.model, "--input", self.data, "-o",
                                   self.path("y.npy"), "-b", "7")
        self.assertEqual(report["schema"], "dynq.run/1")
        self.assertEqual((report["rows"], report["columns"], report["output"], report["batch"]),
                         (100, Mlp.classes, "logits", 7))
        self.assertGreater(report["ms"], 0)
        self.assertIs(report["dequantized"], False)
        self.assertEqual(report["engine"], "native")

    def test_summary(self):
        text = self.succeed("run", self.model, "--input", self.data, "-o",
                            self.path("y.npy")).stdout
        self.assertIn("logits", text)
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80)

    def test_the_bits_depend_on_nothing_else(self):
        kernels = [kernel["name"] for kernel in self.succeed_json("info")["kernels"]
                   if kernel["supported"]]
        for model in [self.model, self.quantized(), self.quantized("--granularity", "row",
                                                                   name="row")]:
            expected = self.run_model(model)
            for batch in ["1", "3", "100", "1000"]:
                self.assertEqual(self.run_model(model, "-b", batch), expected, batch)
            for threads in ["2", "3"]:
                self.assertEqual(self.run_model(model, "--threads", threads), expected)
            for kernel in kernels:
                self.assertEqual(self.run_model(model, "--kernel", kernel), expected, kernel)

    def test_halves_are_the_floats_they_stand_for(self):
        for weights in ["fp16", "bf16"]:
            halves = self.run_model(self.quantized("--weights", weights))
            self.assertEqual(self.run_model(self.quantized("--weights", weights, "--simulate",
                                                           name="rounded")), halves)

    def test_bf16_dot(self):
        path = self.quantized("--weights", "bf16")
        message = self.fail_with(2, "run", path, "--input", self.data, "-o", self.path("y.npy"),
                                 "--kernel", "ref", "--bf16-dot")
        self.assertIn("kernel 'ref' has no dot product of BF16", message)
        exact = self.run_model(path)
        result = run_command("run", path, "--input", self.data, "-o", self.path("y.npy"),
                             "--bf16-dot")
        if result.returncode == 0:
            self.assertEqual(len(self.read_bytes(self.path("y.npy"))), len(exact))
            for row, values in zip(self.rows, read_npy(self.path("y.npy"))):
                for expected, value in zip(self.mlp.answer(row), values):
                    self.assertAlmostEqual(value, expected, delta=0.1)
        else:
            self.assertIn("no dot product of BF16", result.stderr)

    def test_segments(self):
        model = self.quantized()
        requests = self.run_model(model, "-b", "100")
        together = self.run_model(model, "-b", "100", "--segments", "none")
        self.assertNotEqual(requests, together)
        tensor = self.quantized("--granularity", "tensor", name="tensor")
        self.assertEqual(self.run_model(tensor, "-b", "100"), together)
        self.assertEqual(self.run_model(model, "-b", "1", "--segments", "none"), requests)

    def test_engines(self):
        for engine in self.succeed_json("info")["engines"]:
            if not engine["built"]:
                continue
            self.run_model(self.model, "--engine", engine["name"])
            for row, result in zip(self.rows, read_npy(self.path("y.npy"))):
                for expected, value in zip(self.mlp.answer(row), result):
                    self.assertAlmostEqual(value, expected, places=5)

    def test_data_formats(self):
        values = [[row * 5 + column for column in range(5)] for row in range(4)]
        write_idx_gz(self.path("x.gz"), values)
        write_npy(self.path("u1.npy"), values, "u1")
        write_npy(self.path("f8.npy"), [[v / 8 for v in row] for row in values], "f8")
        flat = [v / 8 for row in values for v in row]
        self.write_bytes("x.f32", struct.pack("<20f", *flat))
        results = {}
        for name in ["x.gz", "u1.npy", "f8.npy", "x.f32"]:
            self.succeed("run", self.model, "--input", self.path(name), "-o", self.path("y.npy"))
            results[name] = read_npy(self.path("y.npy"))
        self.assertEqual(results["x.gz"], results["u1.npy"])
        self.assertEqual(results["f8.npy"], results["x.f32"])
        self.assertNotEqual(results["x.gz"], results["x.f32"])

    def test_bad_data(self):
        rows = [list(row) for row in self.rows]
        rows[99][4] = math.nan
        write_npy(self.path("nan.npy"), rows)
        write_npy(self.path("wide.npy"), [[0.0] * 784])
        write_npy(self.path("int.npy"), [[1] * 5], "i4")
        content = self.read_bytes(self.data)
        self.write_bytes("cut.npy", content[:-4])
        self.write_bytes("long.npy", content + b"....")
        self.write_bytes("flipped.npy", b"\x93NUMPZ" + content[6:])
        self.write_bytes("empty.npy", b"")
        self.write_bytes("bad.gz", b"\x1f\x8b\x08\x00garbage")
        out = self.path("y.npy")
        for name, expected in [("nan.npy", "row 99, column 4 .*NaN"), ("wide.npy", "784.* 5"),
                               ("int.npy", "integers"), ("cut.npy", "short|trunc|end"), ("long.npy", "trail|long|extra|more"),
                               ("flipped.npy", "."), ("empty.npy", "."), ("bad.gz", ".")]:
            with self.subTest(name):
                message = self.fail_with(3, "run", self.model, "--input", self.path(name), "-o",
                                         out)
                self.assertIn(self.path(name), message)
                self.assertRegex(message, expected)
        self.fail_with(4, "run", self.model, "--input", self.path("none"), "-o", out)
        self.fail_with(4, "run", self.model, "--input", self.folder, "-o", out)

    def test_an_overflow_inside_the_model(self):
        write_npy(self.path("huge.npy"), [[0.0] * 5] * 70 + [[3e38, -3e38, 3e38, -3e38, 3e38]])
        message = self.fail_with(3, "run", self.model, "--input", self.path("huge.npy"), "-o",
                                 self.path("y.npy"))
        self.assertIn("rows 64 to 70", message)

    def test_unwritable_output(self):
        for out in [self.path("none/y.npy"), self.folder]:
            message = self.fail_with(4, "run", self.model, "--input", self.data, "-o", out)
            self.assertIn(out, message)

    def test_an_older_result_survives_a_failure(self):
        self.write_bytes("y.npy", b"precious")
        write_npy(self.path("wide.npy"), [[0.0] * 6])
        self.fail_with(3, "run", self.model, "--input", self.path("wide.npy"), "-o",
                       self.path("y.npy"))
        self.assertEqual(self.read_bytes(self.path("y.npy")), b"precious")

    def test_the_output_may_be_the_input(self):
        expected = self.run_model(self.model)
        self.assertEqual(self.run_model(self.model, out="x.npy"), expected)
        self.assertEqual(sorted(os.listdir(self.folder)), ["mlp.safetensors", "x.npy", "y.npy"])


class SeveralInputs(CommandTest):
    def setUp(self):
        super().setUp()
        self.pair = self.path("pair")
        write_pair(self.pair)
        write_npy(self.path("a.npy"), [[1.0, 2.0, 3.0, 4.0]] * 3)
        write_npy(self.path("b.npy"), [[0.5, 0.25, 0.0, -4.0]] * 3)
        self.inputs = ["--input", "a=" + self.path("a.npy"), "--input", "b=" + self.path("b.npy")]

    def test_each_output(self):
        out = self.path("y.npy")
        self.succeed("run", self.pair, *self.inputs, "-o", out, "--output", "sum")
        self.assertEqual(read_npy(out), [[1.5, 2.25, 3.0, 0.0]] * 3)
        self.succeed("run", self.pair, *self.inputs, "-o", out, "--output", "logits")
        self.assertEqual([len(row) for row in read_npy(out)], [3] * 3)

    def test_the_order_of_inputs_does_not_matter(self):
        first, second = self.path("1.npy"), self.path("2.npy")
        self.succeed("run", self.pair, *self.inputs, "-o", first, "--output", "logits")
        self.succeed("run", self.pair, *self.inputs[2:], *self.inputs[:2], "-o", second,
                     "--output", "logits")
        self.assertEqual(self.read_bytes(first), self.read_bytes(second))

    def test_usage(self):
        out = ["-o", self.path("y.npy")]
        a = self.inputs[:2]
        for arguments, expected in [
                ([*self.inputs, *out], "--output: sum, logits"),
                ([*self.inputs, *out, "--output", "none"], "it has sum, logits"),
                ([*a, *out, "--output", "sum"], "--input b=FILE is missing"),
                ([*a, *a, *out, "--output", "sum"], "'a' is given twice"),
                (["--input", self.path("a.npy"), *out], "NAME=FILE")]:
            with self.subTest(expected):
                self.assertIn(expected, self.fail_with(2, "run", self.pair, *arguments))

    def test_different_numbers_of_rows(self):
        write_npy(self.path("b.npy"), [[0.0] * 4] * 2)
        message = self.fail_with(3, "run", self.pair, *self.inputs, "-o", self.path("y.npy"),
                                 "--output", "sum")
        self.assertRegex(message, "2 rows.* 3")

    def test_an_equals_sign_in_the_path(self):
        write_npy(self.path("k=v.npy"), self.rows)
        self.succeed("run", self.model, "--input", self.path("k=v.npy"), "-o", self.path("y.npy"))
        self.succeed("run", self.model, "--input", "x=" + self.path("k=v.npy"), "-o",
                     self.path("y.npy"))


if __name__ == "__main__":
    unittest.main()
