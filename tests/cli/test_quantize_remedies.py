"""`dynq quantize`: methods, remedies, and where their calibration comes from."""

import unittest

from cli_support import CommandTest, Mlp, write_npy


class Remedies(CommandTest):
    def quantize(self, *options):
        report = self.succeed_json("quantize", self.model, "-o", self.path("out"), *options)
        return report, {node["name"]: node for node in report["nodes"]}

    def has_openblas(self):
        engines = self.succeed_json("info")["engines"]
        return [engine["built"] for engine in engines if engine["name"] == "openblas"] == [True]

    def calibrate(self):
        path = self.path("cal.json")
        self.succeed("calibrate", self.model, "--data", self.data, "-o", path)
        return path

    def refused(self, expected, code, *options):
        message = self.fail_with(code, "quantize", self.model, "-o", self.path("new"), *options)
        self.assertRegex(message, expected)

    def test_plain(self):
        report, nodes = self.quantize()
        for node in nodes.values():
            self.assertEqual((node["weight_granularity"], node["clip_weights"],
                              node["clip_ranges"], node["correct_bias"], node["method"],
                              node["lo"], node["hi"]),
                             ("column", False, False, False, None, None, None))
        self.assertEqual((report["smoothed"], report["alpha"]), (False, None))

    def test_methods(self):
        cal = self.calibrate()
        found = {}
        for method in ["max", "entropy", "percentile", "mse", "average"]:
            _, nodes = self.quantize("--ranges", "static", "--calibration", cal, "--method",
                                     method, "--percentile", "90")
            self.assertEqual(nodes["fc1"]["method"], method)
            found[method] = (nodes["fc1"]["lo"], nodes["fc1"]["hi"])
            info = self.succeed_json("info", self.path("out"))
            node = [node for node in info["nodes"] if node["name"] == "fc1"][0]
            self.assertEqual((node["lo"], node["hi"]), found[method])
        self.assertLess(found["percentile"][1], found["max"][1])
        for low, high in found.values():
            self.assertTrue(found["max"][0] <= low <= 0 <= high <= found["max"][1])
        _, nodes = self.quantize("--ranges", "static", "--calibration", cal, "--method",
                                 "percentile")
        self.assertGreater(nodes["fc1"]["hi"], found["percentile"][1])
        self.refused("accepted: .*average", 2, "--method", "mean")
        self.refused("from 0.001 to 100", 2, "--percentile", "0")

    def test_weights(self):
        _, column = self.quantize()
        _, tensor = self.quantize("--weight-granularity", "tensor")
        _, clipped = self.quantize("--weight-granularity", "tensor", "--clip-weights")
        for name in ["fc1", "fc2"]:
            self.assertEqual(tensor[name]["weight_granularity"], "tensor")
            self.assertGreater(column[name]["weight_sqnr_db"], tensor[name]["weight_sqnr_db"])
            self.assertGreaterEqual(clipped[name]["weight_sqnr_db"],
                                    tensor[name]["weight_sqnr_db"])
            self.assertTrue(clipped[name]["clip_weights"])
        self.assertEqual(column["fc1"]["bytes_after"], tensor["fc1"]["bytes_after"])

    def test_clip_ranges(self):
        cal = self.calibrate()
        _, nodes = self.quantize("--clip-ranges", "--calibration", cal)
        self.assertEqual((nodes["fc1"]["range"], nodes["fc1"]["method"],
                          nodes["fc1"]["clip_ranges"]), ("dynamic", "mse", True))
        _, nodes = self.quantize("--clip-ranges=percentile", "--percentile", "80",
                                 "--calibration", cal, "--granularity", "row")
        self.assertEqual(nodes["fc1"]["method"], "percentile")
        limits = (nodes["fc1"]["lo"], nodes["fc1"]["hi"])
        self.assertTrue(limits[0] < 0 < limits[1])
        text = self.succeed("info", self.path("out")).stdout
        self.assertIn("dynamic range of, cut to", text)
        info = self.succeed_json("info", self.path("out"), "--verify")
        fc1 = [node for node in info["nodes"] if node["name"] == "fc1"][0]
        self.assertEqual((fc1["lo"], fc1["hi"]), limits)
        self.assertIn("dynamic row, percentile", self.succeed(
            "quantize", self.model, "-o", self.path("out"), "--clip-ranges=percentile",
            "--calibration", cal, "--granularity", "row").stdout)
        self.refused("accepted", 2, "--clip-ranges=some", "--calibration", cal)

    def test_correct_bias(self):
        cal = self.calibrate()
        _, nodes = self.quantize("--correct-bias", "--calibration", cal)
        self.assertTrue(nodes["fc1"]["correct_bias"])
        before = self.succeed_json("info", self.model)["parameters"]
        after = self.succeed_json("info", self.path("out"))["parameters"]
        self.assertEqual(after - before, Mlp.classes)  # fc2 had no bias

    def test_feedback(self):
        if not self.has_openblas():
            self.refused("this build of dynq lacks", 2, "--feedback", "--calibration-data",
                         self.data)
            return
        options = ["--weights", "int4", "--calibration-data", self.data]
        self.quantize(*options)
        plain = self.read_bytes(self.path("out"))
        _, nodes = self.quantize(*options, "--feedback")
        self.assertEqual([node["feedback"] for node in nodes.values()], [True, True])
        self.assertTrue(self.succeed_json("info", self.path("out"), "--verify"))
        first = self.read_bytes(self.path("out"))
        self.assertNotEqual(first, plain)
        self.quantize(*options, "--feedback", "--threads", "2")
        self.assertEqual(self.read_bytes(self.path("out")), first)
        self.quantize(*options, "--feedback", "--rule", "*=no-feedback")
        self.assertEqual(self.read_bytes(self.path("out")), plain)
        _, nodes = self.quantize(*options, "--rule", "fc1=feedback")
        self.assertEqual((nodes["fc1"]["feedback"], nodes["fc2"]["feedback"]), (True, False))
        report, _ = self.quantize(*options, "--feedback", "--smooth", "--correct-bias")
        self.assertTrue(report["smoothed"])

    def test_feedback_that_is_wrong(self):
        if not self.has_openblas():
            return
        for options in [[], ["--calibration", self.calibrate()]]:
            self.refused("error feedback needs --calibration-data X", 2, "--feedback", *options)
        self.refused("read twice", 2, "--feedback", "--smooth", "--calibration-data", "-")
        write_npy(self.path("wide.npy"), [[1.0] * 6])
        self.refused("wide.npy", 3, "--feedback", "--calibration-data", self.path("wide.npy"))

    def test_rules(self):
        cal = self.calibrate()
        _, nodes = self.quantize("--calibration", cal, "--rule", "*=correct-bias,clip-ranges",
                                 "--rule", "fc2=no-correct-bias,static,average,weights-tensor")
        self.assertEqual((nodes["fc1"]["correct_bias"], nodes["fc1"]["clip_ranges"],
                          nodes["fc1"]["method"], nodes["fc1"]["weight_granularity"]),
                         (True, True, "mse", "column"))
        self.assertEqual((nodes["fc2"]["correct_bias"], nodes["fc2"]["clip_ranges"],
                          nodes["fc2"]["method"], nodes["fc2"]["weight_granularity"]),
                         (False, False, "average", "tensor"))
        self.refused("not one of fp32, .*no-.correct-bias", 2, "--rule", "fc1=clip")

    def test_calibration_data_is_a_calibration(self):
        cal = self.calibrate()
        options = ["--ranges", "static", "--method", "mse", "--correct-bias"]
        self.quantize(*options, "--calibration", cal)
        expected = self.read_bytes(self.path("out"))
        self.quantize(*options, "--calibration-data", self.data, "--threads", "2")
        self.assertEqual(self.read_bytes(self.path("out")), expected)

    def test_calibrations_that_are_missing(self):
        for need, options in [("static ranges need", ["--ranges", "static"]),
                              ("clipping ranges needs", ["--clip-ranges"]),
                              ("correcting biases needs", ["--correct-bias"]),
                              ("correcting biases needs", ["--rule", "fc1=correct-bias"]),
                              ("smoothing needs", ["--smooth"])]:
            with self.subTest(need):
                self.refused(need + " --calibration CAL.*--calibration-data", 2, *options)
        self.quantize("--ranges", "static", "--rule", "*=dynamic")
        cal = self.calibrate()
        self.refused("give one of them", 2, "--correct-bias", "--calibration", cal,
                     "--calibration-data", self.data)

    def test_calibrations_that_are_wrong(self):
        cal = self.calibrate()
        other = self.path("other")
        weights = Mlp()
        weights.fc1 = weights.fc1[1:] + weights.fc1[:1]
        weights.write(other)
        message = self.fail_with(3, "quantize", other, "-o", self.path("new"), "--correct-bias",
                                 "--calibration", cal)
        self.assertIn("another model", message)
        self.assertIn(cal, message)
        Mlp().write(other, first_name="pixels")
        message = self.fail_with(3, "quantize", other, "-o", self.path("new"), "--correct-bias",
                                 "--calibration", cal)
        self.assertIn("'pixels'", message)
        write_npy(self.path("wide.npy"), [[1.0] * 6])
        self.refused("wide.npy", 3, "--correct-bias", "--calibration-data", self.path("wide.npy"))
        self.refused("none", 4, "--correct-bias", "--calibration-data", self.path("none"))
        self.refused("none", 4, "--correct-bias", "--calibration", self.path("none"))

    def test_smoothing_and_what_is_measured_after_it(self):
        cal = self.calibrate()
        for options in [["--ranges", "static"], ["--clip-ranges"], ["--correct-bias"]]:
            self.refused("calibration of the model as smoothed: give --calibration-data", 2,
                         "--smooth", "--calibration", cal, *options)
        for options, alpha in [([], None), (["--ranges", "static", "--correct-bias"], 0.5)]:
            smooth = "--smooth" if alpha is None else "--smooth=%g" % alpha
            report, _ = self.quantize(smooth, *options, "--calibration-data", self.data)
            self.assertEqual((report["smoothed"], report["alpha"]), (True, alpha))
            self.succeed("info", self.path("out"), "--verify")
        self.quantize("--smooth", "--calibration", cal)
        self.refused("read twice: give a file", 2, "--smooth", "--correct-bias",
                     "--calibration-data", "-")
        for alpha in ["0", "1", "-0.5", "nan", "x", "0.5x", ""]:
            self.refused('not "search" or a number', 2, "--smooth=" + alpha, "--calibration", cal)


if __name__ == "__main__":
    unittest.main()
