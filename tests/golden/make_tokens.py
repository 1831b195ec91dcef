"""Writes tokens.txt and its two vocabularies: ids of the reference tokenizer, PyPI `tokenizers`.

    python3 tests/golden/make_tokens.py MINILM
    python3 tests/golden/make_tokens.py MINILM --check LIBRARY [--count N] [--text FILE...]
    python3 tests/golden/make_tokens.py --characters LIBRARY

MINILM is a folder with the published vocab.txt and tokenizer.json of all-MiniLM-L6-v2. --check
compares the library with the reference on N varied lines (25000) and on the lines of text files,
with the whole vocabulary; --characters compares every character of Unicode, alone and between
others, with a vocabulary that tells all of them apart (some minutes). LIBRARY is
build/src/text/libdynq-text.so.

tokens_words.txt is a part of that vocab.txt, which is the vocabulary of BERT uncased (Google,
Apache License 2.0): its first tokens, all single characters, and what the lines need.
tokens_characters.txt, and the lines of tokens.txt (tokens_lines.py), are made up here. A line of
tokens.txt, separated by tabs:

    vocabulary   options   max_ids   text   ids

Options: c keep_case, k and r accents kept and removed, j keep_chinese_joined, t specials_as_text,
- none. In the text a backslash and two hexadecimal digits stand for a byte.
"""

import argparse
import ctypes
import os
import random
import sys

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

import tokens_lines

HERE = os.path.dirname(os.path.abspath(__file__))
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
OPTIONS = ["-", "-", "-", "c", "k", "cr", "j", "t", "cj", "ckt"]


def reference(tokens, options):
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    accents = True if "r" in options else False if "k" in options else None
    tokenizer.normalizer = BertNormalizer(
        clean_text=True,
        handle_chinese_chars="j" not in options,
        strip_accents=accents,
        lowercase="c" not in options,
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    if "t" not in options:
        tokenizer.add_special_tokens([token for token in SPECIALS if token in vocabulary])
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(t, vocabulary[t]) for t in ("[CLS]", "[SEP]")]
    )
    return tokenizer


def ids_of(tokenizer, line, max_ids):
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_ids)
    return tokenizer.encode(line.decode("utf-8", "replace")).ids


class Options(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("allocator", ctypes.c_void_p),
        ("keep_case", ctypes.c_int),
        ("accents", ctypes.c_int),
        ("keep_chinese_joined", ctypes.c_int),
        ("specials_as_text", ctypes.c_int),
        ("max_word_characters", ctypes.c_size_t),
        ("names", ctypes.c_char_p * 6),
    ]


class Ours:
    """The library, through its public functions."""

    def __init__(self, library, tokens, options="-"):
        self.library = ctypes.CDLL(os.path.abspath(library))
        self.library.dynq_tokenizer_free.argtypes = [ctypes.c_void_p]
        self.library.dynq_tokenizer_free.restype = None
        text = "\n".join(tokens).encode() + b"\n"
        given = Options(
            size=ctypes.sizeof(Options),
            keep_case="c" in options,
            accents=1 if "r" in options else 2 if "k" in options else 0,
            keep_chinese_joined="j" in options,
            specials_as_text="t" in options,
        )
        self.tokenizer = ctypes.c_void_p()
        status = self.library.dynq_tokenizer_create(
            text,
            ctypes.c_size_t(len(text)),
            ctypes.byref(given),
            ctypes.byref(self.tokenizer),
            None,
        )
        assert status == 0, status

    def ids(self, line, max_ids):
        ids, count = (ctypes.c_int32 * max_ids)(), ctypes.c_size_t()
        status = self.library.dynq_tokenizer_encode(
            self.tokenizer,
            line,
            ctypes.c_size_t(len(line)),
            ctypes.c_size_t(max_ids),
            ids,
            ctypes.byref(count),
            None,
        )
        assert status == 0, status
        return ids[: count.value]

    def free(self):
        self.library.dynq_tokenizer_free(self.tokenizer)


class Comparison:
    def __init__(self):
        self.compared = self.different = self.ids = 0

    def line(self, theirs, ours, line, max_ids, what):
        expected, got = ids_of(theirs, line, max_ids), ours.ids(line, max_ids)
        self.compared += 1
        self.ids += len(expected)
        if expected != got:
            self.different += 1
            if self.different <= 20:
                print(
                    f"{what}: {line[:200]!r}\n  reference {expected[:40]}\n  dynq      {got[:40]}"
                )


def read_vocabulary(folder):
    with open(os.path.join(folder, "vocab.txt"), encoding="utf-8") as file:
        return file.read().splitlines()


