"""`dynq bench gemm`."""

import csv
import io
import math
import unittest

from cli_support import CommandTest, run_command

RUN_KEYS = {"engine", "precision", "m", "k", "n", "threads", "cold", "us_median", "us_min", "gops",
            "fraction"}
PEAK_KEYS = {"int8_gops", "fp32_gflops", "l2_gbs", "l3_gbs", "dram_gbs"}
LINES = [("native", "int8", "int8"), ("native", "int8", "int8-static"), ("onednn", "int8", "int8"),
         ("onednn", "fp32", "fp32"), ("openblas", "fp32", "fp32"), ("native", "fp32", "fp32")]


class BenchGemm(CommandTest):
    def gemm(self, *arguments):
        return self.succeed_json("bench", "gemm", "--repeat", "2", *arguments)

    def expected_lines(self):
        built = {engine["name"] for engine in self.succeed_json("info")["engines"]
                 if engine["built"]}
        return [(name, precision) for name, _, precision in LINES if name in built]

    def test_json(self):
        report = self.gemm("-s", "1x64x48,5x100x33")
        self.assertEqual(report["schema"], "dynq.bench-gemm/1")
        for key in ["cpu", "kernel", "usable_cpus", "compiler", "version"]:
            self.assertTrue(report["machine"][key], key)
        self.assertIn(" bench gemm ", report["machine"]["command"])
        self.assertNotIn("/", report["machine"]["command"].split()[0])
        self.assertEqual(PEAK_KEYS, set(report["peak"]))
        self.assertEqual([peak["threads"] for peak in report["peaks"]], [1])
        for key in ["int8_gops", "fp32_gflops", "l2_gbs", "dram_gbs"]:
            self.assertGreater(report["peak"][key], 0)
        for shape in [(1, 64, 48), (5, 100, 33)]:
            runs = [run for run in report["runs"] if (run["m"], run["k"], run["n"]) == shape]
            self.assertEqual([(run["engine"], run["precision"]) for run in runs],
                             self.expected_lines())
            for run in runs:
                self.assertLessEqual(RUN_KEYS, set(run))
                self.assertIs(run["cold"], False)
                self.assertTrue(0 < run["us_min"] <= run["us_median"])
                self.assertEqual((run["threads"], run["repetitions"], run["copies"]), (1, 2, 1))

    def test_arithmetic(self):
        """The roofline, and what is derived from it."""
        for run in self.gemm("-s", "3x200x70")["runs"]:
            operations = 2 * 3 * 200 * 70
            size = 4 if run["precision"] == "fp32" else 1
            roofline = max(1e-3 * operations / run["peak_gops"],
                           1e-3 * 200 * 70 * size / run["read_gbs"])
            for got, expected in [(run["roofline_us"], roofline),
                                  (run["fraction"], roofline / run["us_median"]),
                                  (run["gops"], 1e-3 * operations / run["us_median"])]:
                self.assertTrue(math.isclose(got, expected, rel_tol=1e-9), (got, expected))

    def test_summary(self):
        report = self.gemm("-s", "2x64x48,4x64x48,64x64x48", "--engine", "native")
        self.assertEqual({run["engine"] for run in report["runs"]}, {"native"})
        self.assertEqual([(group["rows"], group["shapes"]) for group in report["summary"]],
                         [("M 1 to 4", 2), ("M 64 and more", 1)])
        dynamic = [run for run in report["runs"] if run["precision"] == "int8"]
        self.assertTrue(math.isclose(report["summary"][0]["fraction"],
                                     math.sqrt(dynamic[0]["fraction"] * dynamic[1]["fraction"]),
                                     rel_tol=1e-9))
        self.assertIsNone(report["summary"][0]["over_onednn"])
        single = [run["us_median"] for run in report["runs"] if run["m"] == 64]
        self.assertTrue(math.isclose(report["summary"][1]["over_fp32"], single[2] / single[0],
                                     rel_tol=1e-9))

    def test_cold(self):
        report = self.gemm("-s", "2x512x256,3x512x256", "--cold", "--cold-mib", "4")
        for run in report["runs"]:
            weights = 512 * 256 * (4 if run["precision"] == "fp32" else 1)
            self.assertGreater(run["copies"] * weights, 4 << 20)
            self.assertIs(run["cold"], True)
        both = self.gemm("-s", "2x64x16", "--weights", "both", "--cold-mib", "1")["runs"]
        self.assertEqual([run["cold"] for run in both],
                         len(both) // 2 * [False] + len(both) // 2 * [True])
        self.assertEqual({run["copies"] for run in both if not run["cold"]}, {1})

    def test_kernels_and_ranges(self):
        for kernel in self.succeed_json("info")["kernels"]:
            if kernel["supported"]:
                report = self.gemm("-s", "2x64x16", "--kernel", kernel["name"], "--engine",
                                   "native")
                self.assertEqual(report["machine"]["kernel"], kernel["name"])
        self.gemm("-s", "2x64x16", "--scheme", "symmetric", "--granularity", "row")

    def test_tables(self):
        arguments = ["bench", "gemm", "-s", "1x64x48,512x64x48", "--repeat", "2", "-q"]
        text = self.succeed(*arguments).stdout
        for line in text.splitlines():
            if not line.startswith("Command:"):
                self.assertLessEqual(len(line), 80, line)
        for word in ["the machine's limits", "K 64, N 48, 1 thread, hot weights",
                     "geometric means"]:
            self.assertIn(word, text)
        rows = list(csv.DictReader(io.StringIO(self.succeed(*arguments, "-f", "csv").stdout)))
        self.assertEqual([(row["engine"], row["precision"]) for row in rows],
                         2 * self.expected_lines())
        for row in rows:
            self.assertGreater(float(row["us_median"]), 0)
        self.assertIn("| 512 x 64 x 48 |", self.succeed(*arguments, "-f", "md").stdout)

    def test_threads(self):
        usable = self.succeed_json("info")["usable_cpus"]
        report = self.gemm("-s", "4x64x48", "--engine", "native", "-t", "1,2")
        expected = [1, 2] if usable > 1 else [1]
        self.assertEqual([peak["threads"] for peak in report["peaks"]], expected)
        self.assertEqual(sorted({run["threads"] for run in report["runs"]}), expected)
        self.assertEqual(report["peak"]["int8_gops"], report["peaks"][0]["int8_gops"])

    def test_help(self):
        text = self.succeed("bench", "gemm", "--help").stdout
        self.assertIn("Usage: dynq bench gemm", text)
        self.assertIn("--cold", text)
        self.assertIn("bench gemm", run_command("--help").stdout)

    def test_errors(self):
        def fail(*arguments):
            return self.fail_with(2, "bench", "gemm", *arguments)
        for shapes in ["", "1", "1x2", "1x2x", "0x2x3", "1x0x3", "1x2x0", "1x2x3x4", "1x2x3,",
                       ",1x2x3", "-1x2x3", "1 x2x3", "1x2x99999999", "9999999x2x3",
                       "1x2x3\n", "1x18446744073709551617x3", "axbxc"]:
            self.assertIn("--shapes", fail("-s", shapes))
        self.assertIn("66311", fail("-s", "1x66312x4"))
        self.assertIn("abacus", fail("--engine", "native,abacus"))
        fail("--engine", "")
        fail("-t", "0")
        fail("--weights", "warm")
        fail("--kernel", "abacus")
        fail("model.safetensors")


if __name__ == "__main__":
    unittest.main()
