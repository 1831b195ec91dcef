#!/usr/bin/env python3
"""Makes sentences.txt: 500 English lines of 4 to 150 words, the data of `dynq compare` for encoders.

    apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wn
    ./make_sentences.py wn/usr/share/wordnet > sentences.txt

They are examples and definitions of WordNet 3.0, whose licence (sentences.LICENSE) allows it. The
longest lines are whole dictionary entries: all definitions of one word. The order is random, so that
the first tenth, which calibrates, is like the rest.
"""

import random
import re
import sys

PARTS = ["noun", "verb", "adj", "adv"]
# Not for a file that is shown to everybody.
UNWANTED = re.compile(r"slur|offensive|vulgar|obscen|sex|rape|slut|whore|nude|naked|breast|genital|"
                      r"penis|vagin|intercourse|prostitut|nazi|negro|homosex|kill|murder|suicid|"
                      r"excrement|feces|damn|bitch|bastard|jew|holocaust|racial|racis", re.I)
# How many lines of which words: from examples, from definitions, from entries.
WANTED = [("example", 4, 7, 110), ("example", 8, 12, 110), ("example", 13, 40, 60),
          ("definition", 10, 19, 60), ("definition", 20, 29, 60), ("definition", 30, 44, 45),
          ("definition", 45, 70, 25), ("entry", 71, 100, 15), ("entry", 101, 150, 15)]


def read(folder):
    """Lists of texts by kind."""
    texts = {"example": [], "definition": [], "entry": []}
    senses = {}
    for part in PARTS:
        with open("%s/data.%s" % (folder, part), encoding="latin-1") as file:
            for line in file:
                if line.startswith("  "):
                    continue  # the licence
                fields, gloss = line.rstrip().split(" | ", 1)
                texts["example"] += re.findall(r'"([^"]+)"', gloss)
                definition = re.sub(r';?\s*"[^"]*".*', "", gloss).strip(" ;")
                texts["definition"].append(definition)
                word = fields.split()[4].replace("_", " ")
                if word.isalpha() and word.islower():
                    senses.setdefault(word, []).append(definition)
    for word, definitions in senses.items():
        texts["entry"].append("%s: %s" % (word, "; ".join(definitions)))
    return texts


def usable(text, low, high):
    """ASCII, of as many words, nothing that looks like markup or a broken quotation."""
    return (low <= len(text.split()) <= high and text.isascii() and text.count("(") ==
            text.count(")") and not re.search(r"[`<>{}\[\]*_/\\|]|--", text) and
            not UNWANTED.search(text))


def main():
    chance = random.Random(5)
    texts = read(sys.argv[1])
    lines = []
    for kind, low, high, count in WANTED:
        fitting = sorted({text for text in texts[kind] if usable(text, low, high)})
        for text in chance.sample(fitting, count):
            text = " ".join(text.split())
            lines.append(text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else "."))
    chance.shuffle(lines)
    assert len(set(lines)) == 500
    print("\n".join(lines))


if __name__ == "__main__":
    main()
