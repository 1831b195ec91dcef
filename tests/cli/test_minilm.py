"""The published encoder from its files to embeddings; tests/golden/make_bert.py has the answers."""

import json
import math
import os
import unittest

from cli_support import REFERENCE, CommandTest, read_npy
from text_support import needs_tokenizer

FOLDER = os.environ.get("DYNQ_MINILM")
GOLDEN = os.path.join(os.environ.get("DYNQ_SOURCE_ROOT", os.curdir), "tests", "golden", "minilm")


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) *
                                                        sum(y * y for y in b))


@needs_tokenizer
@unittest.skipUnless(FOLDER, "DYNQ_MINILM does not name the folder that tools/get-minilm.sh prints")
class PublishedEncoder(CommandTest):
    def setUp(self):
        super().setUp()
        self.lines = os.path.join(GOLDEN, "sentences.txt")
        self.answers = read_npy(os.path.join(GOLDEN, "minilm_sentences.npy"))
        if REFERENCE: # it has the same bits as the others, and takes minutes for all lines
            self.lines = self.few(self.lines, 3)
            self.answers = self.answers[:3]
        self.fp32 = self.path("fp32.safetensors")
        self.succeed("convert", FOLDER, "-o", self.fp32, "-q")

    def few(self, path, count):
        with open(path, encoding="utf-8") as lines:
            text = "".join(lines.readlines()[:count])
        with open(self.path("few.txt"), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path("few.txt")

    def embed(self, model, *options):
        return self.succeed_json("embed", model, self.lines, *options)["embeddings"]

    def test_published_fp32(self):
        found = self.embed(self.fp32)
        self.assertEqual(len(found), len(self.answers))
        for a, b in zip(found, self.answers):
            self.assertLess(max(abs(x - y) for x, y in zip(a, b)), 2e-5)

    def quantize(self, scope, *options):
        path = self.path(scope + ".safetensors")
        self.succeed("quantize", self.fp32, "-o", path, "-q", "--granularity", scope, *options)
        return path

    def test_published_int8(self):
        for scope, mean, worst in [("segment", 0.992, 0.971), ("row", 0.9983, 0.992)]:
            path = self.quantize(scope)
            self.assertLessEqual(os.path.getsize(path), 24e6)
            found = self.embed(path)
            cosines = [cosine(a, b) for a, b in zip(found, self.answers)]
            self.assertGreaterEqual(sum(cosines) / len(cosines), worst if REFERENCE else mean, scope)
            self.assertGreaterEqual(min(cosines), worst, scope)
            self.assertEqual(self.embed(path, "--batch-tokens", "2", "-t", "2"), found, scope)

    def test_smoothed(self):
        """Measured on half of the sentences, compared on the other half; limits as below."""
        path = os.path.join(os.path.dirname(GOLDEN), "sentences.txt")
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
        count = 20 if REFERENCE else 250
        for name, part in [("first.txt", lines[:count]), ("last.txt", lines[-count:])]:
            with open(self.path(name), "w", encoding="utf-8") as file:
                file.write("".join(part))
        calibration = self.path("cal.json")
        self.succeed("calibrate", self.fp32, "--data", self.path("first.txt"), "-o", calibration,
                     "-q")
        limits = {"segment": (0.9980, 0.9945), "row": (0.9992, 0.9985)}
        models = [self.quantize(scope, "--smooth", "--calibration", calibration)
                  for scope in limits]
        report = self.succeed_json("compare", self.fp32, *models, "--data", self.path("last.txt"),
                                   "--engine", "native", "--repeat", "1")
        for variant, (mean, worst) in zip(report["variants"][1:], limits.values(), strict=True):
            self.assertGreaterEqual(variant["cosine_mean"], mean, variant["name"])
            self.assertGreaterEqual(variant["cosine_min"], worst, variant["name"])

    def test_compare(self):
        """500 sentences, but 25 with the reference kernel, which has the same bits and takes minutes;
        the limits lie just below what was measured."""
        sentences, count = os.path.join(os.path.dirname(GOLDEN), "sentences.txt"), 500
        limits = {"segment": (0.9930, 0.985), "row": (0.9985, 0.9965)}
        if REFERENCE:
            sentences, count = self.few(sentences, 25), 25
        report = self.succeed_json("compare", self.fp32, *map(self.quantize, limits), "--data",
                                   sentences, "--engine", "native", "--repeat", "1")
        self.assertEqual(report["rows"], count)
        for variant, (mean, worst) in zip(report["variants"][1:], limits.values(), strict=True):
            self.assertGreaterEqual(variant["cosine_mean"], mean, variant["name"])
            self.assertGreaterEqual(variant["cosine_min"], worst, variant["name"])


if __name__ == "__main__":
    unittest.main()
