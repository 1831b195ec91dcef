"""Writes texts.npz: ids of real texts, and what a float64 forward makes of the first of them.

    make_texts.py [FILE]

The texts are the lines of FILE or, without one, what this Debian system says about its packages:
the short descriptions that apt knows and the long ones of what is installed.
"""

import random
import subprocess
import sys

import numpy as np
from scipy.special import erf
from tokenizers import Tokenizer

from minilm import (
    ACCURACY_TEXTS,
    CALIBRATION_TEXTS,
    EPSILON,
    HEADS,
    LAYERS,
    WIDTH,
    folder,
    made,
    weights,
)

LONGEST = 256
LONG_SHARE = 0.4


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def package_texts(count, draw):
    """Short lines and long paragraphs, mixed."""
    label = "Description: "
    available = output_of("apt-cache", "dumpavail").splitlines()
    short = {line[len(label) :] for line in available if line.startswith(label)}
    installed = output_of("dpkg-query", "-W", "-f", "${Description}\n\x1e").split("\x1e")
    long = {" ".join(text.replace("\n .", "\n").split()) for text in installed}
    long = {text for text in long if len(text) > 120}
    longs = draw.sample(sorted(long), min(len(long), round(count * LONG_SHARE)))
    texts = longs + draw.sample(sorted(short), count - len(longs))
    draw.shuffle(texts)
    return texts


def file_texts(path, count, draw):
    with open(path, encoding="utf-8") as file:
        texts = sorted({line.strip() for line in file if line.strip()})
    if len(texts) < count:
        raise SystemExit(f"{path}: {len(texts)} different lines, {count} are needed")
    return draw.sample(texts, count)


class Reference:
    """The encoder in float64, one sentence at a time, written for plainness."""

    def __init__(self):
        self.weights = {name: array.astype(np.float64) for name, array in weights().items()}

    def linear(self, x, name):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, x, name):
        centred = x - x.mean(axis=1, keepdims=True)
        deviation = np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + EPSILON)
        return centred / deviation * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def attention(self, x, name):
        query, key, value = (self.linear(x, f"{name}.{part}") for part in ("query", "key", "value"))
        heads = []
        for columns in np.split(np.arange(WIDTH), HEADS):
            scores = query[:, columns] @ key[:, columns].T / np.sqrt(len(columns))
            power = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads.append(power / power.sum(axis=1, keepdims=True) @ value[:, columns])
        return np.concatenate(heads, axis=1)

    def embedding(self, ids):
        """Mean of the tokens' last hidden state, scaled to length 1."""
        x = self.weights["embeddings.word_embeddings.weight"][ids]
        x = x + self.weights["embeddings.position_embeddings.weight"][: len(ids)]
        x = x + self.weights["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        for layer in range(LAYERS):
            name = f"encoder.layer.{layer}"
            seen = self.linear(
                self.attention(x, name + ".attention.self"), name + ".attention.output.dense"
            )
            x = self.norm(x + seen, name + ".attention.output.LayerNorm")
            inner = self.linear(x, name + ".intermediate.dense")
            inner *= 0.5 * (1 + erf(inner / np.sqrt(2)))
            x = self.norm(
                x + self.linear(inner, name + ".output.dense"), name + ".output.LayerNorm"
            )
        mean = x.mean(axis=0)
        return mean / np.linalg.norm(mean)


def main():
    draw = random.Random(20)
    count = ACCURACY_TEXTS + CALIBRATION_TEXTS
    texts = file_texts(sys.argv[1], count, draw) if sys.argv[1:] else package_texts(count, draw)
    tokenizer = Tokenizer.from_file(folder("minilm", "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    ids = [np.array(tokenizer.encode(text).ids, np.int64) for text in texts]
    reference = Reference()
    np.savez(
        made("texts.npz"),
        ids=np.concatenate(ids),
        ends=np.cumsum([len(each) for each in ids]),
        truth=np.array([reference.embedding(each) for each in ids[:ACCURACY_TEXTS]]),
    )


main()
