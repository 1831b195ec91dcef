"""dynq tune: what it measures, finds and writes, and how it goes on."""

import json
import math
import os
import signal
import subprocess
import time
import unittest

import browser
from cli_support import DYNQ, CommandTest, floats, read_npy, write_encoder, write_model, write_npy
from test_page import REPEATED, Balance, overlapping

OUTCOME = {"error", "sqnr_db", "cosine_mean", "accuracy", "drop", "ms", "weight_bytes"}
PRECISIONS = "fp32;bf16;int8,row;int4,row"

# What is chosen depends on times, and every kernel has the same answers.
REPEATED = "DYNQ_TEST_KERNEL" in os.environ


def load_tests(loader, tests, pattern):
    return unittest.TestSuite() if REPEATED else tests



class TuneTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.cache = self.path("cache.json")
        self.rules = self.path("rules")
        self.out = self.path("out.safetensors")

    def tune(self, *options, precisions=PRECISIONS, model=None, data=None):
        return ["tune", model or self.model, "--data", data or self.data, "--precisions",
                precisions, "--repeat", "2", "--samples", "0", *options]

    def tuned(self, *options, **others):
        return self.succeed_json(*self.tune(*options, **others))

    def wide(self, names=("fc1", "fc2")):
        """A model of two layers, large enough that low precisions save bytes, and its data."""
        model, data = self.path("wide.safetensors"), self.path("wide.npy")
        linear = {"op": "linear", "precision": "fp32", "bias": False}
        nodes = [{"name": "x", "op": "input", "columns": 32},
                 {"name": names[0], "inputs": ["x"], "k": 32, "n": 48, **linear},
                 {"name": "act", "op": "relu", "inputs": [names[0]]},
                 {"name": names[1], "inputs": ["act"], "k": 48, "n": 16, **linear}]
        write_model(model, nodes, [{"name": "y", "node": names[1]}],
                    {names[0] + ".weight": ([48, 32], floats(48 * 32, 1)),
                     names[1] + ".weight": ([16, 48], floats(16 * 48, 2))})
        values = floats(100 * 32, 3)
        write_npy(data, [values[32 * i:32 * i + 32] for i in range(100)])
        return {"model": model, "data": data}

    def make_labels(self, model, data):
        """The classes that the model answers, but for every tenth row."""
        answers = self.path("answers.npy")
        self.succeed("run", model, "--input", data, "-o", answers, "-q")
        right = [max(range(16), key=row.__getitem__) for row in read_npy(answers)]
        labels = [(best + (i % 10 == 0)) % 16 for i, best in enumerate(right)]
        text = "{'descr': '<i4', 'fortran_order': False, 'shape': (%d,), }" % len(labels)
        text += " " * (-(10 + len(text) + 1) % 64) + "\n"
        header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
        return self.write_bytes("y.npy", header + b"".join(x.to_bytes(4, "little") for x in labels))

    def encoder(self):
        """A model of ids with every kind of node that has a precision, and requests of 6 ids."""
        model = self.path("encoder.safetensors")
        write_encoder(model)
        data = self.path("ids.npy")
        write_npy(data, [[(7 * i + 3 * j) % 50 for j in range(6)] for i in range(30)], "i4")
        return model, data


