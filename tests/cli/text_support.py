"""A small model that reads texts, and its answers in double."""

import json
import math
import unittest

from cli_support import CommandTest, floats, run_command, write_model

HAS_TOKENIZER = json.loads(run_command("info", "--json").stdout)["tokenizer"]
needs_tokenizer = unittest.skipUnless(HAS_TOKENIZER, "this build has no tokenizer")

WORDS = ("[PAD] [UNK] [CLS] [SEP] the cat dog sat ran on a mat rain sun today is it ##s ##ting in "
         "home far and near shares price fell rose .").split()
RULES = {"type": "wordpiece", "lower_case": True, "strip_accents": None, "chinese_spaces": True,
         "max_tokens": 12, "unknown": "[UNK]", "start": "[CLS]", "end": "[SEP]", "prefix": "##",
         "max_word_characters": 100}


class Encoder:
    """ids -> words + places(14 rows, first 2) -> fc1(6) -> gelu -> mean -> length 1."""

    width, columns, places, first, longest = 8, 6, 14, 2, 12

    def __init__(self):
        self.words = floats(len(WORDS) * self.width, 11)
        self.position = floats(self.places * self.width, 12)
        self.fc1 = floats(self.columns * self.width, 13)
        self.bias = floats(self.columns, 14)

    def write(self, path, rules=None, words=None, attachments=None, pooled=True, scale=1.0,
              looked_up=True):
        table = {"columns": self.width, "precision": "fp32"}
        nodes = [
            {"name": "input_ids", "op": "ids"},
            {"name": "words", "op": "embedding", "inputs": ["input_ids"], "rows": len(WORDS),
             **table},
            {"name": "places", "op": "position_embedding", "inputs": ["input_ids"],
             "rows": self.places, "first": self.first, **table},
            {"name": "sum", "op": "add", "inputs": ["words", "places"]},
            {"name": "layer.0.fc1", "op": "linear", "inputs": ["sum"], "k": self.width,
             "n": self.columns, "bias": True, "precision": "fp32"},
            {"name": "layer.0.act", "op": "gelu", "inputs": ["layer.0.fc1"]},
            {"name": "mean", "op": "pool", "inputs": ["layer.0.act"], "pooling": "mean"},
            {"name": "unit", "op": "normalize", "inputs": ["mean"]},
        ]
        if not pooled:
            nodes = nodes[:6]
        if not looked_up:  # of the ids only their number is read
            nodes = [node for node in nodes if node["name"] not in ("words", "sum")]
            nodes[2]["inputs"] = ["places"]
        tensors = {"words.weight": ([len(WORDS), self.width], [scale * x for x in self.words]),
                   "places.weight": ([self.places, self.width], self.position),
                   "layer.0.fc1.weight": ([self.columns, self.width], self.fc1),
                   "layer.0.fc1.bias": ([self.columns], self.bias)}
        if not looked_up:
            del tensors["words.weight"]
        if attachments is None:
            text = "".join(word + "\n" for word in words or WORDS)
            attachments = [("vocabulary", text.encode()),
                           ("tokenizer", json.dumps(RULES if rules is None else rules).encode())]
        outputs = [{"name": "sentence_embedding", "node": nodes[-1]["name"]}]
        write_model(path, nodes, outputs, tensors, "1.1", attachments)

    def ids(self, *words):
        """Of pieces, with those around them, cut to the longest."""
        pieces = [WORDS.index(word) for word in words][:self.longest - 2]
        return [WORDS.index("[CLS]"), *pieces, WORDS.index("[SEP]")]

    def rows(self, ids):
        """What is pooled: a row for each id."""
        result = []
        for place, number in enumerate(ids):
            word = self.words[number * self.width:][:self.width]
            position = self.position[(self.first + place) * self.width:][:self.width]
            x = [a + b for a, b in zip(word, position)]
            row = []
            for n in range(self.columns):
                y = self.bias[n] + sum(a * b for a, b in zip(x, self.fc1[n * self.width:]))
                row.append(0.5 * y * (1 + math.erf(y / math.sqrt(2))))
            result.append(row)
        return result

    def answer(self, ids):
        rows = self.rows(ids)
        mean = [sum(column) / len(rows) for column in zip(*rows)]
        length = math.sqrt(sum(x * x for x in mean))
        return [x / length for x in mean]


class TextTest(CommandTest):
    """Each test has such a model and a file of lines, too."""

    lines = [("the cat sat on the mat", "the cat sat on the mat"),
             ("Cats", "cat ##s"),
             ("", ""),
             ("DOG ran home.", "dog ran home ."),
             ("shares fell today", "shares fell today"),
             ("the price rose today and it is far", "the price rose today and it is far"),
             ("zebra", "[UNK]")]

    def setUp(self):
        super().setUp()
        self.encoder = Encoder()
        self.texts = self.path("texts.safetensors")
        self.encoder.write(self.texts)
        self.answers = [self.encoder.answer(self.encoder.ids(*pieces.split()))
                        for _, pieces in self.lines]
        self.file = self.write_bytes("lines.txt", "".join(
            line + "\n" for line, _ in self.lines).encode())

    def assert_rows(self, found, expected, delta=2e-6):
        self.assertEqual(len(found), len(expected))
        for row, (a, b) in enumerate(zip(found, expected)):
            self.assertEqual(len(a), len(b))
            for x, y in zip(a, b):
                self.assertAlmostEqual(x, y, delta=delta, msg=(row, a, b))
