"""The encoder that all peers run: where its files lie, its weights, and the texts it reads."""

import os

LAYERS, HEADS, WIDTH, INNER = 6, 12, 384, 1536
EPSILON = 1e-12

ACCURACY_TEXTS = 200
CALIBRATION_TEXTS = 128
RAGGED_TEXTS = 64


def folder(*parts):
    """A path in the folder that PEERS names."""
    if not os.environ.get("PEERS"):
        raise SystemExit("set PEERS to the folder that setup.sh filled")
    return os.path.join(os.environ["PEERS"], *parts)


def made(name):
    return folder("made", name)


def weights():
    """Name -> float32 array, of the published file."""
    from safetensors.numpy import load_file

    tensors = load_file(folder("minilm", "model.safetensors"))
    return {name: array for name, array in tensors.items() if array.dtype == "float32"}


class Texts:
    """Token ids of all texts, and the true embeddings of the first ACCURACY_TEXTS."""

    def __init__(self):
        import numpy as np

        with np.load(made("texts.npz")) as file:
            self.ids = np.split(file["ids"], file["ends"][:-1])
            self.truth = file["truth"]

    def accuracy(self):
        return self.ids[:ACCURACY_TEXTS]

    def calibration(self):
        return self.ids[ACCURACY_TEXTS : ACCURACY_TEXTS + CALIBRATION_TEXTS]

    def ragged(self):
        return self.ids[:RAGGED_TEXTS]
