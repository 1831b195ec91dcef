"""Texts and ids as data of `dynq run`, `calibrate`, `compare` and `bench`."""

import math
import struct
import unittest

from cli_support import read_npy, run_command, write_npy
from text_support import RULES, WORDS, TextTest, needs_tokenizer


def write_integers(path, values, kind="<i4"):
    """An npy file of rank 1."""
    text = "{'descr': '%s', 'fortran_order': False, 'shape': (%d,), }" % (kind, len(values))
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"
    code = {"<i4": "<%di", "<i8": "<%dq", "<f4": "<%df"}[kind]
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())
        file.write(struct.pack(code % len(values), *values))
    return path


class Run(TextTest):
    def setUp(self):
        super().setUp()
        self.all_ids = [self.encoder.ids(*pieces.split()) for _, pieces in self.lines]
        self.ids = write_integers(self.path("ids.npy"), sum(self.all_ids, []))
        self.lengths = write_integers(self.path("lengths.npy"), [len(ids) for ids in self.all_ids])

    def run_model(self, *arguments, model=None):
        out = self.path("y.npy")
        report = self.succeed_json("run", model or self.texts, "-o", out, *arguments)
        rows = read_npy(out)
        self.assertEqual((report["rows"], report["columns"]), (len(rows), 6))
        return rows

    @needs_tokenizer
    def test_lines_and_ids(self):
        expected = self.run_model("-i", self.file)
        self.assert_rows(expected, self.answers)
        for arguments in [["-i", self.ids, "--segments", self.lengths],
                          ["-i", "input_ids=" + self.ids, "--segments", self.lengths, "-b", "2"],
                          ["-i", self.file, "-b", "1"], ["-i", self.file, "-b", "3"]]:
            self.assertEqual(self.run_model(*arguments), expected, arguments)
        longs = write_integers(self.path("long.npy"), sum(self.all_ids, []), "<i8")
        self.assertEqual(self.run_model("-i", longs, "--segments", self.lengths), expected)

    def test_requests_of_a_file(self):
        """Rank 1 is one request, a row of rank 2 is one."""
        one = write_integers(self.path("one.npy"), self.all_ids[0])
        self.assert_rows(self.run_model("-i", one), self.answers[:1])
        rows = [self.all_ids[2] + self.all_ids[2], self.all_ids[1]]
        write_npy(self.path("two.npy"), rows, "i4")
        self.assert_rows(self.run_model("-i", self.path("two.npy")),
                         [self.encoder.answer(row) for row in rows])

    @needs_tokenizer
    def test_a_row_for_each_token(self):
        self.encoder.write(self.texts, pooled=False)
        expected = [row for ids in self.all_ids for row in self.encoder.rows(ids)]
        self.assert_rows(self.run_model("-i", self.file, "-b", "3"), expected)

    def test_segments_of_floats(self):
        """A matrix of floats can be cut, too: ranges of the MLP are then shared."""
        int8 = self.quantized()
        lengths = write_integers(self.path("some.npy"), [1] * 50 + [10] * 5)
        out = self.path("y.npy")
        results = []
        for how in ["rows", lengths, "none"]:
            self.succeed("run", int8, "-i", self.data, "-o", out, "--segments", how, "-q")
            results.append(read_npy(out))
        self.assertEqual(results[0][:50], results[1][:50])
        self.assertNotEqual(results[0][50:], results[1][50:])
        self.assertNotEqual(results[1], results[2])

    @needs_tokenizer
    def test_errors(self):
        def fail(code, *arguments):
            return self.fail_with(code, "run", self.texts, "-o", self.path("none.npy"), *arguments)
        for ids, name in [([1, len(WORDS)], "29"), ([-1], "-1")]:
            path = write_integers(self.path("bad.npy"), ids)
            self.assertIn(name, fail(3, "-i", path))
        self.assertIn("float", fail(3, "-i", write_integers(self.path("bad.npy"), [1.0], "<f4")))
        self.assertIn("32 bits", fail(3, "-i", write_integers(self.path("bad.npy"), [1 << 40],
                                                             "<i8")))
        self.assertIn("no ids", fail(3, "-i", write_integers(self.path("bad.npy"), [])))
        for lengths in [[1], [len(sum(self.all_ids, [])) + 1], [0], [-3]]:
            path = write_integers(self.path("bad.npy"), lengths)
            fail(3, "-i", self.ids, "--segments", path)
        fail(4, "-i", self.ids, "--segments", self.path("missing.npy"))
        fail(4, "-i", self.path("missing.txt"))
        self.assertIn("empty", fail(3, "-i", self.write_bytes("empty", b"")))
        long = write_integers(self.path("bad.npy"), [1] * 13)
        self.assertIn("12", fail(3, "-i", long))

    def test_ids_that_nothing_looks_up(self):
        """Only their places are read: any id that is not negative will do."""
        path = self.path("places.safetensors")
        self.encoder.write(path, attachments=[], looked_up=False)
        results = [self.run_model("-i", write_integers(self.path("any.npy"), ids), model=path)
                   for ids in ([0, 7, (1 << 31) - 1], [1, 1, 1])]
        self.assertEqual(results[0], results[1])
        bad = write_integers(self.path("bad.npy"), [-1])
        self.assertIn("from 0 to 2147483647", self.fail_with(3, "run", path, "-i", bad, "-o",
                                                             self.path("none.npy")))
        report = self.succeed_json("bench", path, "-b", "1", "-s", "4", "--repeat", "2", "--engine",
                                   "native")
        self.assertEqual(report["schema"], "dynq.bench/1")


