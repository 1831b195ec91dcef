"""`dynq formats`: numbers, output in every form, its page, and bad files."""

import csv
import io
import json
import math
import os
import re
import struct
import unittest
from xml.etree import ElementTree

import test_page
from cli_support import CommandTest, Mlp, floats, write_encoder, write_npy

KINDS = ["fp64", "fp32", "fp16", "bf16"] + [
    "int%d %s" % (bits, scaling) for bits in (16, 8, 4, 2)
    for scaling in ("tensor", "column", "groups")]
# A page has the same parts whatever kernel made it.
REPEATED = "DYNQ_TEST_KERNEL" in os.environ


def load_tests(loader, tests, pattern):
    return unittest.TestSuite() if REPEATED else tests


def write_safetensors(path, tensors):
    """name -> (dtype, shape, bytes)"""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def by_kind(report):
    return {row["format"] + (" " + row["scaling"] if row["scaling"] else ""): row
            for row in report["formats"]}


class Formats(CommandTest):
    def array(self, rows, kind="f4"):
        path = self.path("w.npy")
        write_npy(path, rows, kind)
        return path

    def test_model(self):
        report = self.succeed_json("formats", self.model)
        self.assertEqual(report["schema"], "dynq.formats/1")
        self.assertEqual([tensor["name"] for tensor in report["tensors"]], ["fc1", "fc2"])
        together = report["together"]
        self.assertEqual(together["values"], 5 * 18 + 18 * 7)
        for tensor in report["tensors"] + [together]:
            self.assertEqual(list(by_kind(tensor)), KINDS)
        for kind in KINDS:
            parts = [by_kind(tensor)[kind] for tensor in report["tensors"]]
            self.assertEqual(by_kind(together)[kind]["bytes"], sum(part["bytes"] for part in parts))
            self.assertEqual(by_kind(together)[kind]["max_abs_error"],
                             max(part["max_abs_error"] for part in parts))
        self.assertTrue(by_kind(together)["fp32"]["exact"])
        self.assertIsNone(by_kind(together)["fp32"]["sqnr_db"])
        self.assertEqual(by_kind(together)["fp16"]["largest"], 65504)
        self.assertAlmostEqual(by_kind(together)["fp16"]["least"] * 2.0 ** 24, 1, places=12)

    def test_one_tensor(self):
        whole = self.succeed_json("formats", self.model)["tensors"][1]
        for name in ["fc2", "fc2.weight"]:
            alone = self.succeed_json("formats", self.model, "--tensor", name)
            self.assertEqual(alone["tensors"], [whole])
        bias = self.succeed_json("formats", self.model, "--tensor", "fc1.bias")["tensors"][0]
        self.assertEqual((bias["n"], bias["k"]), (1, 18))

    def test_array_against_its_definition(self):
        rows = [floats(40, row) for row in range(3)]
        report = by_kind(self.succeed_json("formats", self.array(rows))["tensors"][0])
        error = signal = 0.0
        for row in rows:
            scale = struct.unpack("<f", struct.pack("<f", max(map(abs, row)) / 7))[0]
            for x in row:
                code = max(-7, min(7, round(x / scale)))
                error += (x - code * scale) ** 2
                signal += x * x
        row = report["int4 column"]
        self.assertAlmostEqual(row["sqnr_db"], 10 * math.log10(signal / error), places=6)
        self.assertEqual(row["bytes"], 120 // 2 + 3 * 4)
        self.assertEqual(report["int4 groups"]["bytes"], 120 // 2 + 3 * 4 + 3 * 2 * 2)

    def test_doubles_are_not_floats(self):
        rows = [[0.1, 1e300, -1e-310, 2.0]]
        report = by_kind(self.succeed_json("formats", self.array(rows, "f8"))["tensors"][0])
        self.assertTrue(report["fp64"]["exact"])
        self.assertEqual((report["fp32"]["overflowed"], report["fp32"]["vanished"]), (1, 1))
        self.assertIsNone(report["fp32"]["sqnr_db"])
        self.assertFalse(report["fp32"]["exact"])
        text = self.succeed("formats", self.path("w.npy")).stdout
        self.assertIn("fp32: 1 of 4 values overflow to infinity.", text)

    def test_any_safetensors_file(self):
        path = self.path("any.safetensors")
        write_safetensors(path, {
            "a": ("F64", [2, 2], struct.pack("<4d", 0.1, 0.2, 0.3, 0.4)),
            "b": ("F16", [1, 2, 2], struct.pack("<4e", 1, 2, 3, 4)),
            "c": ("BF16", [2, 1], struct.pack("<2H", 0x3F80, 0xC000)),
            "d": ("F32", [2], struct.pack("<2f", 1, 3)),
            "e": ("I32", [2, 2], bytes(16)),
            "f": ("F32", [0, 2], b"")})
        report = self.succeed_json("formats", path)
        self.assertEqual([tensor["name"] for tensor in report["tensors"]], ["a", "b", "c"])
        a, b, c = map(by_kind, report["tensors"])
        self.assertFalse(a["fp32"]["exact"])
        self.assertTrue(b["fp16"]["exact"] and c["bf16"]["exact"])
        self.assertEqual(report["tensors"][1]["k"], 4)
        self.assertEqual(self.succeed_json("formats", path, "--tensor", "d")["together"]["max"], 3)
        self.assertIn("I32", self.fail_with(3, "formats", path, "--tensor", "e"))
        self.assertIn("no elements", self.fail_with(3, "formats", path, "--tensor", "f"))
        self.assertIn("'g'", self.fail_with(2, "formats", path, "--tensor", "g"))

    def test_text_fits_a_page(self):
        encoder = self.path("encoder")
        write_encoder(encoder)
        for options in [[self.model], [self.data], [encoder, "--tensor", "words"],
                        [self.model, "-f", "md"]]:
            text = self.succeed("formats", *options).stdout
            for line in text.splitlines():
                self.assertLessEqual(len(line), 80, line)
                self.assertEqual(line, line.rstrip())
        self.assertIn("| fp16 |", text)

    def test_csv(self):
        text = self.succeed("formats", self.model, "-f", "csv").stdout
        rows = list(csv.DictReader(io.StringIO(text)))
        self.assertEqual(len(rows), 3 * len(KINDS))
        self.assertEqual({row["tensor"] for row in rows}, {"fc1", "fc2", "(all)"})
        report = self.succeed_json("formats", self.model)
        for row, expected in zip(rows[-16:], report["together"]["formats"]):
            self.assertEqual(row["bytes"], str(expected["bytes"]))
            if expected["sqnr_db"] is not None:
                self.assertAlmostEqual(float(row["sqnr_db"]), expected["sqnr_db"], places=3)

    def test_bad_files(self):
        for rows, word in [([[0.0, 0.0], [-0.0, 0.0]], "all values are 0"),
                           ([[1.0, math.nan]], "[0][1] is NaN"),
                           ([[1.0, 2.0], [math.inf, 0.0]], "[1][0] is infinite")]:
            path = self.array(rows)
            self.assertIn(word, self.fail_with(3, "formats", path))
            self.assertIn(word, self.fail_with(3, "formats", path, "--html", self.path("p.html")))
        self.assertIn("empty", self.fail_with(3, "formats", self.write_bytes("none", b"")))
        self.fail_with(3, "formats", self.write_bytes("short", b"\x93NUMPY"))
        self.fail_with(3, "formats", self.write_bytes("text.npy", b"some text, no numbers"))
        whole = self.read_bytes(self.data)
        self.fail_with(3, "formats", self.write_bytes("cut.npy", whole[:-3]))
        self.assertIn("'nothing'", self.fail_with(2, "formats", self.model, "--tensor", "nothing"))
        self.fail_with(2, "formats", self.model, "--tensor", "act")
        self.fail_with(2, "formats", self.data, "--tensor", "fc1")
        self.fail_with(4, "formats", self.path("missing"))
        self.fail_with(4, "formats", self.model, "--html", self.path("no/page.html"))
        self.fail_with(2, "formats")
        broken = Mlp()
        broken.fc2[3] = math.nan
        broken.write(self.model)
        self.assertIn("fc2", self.fail_with(3, "formats", self.model))


class FormatsPage(test_page.PageTest):
    def page(self, *arguments):
        path = self.path("page.html")
        self.succeed("formats", *arguments, "--html", path, "-q")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        parser = test_page.Balance()
        parser.feed(text)
        parser.close()
        self.assertEqual(parser.open, [])
        for word in ["<script", "http:", "https:", "src=", "@import", "url(", "nan", ">inf",
                     "\"inf"]:
            self.assertNotIn(word, text)
        plots = re.findall(r"<svg.*?</svg>", text, re.S)
        for plot in plots:
            ElementTree.fromstring(plot)
        return path, text, plots

    def test_model(self):
        path, text, plots = self.page(self.model)
        self.assertEqual(len(plots), 7)
        for word in ["fp64", "int2 groups", "Bits", "Near 0", "Very near 0", "Tensor by tensor"]:
            self.assertIn(word, text)
        self.check_layout(path, (390, False), (390, True), (1280, False), (1280, True))
        self.check_paper(path, 6)

    def test_arrays(self):
        """Tiny, huge, one value, overflow, a name that is markup."""
        for rows in [[[1e-30, -2e-30]], [[1e30, 5.0]], [[3.0]], [[0.0, 1e-7]]]:
            name = self.path("<b>&\"'W.npy")
            write_npy(name, rows, "f8")
            path, _, plots = self.page(name)
            self.assertGreaterEqual(len(plots), 4)
            self.check_layout(path, (390, False), (1280, True))


if __name__ == "__main__":
    unittest.main()
