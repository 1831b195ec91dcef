"""`dynq info`, and model files that are not as they should be."""

import csv
import io
import json
import os
import unittest

from cli_support import CommandTest, run_command, write_encoder, write_wide


class Model(CommandTest):
    def test_json(self):
        report = self.succeed_json("info", self.model, "--batch", "3")
        self.assertEqual(report["schema"], "dynq.info/1")
        self.assertEqual([node["name"] for node in report["nodes"]], ["x", "fc1", "act", "fc2"])
        fc1 = report["nodes"][1]
        self.assertEqual((fc1["op"], fc1["m"], fc1["k"], fc1["n"]), ("linear", 3, 5, 18))
        self.assertEqual((fc1["precision"], fc1["range"], fc1["granularity"]),
                         ("fp32", None, None))
        self.assertEqual(report["parameters"], 5 * 18 + 18 + 18 * 7)
        self.assertEqual(report["weight_bytes"], 4 * report["parameters"])
        self.assertEqual(report["outputs"], ["logits"])
        self.assertIsInstance(report["file_bytes"], int)
        self.assertIsNone(report["verified"])

    def test_json_of_int8(self):
        path = self.quantized("--granularity", "row", "--rule", "fc2=fp32")
        report = self.succeed_json("info", path, "--verify")
        fc1, fc2 = report["nodes"][1], report["nodes"][3]
        self.assertEqual((fc1["precision"], fc1["range"], fc1["granularity"], fc1["scheme"]),
                         ("int8", "dynamic", "row", "affine"))
        self.assertEqual((fc1["lo"], fc1["hi"]), (None, None))
        self.assertEqual((fc2["precision"], fc2["range"]), ("fp32", None))
        self.assertEqual(report["file_bytes"], os.path.getsize(path))
        self.assertIs(report["verified"], True)

    def test_formats_of_weights(self):
        keys = ["precision", "weights", "group", "levels", "table"]
        for options, expected in [
                (["fp16"], ["fp32", "fp16", None, None, None]),
                (["bf16"], ["fp32", "bf16", None, None, None]),
                (["int16"], ["int16", "int16", None, None, None]),
                (["int8"], ["int8", "int8", None, None, None]),
                (["int4"], ["int8", "int4", None, "uniform", "tensor"]),
                (["int2", "--levels", "clusters"], ["int8", "int2", None, "clusters", "panel"])]:
            path = self.quantized("--weights", *options)
            report = self.succeed_json("info", path, "--verify")
            nodes = {node["name"]: node for node in report["nodes"]}
            self.assertEqual([nodes["fc1"][key] for key in keys], expected)
            self.assertEqual([nodes["act"][key] for key in keys[1:]], [None] * 4)
            self.assertEqual(report["file_bytes"], os.path.getsize(path))
            text = self.succeed("info", path).stdout
            self.assertRegex(text, f"fc1 +linear +5x18 +{expected[1]} ")
            self.assertEqual("levels" in text, expected[3] is not None)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 80, line)
            rows = list(csv.DictReader(io.StringIO(self.succeed("info", path, "-f", "csv").stdout)))
            self.assertEqual([rows[1][key] for key in keys], [word or "" for word in expected])

    def test_groups(self):
        path = self.path("wide")
        write_wide(path)
        self.succeed("quantize", path, "-o", path, "--weights", "int4", "--weight-granularity",
                     "group-32", "-q")
        fc = self.succeed_json("info", path, "--verify")["nodes"][1]
        self.assertEqual((fc["weights"], fc["group"]), ("int4", 32))
        self.assertRegex(self.succeed("info", path).stdout, "fc +linear +40x18 +int4/32 ")

    def test_text_fits_a_page(self):
        static = self.quantized("--ranges", "static", "--calibration", self.calibrated())
        for path in [self.model, self.quantized(name="d"), static]:
            text = self.succeed("info", path).stdout
            self.assertIn("outputs: logits", text)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 80, line)
                self.assertEqual(line, line.rstrip())
        self.assertIn("static range of", text)

    def test_ranges_in_text(self):
        """What all nodes have in common stands below, the rest in columns."""
        text = self.succeed("info", self.model).stdout
        self.assertNotIn("every range", text)
        text = self.succeed("info", self.quantized()).stdout
        self.assertIn("\nevery range: dynamic, segment, affine\n", text)
        self.assertNotIn("granularity", text)
        text = self.succeed("info", self.quantized("--rule", "fc2=row,symmetric")).stdout
        self.assertIn("\nevery range: dynamic\n", text)
        self.assertIn("granularity", text)
        self.assertIn("scheme", text)
        self.assertNotIn("every", self.succeed("info", self.quantized(), "-f", "csv").stdout)

    def test_names_of_a_stack_stay_apart(self):
        name = "encoder.layer.0.attention.output.LayerNorm"
        self.mlp.write(self.model, first_name=name)
        for options in [["info", self.model], ["info", self.quantized()],
                        ["info", self.quantized("--rule", "fc2=row")]]:
            self.assertIn("0.attention.output.LayerNorm  input", self.succeed(*options).stdout)

    def test_long_and_wide_names(self):
        for name in ["n" * 200, "\u00fc" * 60, "\u5c42" * 60, 'a,"b|c']:
            path = self.path("named")
            self.mlp.write(path, first_name=name)
            for line in self.succeed("info", path).stdout.splitlines():
                wide = sum(2 if letter == "\u5c42" else 1 for letter in line)
                self.assertLessEqual(wide, 80, line)
            text = self.succeed("info", path, "-f", "csv").stdout
            self.assertEqual(next(csv.DictReader(io.StringIO(text)))["name"], name)
            self.assertEqual(self.succeed_json("info", path)["nodes"][0]["name"], name)

    def test_csv_and_markdown(self):
        text = self.succeed("info", self.model, "-f", "csv").stdout
        rows = list(csv.DictReader(io.StringIO(text)))
        self.assertEqual([row["name"] for row in rows], ["x", "fc1", "act", "fc2"])
        self.assertEqual(rows[1]["shape"], "5x18")
        self.assertEqual(rows[1]["lo"], "")
        lines = self.succeed("info", self.model, "-f", "md").stdout.splitlines()
        self.assertTrue(lines[1].startswith("| --- | --- | ---: |"), lines[1])
        self.assertEqual(self.succeed("info", self.model, "-f", "json").stdout,
                         self.succeed("info", self.model, "--json").stdout)

    def test_verify_finds_a_wrong_code(self):
        path = self.quantized()
        content = bytearray(self.read_bytes(path))
        start = 8 + int.from_bytes(content[:8], "little")
        content[start] = 0x80  # the code -128, which quantizing never makes
        broken = self.write_bytes("broken", content)
        self.succeed("info", broken)
        message = self.fail_with(3, "info", broken, "--verify")
        self.assertIn("fc1", message)
        self.assertIn(broken, message)