class Results(TuneTest):
    def test_json_has_the_documented_keys(self):
        report = self.tuned("--min-cosine", "0.99")
        self.assertEqual(report["schema"], "dynq.tune/1")
        self.assertEqual(report["pareto"][-1]["drop"], None)
        self.assertIn(0, [one["error"] for one in report["pareto"]])
        for one in report["pareto"]:
            self.assertEqual(set(one), OUTCOME | {"assignment"})
            self.assertEqual(set(one["assignment"]), {"fc1", "fc2"})
        chosen = report["chosen"]
        self.assertEqual(set(chosen), {"predicted", "measured", "met", "assignment"})
        self.assertEqual(set(chosen["measured"]), OUTCOME)
        self.assertTrue(chosen["met"])
        self.assertGreaterEqual(chosen["measured"]["cosine_mean"], 0.99)
        self.assertIsNone(chosen["measured"]["drop"])
        self.assertEqual([node["name"] for node in report["nodes"]], ["fc1", "fc2"])
        self.assertEqual([one["precision"] for one in report["uniform"]], PRECISIONS.split(";"))
        self.assertLessEqual(set(report["int8_no_faster"]), {"fc1", "fc2"})

    def test_no_pareto_entry_beats_another(self):
        entries = [(one["ms"], one["weight_bytes"], one["error"])
                   for one in self.tuned("--min-cosine", "0.9")["pareto"]]
        for a in entries:
            for b in entries:
                self.assertFalse(a != b and all(x <= y * (1 - 1e-9) for x, y in zip(a, b)), (a, b))

    def test_a_node_alone_errs_as_the_whole_model_with_it(self):
        """Measured from kept values, a node does what it does in a model."""
        report = self.tuned("--min-cosine", "0.9")
        for node in report["nodes"]:
            for choice in node["choices"]:
                if choice["precision"] == "fp32":
                    self.assertEqual(choice["error"], 0)
                    continue
                model = self.quantized("--rule", "*=fp32", "--rule",
                                       "%s=%s" % (node["name"], choice["precision"]))
                compared = self.succeed_json("compare", self.model, model, "--data", self.data,
                                             "--engine", "native", "--repeat", "1")
                expected = compared["variants"][1]["sqnr_db"]
                self.assertAlmostEqual(-10 * math.log10(choice["error"]), expected, places=4)

    def test_the_measurement_is_that_of_the_written_model(self):
        report = self.tuned("--min-cosine", "0.9", "--minimize", "bytes", "-o", self.out)
        compared = self.succeed_json("compare", self.model, self.out, "--data", self.data,
                                     "--engine", "native", "--repeat", "1")
        measured, variant = report["chosen"]["measured"], compared["variants"][1]
        self.assertAlmostEqual(measured["cosine_mean"], variant["cosine_mean"], places=9)
        self.assertEqual(measured["weight_bytes"], variant["weight_bytes"])

    def test_the_cheapest_that_meets_the_target(self):
        """Of all assignments, for every limit of bytes that there can be."""
        wide = self.wide()
        nodes = self.tuned("--min-cosine", "0.1", **wide)["nodes"]
        sums = [(a["weight_bytes"] + b["weight_bytes"], a["error"] + b["error"])
                for a in nodes[0]["choices"] for b in nodes[1]["choices"]]
        self.assertGreater(len(sums), 15)
        for limit in sorted({one for one, _ in sums})[::3]:
            measured = self.tuned("--max-bytes", limit, "--cache", self.cache, **wide)
            chosen = measured["chosen"]
            self.assertLessEqual(chosen["measured"]["weight_bytes"], limit)
            best = min(error for used, error in sums if used <= limit)
            self.assertAlmostEqual(chosen["predicted"]["error"], best, delta=1e-12)

    def test_a_drop_in_accuracy(self):
        wide = self.wide()
        labels = self.make_labels(**wide)
        report = self.tuned("--labels", labels, "--max-drop", "1", "--minimize", "bytes", **wide)
        self.assertAlmostEqual(report["fp32_accuracy"], 0.9, places=9)
        self.assertLessEqual(report["chosen"]["measured"]["drop"], 1 + 1e-9)
        self.assertLess(report["chosen"]["measured"]["weight_bytes"],
                        report["fp32_weight_bytes"])
        for one in report["pareto"]:
            self.assertAlmostEqual(one["accuracy"], 0.9 - one["drop"] / 100, places=9)

    def test_nothing_measured_is_cheaper_than_what_was_chosen(self):
        """Neither a precision that all nodes share nor a try on the way."""
        wide = self.wide()
        labels = self.make_labels(**wide)
        for limit in range(12):
            report = self.tuned("--labels", labels, "--max-drop", limit, "--minimize", "bytes",
                                "--cache", self.cache, **wide)
            chosen = report["chosen"]["measured"]
            for one in report["uniform"] + [a_try["measured"] for a_try in report["tries"]]:
                if one["drop"] <= limit:
                    self.assertLessEqual(chosen["weight_bytes"], one["weight_bytes"], limit)

    def test_every_kind_of_node(self):
        model, data = self.encoder()
        report = self.tuned("--min-cosine", "0.98", "--minimize", "bytes", "-o", self.out,
                            "--rules-out", self.rules, model=model, data=data)
        choices = {node["name"]: [c["precision"] for c in node["choices"]]
                   for node in report["nodes"]}
        self.assertEqual(choices["fc"], PRECISIONS.split(";"))
        for name in ["words", "places", "heads"]:
            self.assertEqual(choices[name], ["fp32", "int8"])
        again = self.path("again.safetensors")
        self.succeed("quantize", model, "--rules", self.rules, "-o", again, "-q")
        self.assertEqual(self.read_bytes(again), self.read_bytes(self.out))

    def test_text_fits_a_terminal(self):
        for line in self.succeed(*self.tune("--min-cosine", "0.9")).stdout.splitlines():
            self.assertLessEqual(len(line), 80, line)
        table = self.succeed(*self.tune("--min-cosine", "0.9", "-f", "csv")).stdout
        self.assertEqual(len({line.count(",") - line.count(",row") for line in
                              table.replace('"', "").splitlines()}), 1, table)

    def test_what_int8_does_not_make_faster_is_named(self):
        report = self.tuned("--min-cosine", "0.9", "--cache", self.cache)
        content = json.loads(self.read_bytes(self.cache))
        # FP32 and rest, the four precisions, then each node: FP32 and its four choices.
        for i in range(11, 16):
            content["times"][i] = 1 if i == 11 else 2
        with open(self.cache, "w", encoding="utf-8") as file:
            json.dump(content, file)
        again = self.tuned("--min-cosine", "0.9", "--cache", self.cache)
        self.assertIn("fc2", again["int8_no_faster"])
        self.assertEqual(again["chosen"]["assignment"]["fc2"], "fp32")
        shown = self.succeed(*self.tune("--min-cosine", "0.9", "--cache", self.cache)).stdout
        self.assertIn("no faster than FP32", shown)
        self.assertIn("fc2", shown)
        self.assertEqual(len(report["nodes"]), 2)


