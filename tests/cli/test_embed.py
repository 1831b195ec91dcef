"""`dynq embed`."""

import json
import math
import os
import struct
import subprocess
import unittest

from cli_support import DYNQ, read_npy, run_command
from text_support import HAS_TOKENIZER, RULES, WORDS, Encoder, TextTest, needs_tokenizer


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) *
                                                        sum(y * y for y in b))


def to_floats(rows):
    """The FP32 numbers that decimals stand for."""
    return [list(struct.unpack("<%df" % len(row), struct.pack("<%df" % len(row), *row)))
            for row in rows]


@needs_tokenizer
class Embed(TextTest):
    def embed(self, content, *options, model=None):
        """Embeddings of the bytes of a file, by --json."""
        path = self.write_bytes("content.txt", content)
        return self.succeed_json("embed", model or self.texts, path, *options)

    def answer(self, *pieces):
        return self.encoder.answer(self.encoder.ids(*pieces))

    def test_every_form_says_the_same(self):
        report = self.succeed_json("embed", self.texts, self.file)
        self.assertEqual(report["schema"], "dynq.embed/1")
        self.assert_rows(report["embeddings"], self.answers)
        out = self.path("y.npy")
        self.succeed("embed", self.texts, self.file, "-o", out, "-q")
        self.assertEqual(read_npy(out), to_floats(report["embeddings"]))  # to the last bit
        lines = self.succeed("embed", self.texts, self.file, "-f", "jsonl").stdout.splitlines()
        objects = [json.loads(line) for line in lines]
        self.assertEqual([entry["text"] for entry in objects], [line for line, _ in self.lines])
        self.assertEqual([entry["embedding"] for entry in objects], report["embeddings"])
        report = self.succeed_json("embed", self.texts, self.file, "-o", out)
        self.assertIsNone(report["embeddings"])
        self.assertEqual(report["file"], out)
        self.assertEqual(json.loads(self.succeed("embed", self.texts, self.file, "-f", "json", "-q")
                                    .stdout)["lines"], len(self.lines))

    def test_json_keys(self):
        report = self.succeed_json("embed", self.texts, self.file)
        tokens = sum(len(self.encoder.ids(*pieces.split())) for _, pieces in self.lines)
        for key, value in {"lines": len(self.lines), "columns": 6, "tokens": tokens,
                           "truncated": 0, "max_tokens": 12, "threads": 1, "engine": "native",
                           "similarity": None, "pairs": None, "matches": None,
                           "file": None}.items():
            self.assertEqual(report[key], value, key)
        self.assertGreater(report["sentences_per_second"], 0)

    def test_batches_change_nothing(self):
        for model in [self.texts, self.quantize(), self.quantize("--granularity", "row")]:
            expected = self.succeed_json("embed", model, self.file)["embeddings"]
            for options in [["--batch-tokens", "2"], ["--batch-tokens", "13"],
                            ["--batch-tokens", "100000"], ["-t", "2"]]:
                report = self.succeed_json("embed", model, self.file, *options)
                self.assertEqual(report["embeddings"], expected, options)

    def quantize(self, *options):
        out = self.path("int8.safetensors")
        self.succeed("quantize", self.texts, "-o", out, "-q", *options)
        return out

    def test_int8(self):
        report = self.succeed_json("embed", self.quantize(), self.file)
        for found, expected in zip(report["embeddings"], self.answers):
            self.assertGreater(cosine(found, expected), 0.999)
            self.assertLess(cosine(found, expected), 1 - 1e-9)

    def test_standard_input(self):
        content = self.read_bytes(self.file)
        for arguments in [[], ["-"]]:
            result = subprocess.run([DYNQ, "embed", self.texts, *arguments, "--json"],
                                    input=content, capture_output=True, check=True)
            self.assert_rows(json.loads(result.stdout)["embeddings"], self.answers)

    def test_lines(self):
        """CR LF, a last line without newline, empty lines, no lines."""
        expected = [self.answer("the", "cat"), self.answer(), self.answer("dog")]
        for content in [b"the cat\n\ndog\n", b"the cat\r\n\r\ndog\r\n", b"the cat\n\ndog",
                        b"the cat\n  \ndog"]:
            self.assert_rows(self.embed(content)["embeddings"], expected)
        self.assertEqual(self.embed(b"")["embeddings"], [])
        self.assertEqual(self.embed(b"")["lines"], 0)
        self.assert_rows(self.embed(b"\n")["embeddings"], [self.answer()])
        out = self.path("none.npy")
        self.succeed("embed", self.texts, self.write_bytes("none", b""), "-o", out, "-q")
        self.assertEqual(read_npy(out), [])

    def test_bytes_that_are_no_text(self):
        """NUL and what is not UTF-8 is passed over; the lines around it stay."""
        content = b"the cat\nthe\0 \xffcat\x80\n\xed\xa0\x80dog \xf8\n\0\0\nthe cat\n"
        expected = [self.answer("the", "cat"), self.answer("the", "cat"), self.answer("dog"),
                    self.answer(), self.answer("the", "cat")]
        self.assert_rows(self.embed(content)["embeddings"], expected)
        path = self.path("content.txt")
        lines = self.succeed("embed", self.texts, path, "-f", "jsonl").stdout.splitlines()
        self.assertEqual([json.loads(line)["text"] for line in lines],
                         ["the cat", "the\0 \ufffdcat\ufffd", "\ufffd\ufffd\ufffddog \ufffd", "\0\0",
                          "the cat"])
        for options in [[], ["--similarity"], ["--query", "cat"]]:
            self.assertIn("\ufffdcat", self.succeed("embed", self.texts, path, *options).stdout)

    def test_binary_file(self):
        content = bytes(range(256)) * 500
        report = self.embed(content)
        self.assertEqual(report["lines"], content.count(b"\n") + 1)
        self.assertEqual(len(report["embeddings"]), report["lines"])

    def test_long_lines(self):
        words = b"the cat " * 131072  # a MiB
        report = self.embed(b"dog\n" + words + b"\n" + b"x" * 3000000 + b"\ndog\n" + words)
        cut = self.answer(*["the", "cat"] * 6)
        self.assert_rows(report["embeddings"], [self.answer("dog"), cut, self.answer("[UNK]"),
                                                self.answer("dog"), cut])
        self.assertEqual(report["truncated"], 3)  # one of them not by its tokens

    def test_max_tokens(self):
        report = self.succeed_json("embed", self.texts, self.file, "--max-tokens", "4")
        self.encoder.longest = 4
        self.assert_rows(report["embeddings"],
                         [self.encoder.answer(self.encoder.ids(*pieces.split()))
                          for _, pieces in self.lines])
        self.assertEqual(report["truncated"], 4)
        self.fail_with(2, "embed", self.texts, self.file, "--max-tokens", "13")
        self.fail_with(2, "embed", self.texts, self.file, "--max-tokens", "1")

    def test_memory_does_not_grow(self):
        """Forty times the lines, the same memory, but for noise."""
        if "ASAN_OPTIONS" in os.environ:
            self.skipTest("the sanitizer keeps memory that was freed")
        def peak(count):
            path = self.write_bytes("many.txt", b"the cat sat on the mat\n" * count)
            script = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
                      "stdout=subprocess.DEVNULL); "
                      "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
            return int(subprocess.run(["python3", "-c", script, DYNQ, "embed", self.texts, path,
                                       "-q", "-o", self.path("many.npy")], check=True,
                                      capture_output=True, text=True).stdout)
        few, many = peak(5000), peak(200000)
        self.assertEqual(len(read_npy(self.path("many.npy"))), 200000)
        self.assertLess(many - few, 2048, "KiB")  # 200,000 x 6 floats are 4.7 MB

    def test_similarity_matrix(self):
        report = self.succeed_json("embed", self.texts, self.file, "--similarity")
        for i, row in enumerate(report["similarity"]):
            for j, value in enumerate(row):
                self.assertAlmostEqual(value, cosine(self.answers[i], self.answers[j]), places=5)
        self.assertIsNone(report["pairs"])
        text = self.succeed("embed", self.texts, self.file, "--similarity").stdout
        self.assertIn("Cats", text)
        self.assertIn("1.000", text)

    def test_similar_pairs(self):
        content = self.read_bytes(self.file) + b"the cat sat on a mat\nit is near\nsun\n"
        report = self.embed(content, "--similarity", "--top", "4")
        rows = report["embeddings"]
        pairs = sorted(((cosine(rows[i], rows[j]), i + 1, j + 1) for j in range(len(rows))
                        for i in range(j)), reverse=True)[:4]
        self.assertIsNone(report["similarity"])
        self.assertEqual([(pair["line"], pair["other"]) for pair in report["pairs"]],
                         [(i, j) for _, i, j in pairs])
        for found, (value, _, _) in zip(report["pairs"], pairs):
            self.assertAlmostEqual(found["cosine"], value, places=5)
        text = self.succeed("embed", self.texts, self.path("content.txt"), "--similarity").stdout
        self.assertEqual(len(text.splitlines()), 1 + 10)

    def test_query(self):
        query = self.answer("a", "dog", "ran")
        order = sorted(range(len(self.answers)), key=lambda i: -cosine(query, self.answers[i]))
        report = self.succeed_json("embed", self.texts, self.file, "--query", "a dog ran", "--top",
                                   "3")
        self.assertEqual([match["line"] for match in report["matches"]],
                         [i + 1 for i in order[:3]])
        for match in report["matches"]:
            self.assertAlmostEqual(match["cosine"], cosine(query, self.answers[match["line"] - 1]),
                                   places=5)
        self.assertEqual(report["lines"], len(self.lines))
        text = self.succeed("embed", self.texts, self.file, "--query", "a dog ran").stdout
        self.assertEqual(len(text.splitlines()), 1 + len(self.lines))

    def test_tables(self):
        for options in [[], ["--similarity"], ["--query", "x"]]:
            for form in ["text", "md", "csv"]:
                result = self.succeed("embed", self.texts, self.file, "-f", form, *options)
                self.assertIn("Cats", result.stdout)
            self.assertIn("7 lines", result.stderr)
        self.assertIn("| text", self.succeed("embed", self.texts, self.file, "-f", "md").stdout)

    def test_not_finite_names_the_line(self):
        """A word whose row overflows: lines before it are written."""
        self.encoder.words[WORDS.index("sun") * Encoder.width] = 3e38
        self.encoder.words[WORDS.index("sun") * Encoder.width + 1] = -3e38
        self.encoder.fc1 = [4.0 * x + 3 for x in self.encoder.fc1]
        self.encoder.write(self.texts)
        path = self.write_bytes("bad.txt", b"the cat\ndog\nthe sun\nrain\n")
        result = subprocess.run([DYNQ, "embed", self.texts, path, "-f", "jsonl"],
                                capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("line 3:", result.stderr)
        self.assertEqual([json.loads(line)["text"] for line in result.stdout.splitlines()],
                         ["the cat", "dog"])
        out = self.path("bad.npy")
        for options in [[], ["--batch-tokens", "4"], ["--batch-tokens", "10"]]:
            result = run_command("embed", self.texts, path, "-o", out, *options)
            self.assertEqual((result.returncode, result.stderr.count("\n")), (3, 1), result.stderr)
            self.assertIn("line 3:", result.stderr)
            self.assertIn("the lines before it are in " + out, result.stderr)
            self.assertEqual(len(read_npy(out)), 2)
            os.remove(out)
        path = self.write_bytes("bad.txt", b"the sun\nrain\n")
        self.assertIn("line 1:", self.fail_with(3, "embed", self.texts, path, "-o", out))
        self.assertFalse(os.path.exists(out))

    def test_output_files(self):
        out = self.path("y.npy")
        self.write_bytes("y.npy", b"old")
        self.succeed("embed", self.texts, self.file, "-o", out, "-q")
        self.assertEqual(len(read_npy(out)), len(self.lines))
        piped = subprocess.run([DYNQ, "embed", self.texts, self.file, "-o", "/dev/stderr", "-q"],
                               capture_output=True, check=True)
        self.assertEqual(piped.stderr, self.read_bytes(out))
        self.assertIn("/dev/full", self.fail_with(4, "embed", self.texts, self.file, "-o",
                                                  "/dev/full", "-f", "jsonl",
                                                  stdout=subprocess.DEVNULL))
        self.fail_with(4, "embed", self.texts, self.file, "-o", self.path("no/y.npy"))
        self.fail_with(4, "embed", self.texts, self.path("missing.txt"))

    def test_options_that_exclude_each_other(self):
        self.fail_with(2, "embed", self.texts, self.file, "--similarity", "--query", "x")
        self.fail_with(2, "embed", self.texts, self.file, "-f", "jsonl", "--similarity")
        self.fail_with(2, "embed", self.texts, self.file, "-f", "jsonl", "--json")
        self.fail_with(2, "embed", self.texts, self.file, "-f", "csv", "--json")
        self.fail_with(2, "embed")
        self.fail_with(2, "embed", self.texts, self.file, "another")

    def test_help(self):
        """--format is its own, and has an effect."""
        text = self.succeed("embed", "--help").stdout
        self.assertIn("Accepted without effect here: --seed.", text)
        self.assertEqual(text.count("--format"), 1)

    def test_models_without_text(self):
        self.assertIn("reads no text", self.fail_with(3, "embed", self.model, self.file))
        path = self.path("bare.safetensors")
        self.encoder.write(path, attachments=[])
        self.assertIn("no tokenizer", self.fail_with(3, "embed", path, self.file))
        self.encoder.write(path, attachments=[("tokenizer", json.dumps(RULES).encode())])
        self.assertIn("vocabulary", self.fail_with(3, "embed", path, self.file))
        self.encoder.write(path, pooled=False)
        self.assertIn("each token", self.fail_with(3, "embed", path, self.file))

    def test_damaged_tokenizers(self):
        path = self.path("damaged.safetensors")
        for key, value in [("type", "bpe"), ("type", 3), ("lower_case", 1), ("lower_case", None),
                           ("strip_accents", "yes"), ("chinese_spaces", None), ("max_tokens", 1),
                           ("max_tokens", 1e9), ("max_tokens", -5), ("max_tokens", 3.5),
                           ("unknown", ""), ("unknown", "[MISSING]"), ("start", None),
                           ("end", "[X]"), ("prefix", 1), ("max_word_characters", 0),
                           ("max_word_characters", 100000), ("unknown", "x" * 300)]:
            self.encoder.write(path, rules=dict(RULES, **{key: value}))
            message = self.fail_with(3, "embed", path, self.file)
            self.assertTrue(key in message or str(value) in message, (key, value, message))
            rules = dict(RULES)
            del rules[key]
            self.encoder.write(path, rules=rules)
            self.assertIn(key, self.fail_with(3, "embed", path, self.file))
        self.encoder.write(path, rules=dict(RULES, surprise=1))
        self.assertIn("surprise", self.fail_with(3, "embed", path, self.file))
        for content in [b"[]", b"{", b"\xff", b"nonsense", b"{}" * 2, b"[" * 100000,
                        json.dumps(dict(RULES, start="[CLS]\0")).encode()]:
            self.encoder.write(path, attachments=[("vocabulary", b"[UNK]\n[CLS]\n[SEP]\n"),
                                                  ("tokenizer", content)])
            self.fail_with(3, "embed", path, self.file)
        self.encoder.write(path, words=[word for word in WORDS if word != "[UNK]"])
        self.assertIn("[UNK]", self.fail_with(3, "embed", path, self.file))
        self.encoder.write(path, words=WORDS + ["one", "more"])
        self.assertIn("31 tokens", self.fail_with(3, "embed", path, self.file))

    def test_fewer_positions_than_tokens(self):
        """The position table decides."""
        self.encoder.write(self.texts, rules=dict(RULES, max_tokens=500))
        report = self.succeed_json("embed", self.texts, self.file)
        self.assertEqual(report["max_tokens"], 12)
        self.assert_rows(report["embeddings"], self.answers)

    def test_positions_for_one_token(self):
        """Not even an empty line has so few: it is no model for texts."""
        self.encoder.places = 3
        self.encoder.position = self.encoder.position[:3 * self.encoder.width]
        self.encoder.write(self.texts)
        path = self.write_bytes("many.txt", b"the cat\n\n" * 1000)
        for arguments in [["embed", self.texts, path], ["embed", self.texts, path, "--query", "x"],
                          ["embed", self.texts, path, "--batch-tokens", "2"],
                          ["embed", self.texts, path, "--max-tokens", "2"],
                          ["bench", self.texts, "--data", path]]:
            self.assertIn("positions for 1 token", self.fail_with(3, *arguments))


@unittest.skipIf(HAS_TOKENIZER, "this build has a tokenizer")
class EmbedWithoutTokenizer(TextTest):
    def test_says_what_is_missing(self):
        for arguments in [["embed", self.texts, self.file],
                          ["run", self.texts, "-i", self.file, "-o", self.path("y.npy")],
                          ["compare", self.texts, "--data", self.file],
                          ["bench", self.texts, "--data", self.file]]:
            self.assertIn("utf8proc", self.fail_with(2, *arguments))


if __name__ == "__main__":
    unittest.main()