class Encoder(CommandTest):
    def setUp(self):
        super().setUp()
        self.model = self.path("encoder.safetensors")
        write_encoder(self.model)

    def test_json(self):
        report = self.succeed_json("info", self.model, "--verify", "--batch", "7")
        nodes = {node["name"]: node for node in report["nodes"]}
        words, places, heads = nodes["words"], nodes["places"], nodes["heads"]
        self.assertEqual((words["op"], words["table_rows"], words["n"], words["first"]),
                         ("embedding", 50, 8, None))
        self.assertEqual((words["parameters"], words["weight_bytes"]), (400, 1600))
        self.assertEqual((places["op"], places["first"]), ("position_embedding", 2))
        self.assertEqual((heads["heads"], heads["attention_scale"], heads["causal"]),
                         (2, 0.5, True))
        self.assertEqual((heads["m"], heads["k"], heads["domain"]), (7, None, "tokens"))
        self.assertEqual((nodes["fc"]["m"], nodes["fc"]["heads"]), (1, None))
        self.assertEqual((nodes["mean"]["pooling"], nodes["mean"]["domain"]), ("mean", "segments"))
        self.assertEqual(report["attachments"], [{"name": "vocabulary", "bytes": 11}])

    def test_json_of_int8(self):
        nodes = {node["name"]: node
                 for node in self.succeed_json("info", self.quantized(), "--verify")["nodes"]}
        for name in ["words", "heads", "fc"]:
            self.assertEqual(nodes[name]["precision"], "int8")
        self.assertEqual((nodes["heads"]["range"], nodes["heads"]["lo"]), (None, None))
        self.assertEqual(nodes["fc"]["range"], "dynamic")
        self.assertEqual(nodes["words"]["weight_bytes"], 50 * 8 + 50 * 4)

    def test_text_fits_a_page(self):
        for path in [self.model, self.quantized()]:
            text = self.succeed("info", path).stdout
            self.assertIn("attachments: vocabulary (11 bytes)\n", text)
            self.assertIn(" 50x8 ", text)
            self.assertIn(" 2x4 ", text)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 80, line)