class Rules(TuneTest):
    def check_same(self, model, *options):
        again = self.path("again.safetensors")
        self.succeed("quantize", model, "--rules", self.rules, "-o", again, "-q", *options)
        self.assertEqual(self.read_bytes(again), self.read_bytes(self.out))

    def test_rules_make_the_same_bytes(self):
        for precisions in [PRECISIONS, " int8,row ", "fp32 ; int4,clusters,table-tensor"]:
            self.tuned("--min-cosine", "0.5", "--minimize", "bytes", "-o", self.out, "--rules-out",
                       self.rules, precisions=precisions)
            self.check_same(self.model)

    def test_a_single_precision_is_fixed(self):
        report = self.tuned("--min-cosine", "0.5", "-o", self.out, precisions="int8,row")
        self.assertEqual(set(report["chosen"]["assignment"].values()), {"int8,row"})
        self.assertEqual(self.read_bytes(self.out),
                         self.read_bytes(self.quantized("--granularity", "row")))

    def test_what_is_calibrated_is_made_again(self):
        static = "int8,static,mse;int8,row,correct-bias"
        other = self.path("other.npy")
        write_npy(other, [row[::-1] for row in self.rows[:40]])
        report = self.tuned("--min-cosine", "0.5", "--calibration-data", other, "-o", self.out,
                            "--rules-out", self.rules, precisions=static)
        self.assertEqual((report["requests"], report["calibration_requests"]), (100, 40))
        self.check_same(self.model, "--calibration-data", other)
        report = self.tuned("--min-cosine", "0.5", "-o", self.out, "--rules-out", self.rules,
                            precisions=static)
        self.assertEqual((report["requests"], report["calibration_requests"]), (90, 10))
        self.assertIn("--rows 10", self.read_bytes(self.rules).decode())
        calibration = self.path("cal.json")
        self.succeed("calibrate", self.model, "--data", self.data, "--rows", "10", "-o",
                     calibration, "-q")
        self.check_same(self.model, "--calibration", calibration)

    def test_error_feedback_is_made_again(self):
        wide, other = self.wide(), self.path("other.npy")
        write_npy(other, [row[:] for row in zip(*[iter(floats(60 * 32, 8))] * 32)])
        self.tuned("--min-cosine", "0.5", "--minimize", "bytes", "--calibration-data", other, "-o",
                   self.out, "--rules-out", self.rules, precisions="fp32;int4,row,feedback", **wide)
        self.assertIn("feedback", self.read_bytes(self.rules).decode())
        self.check_same(wide["model"], "--calibration-data", other)
        self.tuned("--min-cosine", "0.5", precisions="int4,row,feedback", **wide)

    def test_names_that_look_like_patterns(self):
        names = ["#a*[x]", "a\\?=b"]
        wide = self.wide(names)
        nodes = self.tuned("--min-cosine", "0.1", **wide)["nodes"]
        limit = sum(node["fp32_weight_bytes"] for node in nodes) - 1
        report = self.tuned("--max-bytes", limit, "-o", self.out, "--rules-out", self.rules, **wide)
        self.assertEqual(set(report["chosen"]["assignment"]), set(names))
        self.assertEqual(len(set(report["chosen"]["assignment"].values())), 2)
        self.check_same(wide["model"])