def check(folder, library, count, files):
    tokens = read_vocabulary(folder)
    lines = tokens_lines.lines(count, tokens, 1)
    for name in files:
        with open(name, "rb") as file:
            lines += file.read().split(b"\n")
    published = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    result = Comparison()
    ours = Ours(library, tokens)
    for i, line in enumerate(lines):
        result.line(published, ours, line, (128, 512, 7)[i % 3], "published")
    others, characters = tokens_lines.character_lines(count // 2, 2)
    for options in sorted(set(OPTIONS)):
        for name, vocabulary, some in (
            ("words", tokens, lines[: count // 2]),
            ("characters", characters, others),
        ):
            theirs, ours = reference(vocabulary, options), Ours(library, vocabulary, options)
            for line in some:
                result.line(theirs, ours, line, 256, f"{name} {options}")
            ours.free()
    print(
        f"{len(lines)} lines with the published vocabulary; with options and characters {result.compared} "
        f"comparisons of {result.ids} ids: {result.different} differ"
    )
    return result.different


def check_characters(library):
    """One vocabulary of every character would be large: 16 of them, each with what it needs."""
    normalizers = [
        BertNormalizer(),
        BertNormalizer(lowercase=False, strip_accents=True),
        BertNormalizer(strip_accents=False),
    ]
    draw, result, step = random.Random(3), Comparison(), 0x110000 // 16
    for low in range(0, 0x110000, step):
        characters = [chr(c) for c in range(low, low + step) if not 0xD800 <= c <= 0xDFFF]
        used = set(characters) | set("ab\u0301\u0334\u302e")
        for normalizer in normalizers:
            used.update(normalizer.normalize_str("".join(characters)))
        used = sorted(c for c in used if not c.isspace())
        tokens = SPECIALS + used + ["##" + c for c in used]
        for options in ("-", "c", "k", "cr"):
            theirs, ours = reference(tokens, options), Ours(library, tokens, options)
            for c in characters:
                line = f"a{c}b {c} a{c}\u0334\u302e {draw.choice(characters)}{c}{draw.choice(characters)}"
                result.line(theirs, ours, line.encode(), 64, f"U+{ord(c):04X} {options}")
            ours.free()
    print(f"{result.compared} comparisons of {result.ids} ids: {result.different} differ")
    return result.different


def escape(line):
    return "".join(chr(b) if 32 <= b < 127 and b != 0x5C else f"\\{b:02x}" for b in line)


def write(folder):
    tokens = read_vocabulary(folder)
    draw = random.Random(4)
    lines = tokens_lines.lines(500, tokens, 5)
    rows = [
        ("words", OPTIONS[i % len(OPTIONS)], draw.choice([128, 128, 128, 5, 2]), line)
        for i, line in enumerate(lines)
        if len(line) < 4000
    ]
    others, characters = tokens_lines.character_lines(200, 6)
    rows += [
        ("characters", OPTIONS[i % len(OPTIONS)] if i >= 50 else "-", 128, line)
        for i, line in enumerate(others)
    ]
    keep = (
        set(range(105))
        | set(range(1996, 2996))
        | {i for i, t in enumerate(tokens) if len(t.removeprefix("##")) == 1}
    )
    for vocabulary, options, _, line in rows:
        if vocabulary == "words":
            keep.update(reference_ids(tokens, options, line))
    small = [tokens[i] for i in sorted(keep)]
    with open(os.path.join(HERE, "tokens.txt"), "w", encoding="ascii") as file:
        for vocabulary, options, max_ids, line in rows:
            theirs = cached(small if vocabulary == "words" else characters, options)
            ids = " ".join(map(str, ids_of(theirs, line, max_ids)))
            file.write(f"{vocabulary}\t{options}\t{max_ids}\t{escape(line)}\t{ids}\n")
    for name, vocabulary in (("words", small), ("characters", characters)):
        with open(
            os.path.join(HERE, f"tokens_{name}.txt"), "w", encoding="utf-8", newline="\n"
        ) as file:
            file.writelines(token + "\n" for token in vocabulary)


CACHE = {}


def cached(tokens, options):
    key = (id(tokens), options)
    if key not in CACHE:
        CACHE[key] = reference(tokens, options)
    return CACHE[key]


def reference_ids(tokens, options, line):
    return ids_of(cached(tokens, options), line, 128)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--check", metavar="LIBRARY")
    parser.add_argument("--characters", metavar="LIBRARY")
    parser.add_argument("--count", type=int, default=25000)
    parser.add_argument("--text", nargs="*", default=[])
    given = parser.parse_args()
    if given.characters:
        return 1 if check_characters(given.characters) else 0
    if not given.folder:
        parser.error("the folder of the vocabulary is missing")
    if given.check:
        return 1 if check(given.folder, given.check, given.count, given.text) else 0
    write(given.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