class Compare(TextTest):
    def setUp(self):
        super().setUp()
        content = b"".join(("%s the %s\n" % (a, b)).encode() for a in WORDS[4:12]
                           for b in WORDS[12:17])
        self.many = self.write_bytes("many.txt", content)

    def compare(self, *arguments):
        return self.succeed_json("compare", *arguments, "--repeat", "2")

    @needs_tokenizer
    def test_one_model(self):
        report = self.compare(self.texts, "--data", self.many)
        self.assertEqual(report["rows"], 36)
        self.assertEqual(report["calibration"], {"data": self.many, "rows": 4, "held_out": 4})
        names = [variant["name"] for variant in report["variants"]]
        self.assertEqual(names[0], "fp32")
        self.assertLessEqual({"int8-static-max", "int8-static-entropy", "int8-dynamic-tensor",
                              "int8-dynamic-segment", "int8-dynamic-row"}, set(names))
        self.assertAlmostEqual(report["variants"][0]["cosine_mean"], 1, places=12)
        for variant in report["variants"]:
            self.assertIsNone(variant["top1_agreement"])
            self.assertIsNone(variant["accuracy"])
            self.assertEqual([node["name"] for node in variant["nodes"]],
                             ["words", "places", "sum", "layer.0.fc1", "layer.0.act", "mean",
                              "unit"])
            last = variant["nodes"][-1]
            self.assertEqual(last["max_abs_error"], variant["max_abs_error"])
        for variant in report["variants"][1:]:
            self.assertGreater(variant["cosine_min"], 0.98)
            self.assertLess(variant["cosine_min"], 1 - 1e-9)
            self.assertLessEqual(variant["cosine_min"], variant["cosine_mean"])

    @needs_tokenizer
    def test_numbers_against_runs(self):
        int8 = self.path("int8.safetensors")
        self.succeed("quantize", self.texts, "-o", int8, "-q")
        outputs = []
        for model in [self.texts, int8]:
            self.succeed("run", model, "-i", self.many, "-o", self.path("y.npy"), "-q")
            outputs.append(read_npy(self.path("y.npy")))
        cosines = [sum(x * y for x, y in zip(a, b)) /
                   math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
                   for a, b in zip(*outputs)]
        for batch in ["1", "7", "64"]:
            report = self.compare(self.texts, int8, "--data", self.many, "-b", batch, "--engine",
                                  "native")
            variant = report["variants"][1]
            self.assertAlmostEqual(variant["cosine_mean"], sum(cosines) / len(cosines), places=9)
            self.assertAlmostEqual(variant["cosine_min"], min(cosines), places=9)
            self.assertEqual(report["tokens"], 40 * 5)

    @needs_tokenizer
    def test_calibration_data_and_labels(self):
        report = self.compare(self.texts, "--data", self.many, "--calibration-data", self.file)
        self.assertEqual(report["rows"], 40)
        self.assertEqual(report["calibration"]["rows"], len(self.lines))
        labels = self.write_bytes("labels", struct.pack(">BBBBI", 0, 0, 8, 1, 40) + bytes([1] * 40))
        report = self.compare(self.texts, "--data", self.many, "--labels", labels)
        for variant in report["variants"]:
            self.assertIsNotNone(variant["accuracy"])
            self.assertIsNotNone(variant["top1_agreement"])
        self.encoder.write(self.texts, pooled=False)
        self.fail_with(2, "compare", self.texts, "--data", self.many, "--labels", labels)

    @needs_tokenizer
    def test_text_and_page(self):
        page = self.path("page.html")
        text = self.succeed("compare", self.texts, "--data", self.many, "--repeat", "2", "--html",
                            page).stdout
        self.assertIn("mean cos", text)
        self.assertNotIn("agree", text)
        self.assertIn("36 lines of", text)
        content = self.read_bytes(page).decode()
        self.assertIn("Cosine against latency", content)
        self.assertNotIn("nan", content)
        self.assertIn("top-1 agreement %", self.succeed("compare", self.texts, "--data", self.many,
                                                        "--repeat", "2", "-f", "csv").stdout)

    @needs_tokenizer
    def test_long_names(self):
        """A layer with a long name has a line of its own, within 80 columns."""
        content = self.read_bytes(self.texts)
        name = b"encoder.layer.0.attention.self.query"
        text = content[8:8 + struct.unpack("<Q", content[:8])[0]].replace(b"layer.0.fc1", name)
        text += b" " * (-(8 + len(text)) % 64)
        start = 8 + struct.unpack("<Q", content[:8])[0]
        path = self.write_bytes("long.safetensors", struct.pack("<Q", len(text)) + text +
                                content[start:])
        lines = self.succeed("compare", path, "--data", self.many, "--repeat", "2").stdout
        self.assertIn("attention.self.query", lines)
        self.assertIn("\n  int8-dynamic-row", lines)
        self.assertLessEqual(max(map(len, lines.splitlines())), 80)

    @needs_tokenizer
    def test_calibrate(self):
        out = self.path("cal.json")
        report = self.succeed_json("calibrate", self.texts, "--data", self.many, "-o", out)
        self.assertEqual(report["samples"], 40)
        tensor = report["tensors"][0]
        self.assertEqual((tensor["name"], tensor["rows"]), ("sum", 200))
        sums = []
        for line in self.read_bytes(self.many).decode().splitlines():
            for place, number in enumerate(self.encoder.ids(*line.split())):
                word = self.encoder.words[number * 8:][:8]
                position = self.encoder.position[(2 + place) * 8:][:8]
                sums += [a + b for a, b in zip(word, position)]
        self.assertAlmostEqual(tensor["min"], min(sums), places=6)
        self.assertAlmostEqual(tensor["max"], max(sums), places=6)
        first = self.succeed_json("calibrate", self.texts, "--data", self.many, "-o", out, "--rows",
                                  "3")
        self.assertEqual(first["tensors"][0]["rows"], 15)
        self.succeed("quantize", self.texts, "--ranges", "static", "--calibration", out, "-o",
                     self.path("static.safetensors"), "-q")

    @needs_tokenizer
    def test_errors(self):
        def fail(code, *arguments):
            return self.fail_with(code, "compare", *arguments)
        self.assertIn("--labels", fail(2, self.texts, "--data", self.many, "--min-agreement", "1"))
        self.assertIn("one line", fail(3, self.texts, "--data", self.write_bytes("one", b"cat\n")))
        fail(3, self.texts, self.model, "--data", self.many)
        fail(3, self.texts, "--data", self.write_bytes("empty", b""))
        bare = self.path("bare.safetensors")
        self.encoder.write(bare, attachments=[])
        self.assertIn("no tokenizer", fail(3, bare, "--data", self.many))
        self.encoder.write(bare, rules=dict(RULES, type="bpe"))
        self.assertIn("bpe", fail(3, bare, "--data", self.many))


