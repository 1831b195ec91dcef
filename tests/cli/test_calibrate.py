"""`dynq calibrate` on data of any size: piecewise, merged, interrupted and resumed."""

import json
import os
import signal
import struct
import subprocess
import unittest

from cli_support import DYNQ, CommandTest, Mlp, floats, write_npy

ROWS_IN_A_CALL = 4096  # of the small model: CALL_ROWS of tools/calibration.c


class CalibrateTest(CommandTest):
    def calibrate(self, data, out, *options):
        self.succeed("calibrate", self.model, "--data", data, "-o", self.path(out), "-q", *options)
        return self.read_bytes(self.path(out))

    def raw(self, name, rows):
        """Rows as raw f32, of which the last few are unlike the others."""
        content = struct.pack("<%df" % (997 * Mlp.inputs), *floats(997 * Mlp.inputs, 3))
        with open(self.path(name), "wb") as file:
            for row in range(0, rows, 997):
                file.write(content[:min(997, rows - row) * Mlp.inputs * 4])
            file.seek(-28, os.SEEK_END)
            file.write(struct.pack("<7f", *[9.5] * 7))
        return self.path(name)

    def tensors(self, path, *options):
        report = self.succeed_json("calibrate", self.model, "--merge", path, "-o",
                                   self.path("report.json"), *options)
        return {tensor["name"]: tensor for tensor in report["tensors"]}

    def test_what_was_gathered(self):
        report = self.succeed_json("calibrate", self.model, "--data", self.data, "-o",
                                   self.path("cal.json"))
        x = report["tensors"][0]
        values = [value for row in self.rows for value in row]
        mean = sum(values) / len(values)
        moments = [sum((value - mean) ** power for value in values) / len(values)
                   for power in (2, 4)]
        self.assertAlmostEqual(x["mean"], mean, places=12)
        self.assertAlmostEqual(x["deviation"], moments[0] ** 0.5, places=12)
        self.assertAlmostEqual(x["kurtosis"], moments[1] / moments[0] ** 2, places=9)
        self.assertAlmostEqual(x["outlier_index"], max(map(abs, values)) / moments[0] ** 0.5,
                               places=9)
        self.assertEqual((x["zero_rows_pct"], x["batches"]), (0, 1))
        low = sum(min(0, *row) for row in self.rows) / len(self.rows)
        self.assertAlmostEqual(x["row_range"][0], low, places=12)
        self.assertEqual(set(x["ranges"]), {"max", "entropy", "percentile", "mse", "average"})
        self.assertEqual(x["ranges"]["max"], [x["min"], x["max"]])
        for lo, hi in x["ranges"].values():
            self.assertTrue(x["min"] <= lo < 0 < hi <= x["max"], x["ranges"])

    def test_merged_parts_are_the_whole(self):
        first, second = self.path("a.npy"), self.path("b.npy")
        write_npy(first, self.rows[:40])
        write_npy(second, self.rows[40:])
        self.calibrate(first, "a.json")
        whole = json.loads(self.calibrate(self.data, "whole.json"))
        self.calibrate(second, "b.json")
        with_data = json.loads(self.calibrate(second, "ab.json", "--merge", self.path("a.json")))
        reordered = json.loads(self.read_bytes(self.path("b.json")))
        reordered["tensors"].reverse()  # which other writers may do
        self.write_bytes("b.json", json.dumps(reordered).encode())
        self.succeed("calibrate", self.model, "--merge", self.path("a.json"), "--merge",
                     self.path("b.json"), "-o", self.path("merged.json"), "-q")
        merged = json.loads(self.read_bytes(self.path("merged.json")))
        exact = ["name", "columns", "min", "max", "rows", "elements", "zero_rows", "limit", "zeros",
                 "negative", "positive", "column_min", "column_max"]
        for parts in with_data, merged:
            self.assertEqual(parts["requests"], 100)
            for one, other in zip(whole["tensors"], parts["tensors"]):
                for key in exact:
                    self.assertEqual(one[key], other[key], key)
                for key in "mean", "m2", "m3", "m4":
                    self.assertAlmostEqual(one[key] / other[key], 1, places=9)
                self.assertIsNone(other["average"])
        self.assertIsNone(self.tensors(self.path("merged.json"))["x"]["ranges"]["average"])
        self.assertIn("were merged", self.fail_with(
            3, "calibrate", self.model, "--data", self.data, "-o", self.path("merged.json"),
            "--resume"))

    def test_merging_one_file_copies_all_but_the_average(self):
        content = json.loads(self.calibrate(self.data, "a.json"))
        self.succeed("calibrate", self.model, "--merge", self.path("a.json"), "-o",
                     self.path("b.json"), "-q")
        for tensor in content["tensors"]:
            tensor["average"] = None
        self.assertEqual(json.loads(self.read_bytes(self.path("b.json"))), content)
        # Going on after it would pass over as many requests of other data.
        self.assertIn("were merged", self.fail_with(
            3, "calibrate", self.model, "--data", self.data, "-o", self.path("b.json"),
            "--resume"))

    def test_resuming_after_the_first_rows(self):
        whole = json.loads(self.calibrate(self.data, "whole.json"))
        self.calibrate(self.data, "part.json", "--rows", "37")
        part = json.loads(self.calibrate(self.data, "part.json", "--resume"))
        self.assertEqual(part["requests"], 100)
        for one, other in zip(whole["tensors"], part["tensors"]):
            for key in "min", "max", "rows", "limit", "zeros", "negative", "positive":
                self.assertEqual(one[key], other[key], key)
            for key in "mean", "m2", "m3", "m4":
                self.assertAlmostEqual(one[key] / other[key], 1, places=9)
            self.assertEqual((one["batches"], other["batches"]), (1, 2))

    def test_threads_and_kinds_of_files_do_not_matter(self):
        data = self.raw("x.f32", 3 * ROWS_IN_A_CALL + 77)
        one = self.calibrate(data, "one.json", "-t", "1")
        self.assertEqual(self.calibrate(data, "two.json", "-t", "2"), one)
        npy = self.path("same.npy")
        values = struct.unpack("<%df" % (os.path.getsize(data) // 4), self.read_bytes(data))
        write_npy(npy, [values[i:i + 5] for i in range(0, len(values), 5)])
        self.assertEqual(self.calibrate(npy, "npy.json"), one)
        subprocess.run(["gzip", "-k", data], check=True)
        self.assertEqual(self.calibrate(data + ".gz", "gz.json"), one)

    def test_resuming_is_one_pass(self):
        """Killed in the middle of a pipe; the same data from a file afterwards."""
        data = self.raw("x.f32", 6 * ROWS_IN_A_CALL + 77)
        whole = self.calibrate(data, "whole.json")
        content = self.read_bytes(data)
        some = 4 * ROWS_IN_A_CALL * Mlp.inputs * 4 + 16
        out = self.path("part.json")
        command = [DYNQ, "calibrate", self.model, "--data", "-", "-o", out]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            process.stdin.write(content[:some])
            process.stdin.flush()  # all but what fits into the pipe has been read
            process.send_signal(signal.SIGTERM)
            try:
                process.stdin.write(content[some:])
                process.stdin.close()
            except BrokenPipeError:
                pass
            message = process.stderr.read()
            process.wait()
        self.assertEqual(process.returncode, -signal.SIGTERM, message)
        self.assertIn(b"--resume", message)
        part = json.loads(self.read_bytes(out))
        self.assertTrue(0 < part["requests"] < 6 * ROWS_IN_A_CALL, part["requests"])
        self.assertEqual(part["requests"] % ROWS_IN_A_CALL, 0)
        self.assertNotEqual(self.read_bytes(out), whole)
        self.assertEqual(self.calibrate(data, "part.json", "--resume"), whole)
        # Nothing is left to do then, nor is there anything to begin with here.
        self.assertEqual(self.calibrate(data, "part.json", "--resume"), whole)
        self.assertEqual(self.calibrate(data, "new.json", "--resume"), whole)
        self.assertIn("has 100 requests, but", self.fail_with(
            3, "calibrate", self.model, "--data", self.data, "-o", out, "--resume"))

    def test_a_million_rows_need_no_more_memory(self):
        peaks = []  # a child begins with the peak of this process, which must stay small
        for rows in 1000, 1000000:
            data = self.raw("x.f32", rows)
            process = subprocess.Popen([DYNQ, "calibrate", self.model, "--data", data, "-o",
                                        self.path("out.json"), "-q"], stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(process.returncode, 0)
            peaks.append(usage.ru_maxrss / 1024)
        self.assertLess(peaks[1] - peaks[0], 4, peaks)

    def test_calibrations_of_other_models(self):
        other = self.path("other.safetensors")
        self.mlp.fc1[3] += 0.25
        self.mlp.write(other)
        self.calibrate(self.data, "cal.json")
        for out, options in (("out", ["--merge", self.path("cal.json")]),
                             ("cal.json", ["--data", self.data, "--resume"])):
            self.assertIn("another model", self.fail_with(
                3, "calibrate", other, "-o", self.path(out), *options))

    def test_bad_rows_far_down(self):
        data = self.raw("x.f32", 2 * ROWS_IN_A_CALL)
        content = bytearray(self.read_bytes(data))
        place = (ROWS_IN_A_CALL + 5) * 20 + 8
        content[place:place + 4] = struct.pack("<f", float("nan"))
        bad = self.write_bytes("bad.f32", content)
        self.assertIn("row %d, column 2" % (ROWS_IN_A_CALL + 5), self.fail_with(
            3, "calibrate", self.model, "--data", bad, "-o", self.path("out")))
        cut = self.write_bytes("cut.f32", content[:-4])
        self.fail_with(3, "calibrate", self.model, "--data", cut, "-o", self.path("out"))

    def test_one_row(self):
        report = self.succeed_json("calibrate", self.model, "--data", self.data, "--rows", "1",
                                   "-o", self.path("out"))
        self.assertEqual((report["samples"], report["tensors"][0]["batches"]), (1, 1))

    def test_nothing_to_do(self):
        self.assertIn("--data FILE is missing",
                      self.fail_with(2, "calibrate", self.model, "-o", self.path("out")))


if __name__ == "__main__":
    unittest.main()