class Resuming(TuneTest):
    def options(self):
        return self.tune("--min-cosine", "0.9", "--minimize", "bytes", "--batch", "1")

    def sensitivities(self, report):
        return [[(c["precision"], c["error"], c["own_sqnr_db"]) for c in node["choices"]]
                for node in report["nodes"]]

    def test_an_interrupted_run_goes_on(self):
        whole = self.succeed_json(*self.options())
        command = [DYNQ, *map(str, self.options()), "--cache", self.cache, "-q", "--json"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while not os.path.exists(self.cache) and process.poll() is None:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        self.assertEqual(process.returncode, -signal.SIGKILL)
        content = json.loads(self.read_bytes(self.cache))
        self.assertLess(content["requests"], 100)
        self.assertNotIn("times", content)
        again = self.succeed_json(*self.options(), "--cache", self.cache)
        self.assertEqual(self.sensitivities(again), self.sensitivities(whole))
        self.assertEqual(again["chosen"]["assignment"], whole["chosen"]["assignment"])
        finished = self.read_bytes(self.cache)
        third = self.succeed_json(*self.options(), "--cache", self.cache)
        self.assertEqual(self.read_bytes(self.cache), finished)
        self.assertEqual(third["nodes"], again["nodes"])

    def test_going_on_does_not_measure_again(self):
        """What the file says is taken: a lie in it is found in the report."""
        self.succeed(*self.options(), "--cache", self.cache)
        content = json.loads(self.read_bytes(self.cache))
        content["choices"][1]["answer"]["noise"] = 3 * content["choices"][1]["answer"]["signal"]
        with open(self.cache, "w", encoding="utf-8") as file:
            json.dump(content, file)
        report = self.succeed_json(*self.options(), "--cache", self.cache)
        self.assertAlmostEqual(report["nodes"][0]["choices"][1]["error"], 3, places=9)

    def test_a_cache_of_something_else(self):
        self.succeed(*self.options(), "--cache", self.cache)
        other = self.path("other.npy")
        write_npy(other, self.rows[:50] + self.rows[:50])
        message = self.fail_with(3, *self.tune("--batch", "1", data=other), "--cache", self.cache)
        self.assertIn("another model, other data or other settings", message)
        self.fail_with(3, *self.tune("--batch", "2"), "--cache", self.cache)
        self.fail_with(3, *self.tune("--batch", "1", precisions="fp32;int8"), "--cache",
                       self.cache)
        self.assertIn("no cache", self.fail_with(3, *self.options(), "--cache", self.data))

    def test_a_damaged_cache(self):
        self.succeed(*self.options(), "--cache", self.cache)
        whole = json.loads(self.read_bytes(self.cache))
        for key, value in [("choices", []), ("choices", None), ("requests", -1), ("nodes", 2),
                           ("requests", 101), ("choices", [{}] * len(whole["choices"]))]:
            with open(self.cache, "w", encoding="utf-8") as file:
                json.dump(dict(whole, **{key: value}), file)
            self.assertIn("damaged", self.fail_with(3, *self.options(), "--cache", self.cache))


class Refusals(TuneTest):
    def test_a_target_that_cannot_be_met(self):
        before = self.snapshot()
        for target in [["--min-cosine", "1", "--max-bytes", "250"], ["--max-bytes", "1"]]:
            result = subprocess.run([DYNQ, *map(str, self.tune(*target, "-o", self.out, "-q",
                                                               "--rules-out", self.rules))],
                                    capture_output=True, text=True, check=False)
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            self.assertIn("missed: ", result.stderr)
            self.assertIn("weight bytes", result.stderr)
            self.assertIn("the best found: ", result.stderr)
            self.assertIn("No assignment", result.stdout)
            self.assertEqual(self.snapshot(), before)

    def test_wrong_options(self):
        for options in [["--max-drop", "1"], ["--precisions", "int9"], ["--precisions", "row"],
                        ["--precisions", "fp32;fp32"], ["--precisions", ""],
                        ["--precisions", "int8;"], ["--calibration-data", self.data],
                        ["--minimize", "joules"], ["--min-cosine", "2"]]:
            self.fail_with(2, "tune", self.model, "--data", self.data, *options)
        self.fail_with(2, "tune", self.model)

    def test_a_precision_that_fits_no_node(self):
        message = self.fail_with(3, *self.tune(precisions="fp32;int4,weights-group-128"))
        self.assertIn("group", message)

    def test_a_precision_that_fits_some_nodes(self):
        model = self.path("wide.safetensors")
        linear = {"op": "linear", "precision": "fp32", "bias": False}
        nodes = [{"name": "x", "op": "input", "columns": 5},
                 {"name": "up", "inputs": ["x"], "k": 5, "n": 64, **linear},
                 {"name": "down", "inputs": ["up"], "k": 64, "n": 5, **linear}]
        write_model(model, nodes, [{"name": "y", "node": "down"}],
                    {"up.weight": ([64, 5], floats(320, 1)),
                     "down.weight": ([5, 64], floats(320, 2))})
        report = self.tuned("--min-cosine", "0.5", model=model,
                            precisions="fp32;int4,weights-group-32")
        choices = [[c["precision"] for c in node["choices"]] for node in report["nodes"]]
        self.assertEqual(choices, [["fp32"], ["fp32", "int4,weights-group-32"]])

    def test_wrong_files(self):
        self.assertIn("quantized already",
                      self.fail_with(3, *self.tune(model=self.quantized())))
        self.fail_with(3, *self.tune(data=self.write_bytes("bad.npy", b"\x93NUMPY")))
        nowhere = os.path.join(self.folder, "no", "file")
        for option in ["-o", "--rules-out", "--html", "--cache"]:
            self.fail_with(4, *self.tune(option, nowhere))


@unittest.skipIf(REPEATED, "a page has the same parts whatever kernel made it")
class Page(TuneTest):
    def test_the_page(self):
        page = self.path("page.html")
        model, data = self.encoder()
        report = self.tuned("--min-cosine", "0.9", "--html", page, model=model, data=data)
        text = self.read_bytes(page).decode()
        parser = Balance()
        parser.feed(text)
        parser.close()
        self.assertEqual(parser.open, [])
        shown = "\n".join(parser.words + parser.titles)
        for name in [node["name"] for node in report["nodes"]] + ["all int8,row", "dynq tune"]:
            self.assertIn(name, shown)
        for word in ["<script", "http:", "https:", "src=", "\"nan", "\"inf"]:
            self.assertNotIn(word, text)
        self.assertEqual(text.count("<svg"), 4)
        for width in [390, 1280]:
            for dark in [False, True]:
                found = browser.measure(page, width, dark)
                self.assertEqual(found["dark"], dark)
                self.assertLessEqual(found["scroll"], width)
                for plot in found["plots"]:
                    texts = plot["texts"]
                    for i, one in enumerate(texts):
                        for other in texts[:i]:
                            self.assertFalse(overlapping(one["box"], other["box"]),
                                             (plot["name"], one["text"], other["text"]))


if __name__ == "__main__":
    unittest.main()