class Bench(TextTest):
    def bench(self, *arguments):
        return self.succeed_json("bench", self.texts, "--repeat", "2", *arguments)

    def test_sequences(self):
        report = self.bench("-b", "1,3", "-s", "4,12")
        points = [(run["sequence"], run["batch"], run["rows"]) for run in report["runs"]]
        self.assertEqual(sorted(set(points)), [(4, 1, 4), (4, 3, 12), (12, 1, 12), (12, 3, 36)])
        text = self.succeed("bench", self.texts, "--repeat", "2", "-b", "2", "-s", "4").stdout
        self.assertIn("batch 2, sequence 4, 1 thread", text)
        csv = self.succeed("bench", self.texts, "--repeat", "2", "-b", "2", "-s", "4", "-f",
                           "csv").stdout.splitlines()
        self.assertEqual(csv[0].split(",")[-1], "sequence")
        self.assertEqual(csv[1].split(",")[-1], "4")

    def test_mlp_has_no_sequence(self):
        report = self.succeed_json("bench", self.model, "-b", "2", "--repeat", "2")
        self.assertEqual({run["sequence"] for run in report["runs"]}, {None})

    @needs_tokenizer
    def test_lines(self):
        report = self.bench("--data", self.file, "-b", "3,9")
        tokens = [len(self.encoder.ids(*pieces.split())) for _, pieces in self.lines]
        rows = {run["batch"]: run["rows"] for run in report["runs"]}
        self.assertEqual(rows, {3: sum(tokens[:3]), 9: sum(tokens) + sum(tokens[:2])})
        self.assertEqual({run["sequence"] for run in report["runs"]}, {None})
        text = self.succeed("bench", self.texts, "--repeat", "2", "--data", self.file).stdout
        self.assertIn("64 texts", text)

    def test_explain_sums_layers(self):
        text = self.succeed("bench", self.texts, "--repeat", "2", "-b", "1", "-s", "4",
                            "--explain").stdout
        self.assertIn("layer.*.fc1", text)
        text = self.succeed("bench", self.texts, "--repeat", "2", "-b", "1", "-s", "4",
                            "--explain-nodes").stdout
        self.assertIn("layer.0.fc1", text)
        report = self.bench("-b", "1", "-s", "4", "--explain")
        names = {node["name"] for node in report["explain"][0]["nodes"]}
        self.assertIn("layer.0.fc1", names)

    def test_page(self):
        page = self.path("page.html")
        self.bench("-b", "1,2", "-s", "4,8", "--explain", "--html", page)
        content = self.read_bytes(page).decode()
        for word in ["batch 2 x 8", "sequence 8", "layer.*.fc1"]:
            self.assertIn(word, content)

    @needs_tokenizer
    def test_errors(self):
        def fail(code, *arguments):
            return self.fail_with(code, "bench", self.texts, *arguments)
        fail(2, "--data", self.file, "-s", "4")
        fail(2, "-s", "0")
        self.assertIn("12", fail(3, "-b", "1", "-s", "13"))
        fail(3, "--data", self.write_bytes("empty", b""))
        result = run_command("bench", self.texts, "-b", "1", "-s", "4", "--repeat", "2",
                             "--min-speedup", "100000")
        self.assertEqual(result.returncode, 1)
        self.assertIn("sequence 4", result.stderr)


if __name__ == "__main__":
    unittest.main()
