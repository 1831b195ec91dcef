"""`dynq bench`."""

import csv
import io
import math
import unittest

from cli_support import CommandTest, Mlp, run_command, write_npy, write_pair

RUN_KEYS = {"engine", "precision", "batch", "threads", "ms_median", "ms_min", "ms_p99", "speedup"}
PHASES = ["range_us", "quantize_us", "gemm_us", "epilogue_us", "other_us"]


class Bench(CommandTest):
    def bench(self, *arguments):
        return self.succeed_json("bench", *arguments, "--repeat", "3")

    def engines(self):
        return {engine["name"]: engine for engine in self.succeed_json("info")["engines"]
                if engine["built"]}

    def test_json(self):
        report = self.bench(self.model, "-b", "16,1,16", "-t", "1")
        self.assertEqual(report["schema"], "dynq.bench/1")
        for key in ["cpu", "kernel", "usable_cpus", "compiler"]:
            self.assertTrue(report["machine"][key], key)
        self.assertEqual(report["machine"]["kernel"], self.succeed_json("info")["kernel"])
        for run in report["runs"]:
            self.assertLessEqual(RUN_KEYS, set(run))
            self.assertTrue(0 < run["ms_min"] <= run["ms_median"] <= run["ms_p99"])
            self.assertLessEqual(run["ms_min"], run["ms_mean"])
            self.assertEqual(run["repetitions"], 3)
            self.assertGreater(run["ms_create"], 0)
            self.assertGreater(run["ms_first"], 0)
        self.assertEqual(sorted({run["batch"] for run in report["runs"]}), [1, 16])
        engines = self.engines()
        expected = {(name, precision) for name, engine in engines.items()
                    for precision in ["fp32", "int8"] if engine[precision]}
        for batch in [1, 16]:
            lines = [(run["engine"], run["precision"]) for run in report["runs"]
                     if run["batch"] == batch]
            self.assertEqual(len(lines), len(set(lines)))
            self.assertEqual(set(lines), expected)

    def test_speedups(self):
        """Against the faster of OpenBLAS and oneDNN in FP32, or native FP32 without them."""
        report = self.bench(self.model, "-b", "1,8")
        for batch in [1, 8]:
            runs = [run for run in report["runs"] if run["batch"] == batch]
            fp32 = [run for run in runs if run["precision"] == "fp32"]
            foreign = [run for run in fp32 if run["engine"] != "native"] or fp32
            baseline = min(foreign, key=lambda run: run["ms_median"])
            for run in runs:
                self.assertEqual(run["baseline"], baseline["engine"])
                self.assertTrue(math.isclose(run["speedup"],
                                             baseline["ms_median"] / run["ms_median"],
                                             rel_tol=1e-9))

    def test_int8_file(self):
        report = self.bench(self.quantized("--ranges", "static", "--calibration",
                                           self.calibrated()), "-b", "4")
        for run in report["runs"]:
            self.assertEqual(run["dequantized"], run["precision"] == "fp32")
            self.assertEqual(run["ranges"], "static" if run["precision"] == "int8" else None)

    def test_formats_of_weights(self):
        for weights, precisions in [("bf16", {("fp32", "bf16")}),
                                    ("int16", {("fp32", "fp32"), ("int8", "int16")}),
                                    ("int4", {("fp32", "fp32"), ("int8", "int4")})]:
            report = self.bench(self.quantized("--weights", weights), "-b", "4")
            self.assertEqual({(run["precision"], run["weights"]) for run in report["runs"]},
                             precisions)
            native = {run["engine"] for run in report["runs"] if run["weights"] == weights}
            self.assertIn("native", native)
            self.assertTrue(weights != "int16" or native == {"native"})

    def test_calibration_adds_static_lines(self):
        report = self.bench(self.model, "-b", "4", "--calibration", self.calibrated(),
                            "--engine", "native")
        int8 = [(run["engine"], run["ranges"]) for run in report["runs"]
                if run["precision"] == "int8"]
        self.assertEqual(int8, [("native", "dynamic"), ("native", "static")])

    def test_explain(self):
        report = self.bench(self.model, "-b", "2,4", "--explain", "--engine", "native")
        self.assertEqual([entry["batch"] for entry in report["explain"]], [2, 4])
        for entry in report["explain"]:
            names = {node["name"] for node in entry["nodes"]}
            self.assertLessEqual({"fc1", "fc2"}, names)
            for node in entry["nodes"]:
                self.assertTrue(all(node[phase] >= 0 for phase in PHASES), node)
            for layer in ["fc1", "fc2"]:
                node = next(node for node in entry["nodes"] if node["name"] == layer)
                self.assertGreater(node["gemm_us"], 0)
        self.assertNotIn("explain", self.bench(self.model, "-b", "2"))
        text = self.succeed("bench", self.model, "-b", "2", "--repeat", "2", "--explain").stdout
        self.assertIn("not the latency", " ".join(text.split()))

    def test_tables(self):
        arguments = ["bench", self.model, "-b", "1,4", "--repeat", "2"]
        for line in self.succeed(*arguments, "--explain").stdout.splitlines():
            self.assertLessEqual(len(line), 80, line)
        rows = list(csv.DictReader(io.StringIO(self.succeed(*arguments, "-f", "csv").stdout)))
        self.assertEqual({row["batch"] for row in rows}, {"1", "4"})
        for row in rows:
            self.assertGreater(float(row["ms_median"]), 0)
        self.assertIn("| speedup", self.succeed(*arguments, "-f", "md").stdout)

    def test_html(self):
        page = self.path("bench.html")
        self.succeed("bench", self.model, "-b", "1,4", "--repeat", "2", "--explain", "--html",
                     page)
        text = self.read_bytes(page).decode("utf-8")
        for word in ["Speedup with 1 thread", "Throughput", "native int8-dynamic", "quantize"]:
            self.assertIn(word, text)
        for word in ["http", "<script", "nan", "src="]:
            self.assertNotIn(word, text)

    def test_options(self):
        self.bench(self.model, "-b", "200", "--data", self.data)  # more rows than the file has
        for scope in ["segment", "tensor", "row"]:
            self.bench(self.model, "-b", "3", "--granularity", scope)
        pair = self.path("pair.safetensors")
        write_pair(pair)
        self.bench(pair, "-b", "3")
        capped = run_command("bench", self.model, "-b", "1", "-t", "256", "--repeat", "2", "--json")
        self.assertEqual(capped.returncode, 0, capped.stderr)
        self.assertIn("threads instead of 256", capped.stderr)

    def test_min_speedup(self):
        self.succeed("bench", self.model, "-b", "4", "--repeat", "2", "--min-speedup", "0.0001")
        result = run_command("bench", self.model, "-b", "4", "--repeat", "2", "--min-speedup",
                             "1000000")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1)
        self.assertIn("native int8-dynamic", result.stderr)
        self.assertIn("native int8-dynamic", result.stdout)

    def test_errors(self):
        def fail(code, *arguments):
            return self.fail_with(code, "bench", *arguments)
        fail(2)
        fail(2, self.model, "--batches", "1")
        for sizes in ["0", "1,", "x", "-3", "1,,2"]:
            fail(2, self.model, "-b", sizes)
        fail(2, self.model, "-t", "0")
        fail(2, self.model, "--engine", "abacus")
        fail(2, self.quantized(), "--calibration", self.calibrated())
        fail(4, self.path("missing"))
        fail(3, self.data)
        fail(4, self.model, "--calibration", self.path("missing.json"))
        fail(3, self.model, "--calibration", self.data)
        fail(4, self.model, "--html", self.path("missing/page.html"))
        fail(4, self.model, "--data", self.path("missing.npy"))
        wrong = self.path("wrong.npy")
        write_npy(wrong, [[1.0] * (Mlp.inputs + 1)])
        fail(3, self.model, "--data", wrong)
        write_npy(wrong, [[math.inf] * Mlp.inputs])
        self.assertIn("wrong.npy", fail(3, self.model, "--data", wrong))
        pair = self.path("pair.safetensors")
        write_pair(pair)
        fail(2, pair, "--data", self.data)


if __name__ == "__main__":
    unittest.main()