class Machine(CommandTest):
    def test_json(self):
        report = self.succeed_json("info")
        self.assertEqual(report["schema"], "dynq.info/1")
        names = [kernel["name"] for kernel in report["kernels"]]
        self.assertEqual(names[-1], "ref")
        self.assertIn(report["kernel"], names)
        self.assertIsInstance(report["cpu"], str)
        self.assertIsInstance(report["features"], list)
        # what tools/test.sh has taken away from the CPU, and the kernel that it expects then
        for feature in os.environ.get("DYNQ_TEST_WITHOUT", "").split(","):
            self.assertNotIn(feature, report["features"])
        self.assertEqual(os.environ.get("DYNQ_TEST_KERNEL", report["kernel"]), report["kernel"])
        self.assertGreaterEqual(report["usable_cpus"], 1)
        self.assertEqual(report["threads"], 1)
        engines = {engine["name"]: engine for engine in report["engines"]}
        self.assertLessEqual({"native", "onednn", "openblas"}, set(engines))
        self.assertTrue(engines["native"]["built"] and engines["native"]["version"])
        self.assertIsInstance(report["tokenizer"], bool)
        for engine in engines.values():
            self.assertEqual(engine["version"] is not None, engine["built"])

    def test_options(self):
        self.assertEqual(self.succeed_json("info", "--kernel", "ref")["kernel"], "ref")
        report = self.succeed_json("info", "--threads", "0")
        self.assertEqual(report["threads"], report["usable_cpus"])

    def test_text(self):
        text = self.succeed("info").stdout
        for word in ["CPU", "features", "kernel", "engine native", "tokenizer", "usable CPUs"]:
            self.assertIn(word, text)
        kernels = self.succeed("info", "--kernels").stdout.splitlines()
        self.assertEqual(kernels[0].split(), ["kernel", "supported", "chosen"])
        self.assertEqual(kernels[-1].split()[:2], ["ref", "yes"])


class BadModels(CommandTest):
    def test_files_that_cannot_be_read(self):
        missing = self.path("missing")
        self.assertIn(missing, self.fail_with(4, "info", missing))
        self.fail_with(4, "info", self.folder)
        self.fail_with(3, "info", self.write_bytes("empty", b""))
        self.fail_with(3, "info", self.data)

    def test_truncated_everywhere(self):
        content = self.read_bytes(self.model)
        for length in [*range(0, 64), *range(64, len(content), 37), len(content) - 1]:
            with self.subTest(length):
                self.fail_with(3, "info", self.write_bytes("cut", content[:length]))

    def test_oversized(self):
        path = self.write_bytes("long", self.read_bytes(self.model) + b"\0")
        self.fail_with(3, "info", path)

    def test_bit_flips_are_refused_or_harmless(self):
        for original in [self.model, self.quantized()]:
            content = self.read_bytes(original)
            end = 8 + int.from_bytes(content[:8], "little")
            for position in [*range(8), *range(8, end, 23), *range(end, len(content), 211)]:
                flipped = bytearray(content)
                flipped[position] ^= 1 << position % 8
                path = self.write_bytes("flipped", flipped)
                result = run_command("info", path, "--verify", "-q")
                with self.subTest(position):
                    self.assertIn(result.returncode, (0, 3), result.stderr)
                    self.assertEqual(result.stderr.count("\n"), 1 if result.returncode else 0)

    def test_a_newer_version_says_so(self):
        path = self.path("newer")
        self.mlp.write(path, version="9.0")
        self.assertRegex(self.fail_with(3, "info", path), "9|newer")

    def test_every_command_refuses_them_alike(self):
        bad = self.write_bytes("bad", self.read_bytes(self.model)[:100])
        out = self.path("out")
        self.fail_with(3, "calibrate", bad, "--data", self.data, "-o", out)
        self.fail_with(3, "quantize", bad, "-o", out)
        self.fail_with(3, "run", bad, "--input", self.data, "-o", out)
        missing = self.path("missing")
        self.fail_with(4, "calibrate", missing, "--data", self.data, "-o", out)
        self.fail_with(4, "quantize", missing, "-o", out)
        self.fail_with(4, "run", missing, "--input", self.data, "-o", out)

    def test_control_characters_in_a_name_stay_on_one_line(self):
        self.fail_with(4, "info", self.path("two\nlines\033[31m"))
        json.dumps(self.fail_with(4, "info", self.path("two\ttabs")))


if __name__ == "__main__":
    unittest.main()
