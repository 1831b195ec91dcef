#!/usr/bin/env python3
"""Makes small random encoders as Hugging Face folders, and what encoders must answer, in float64.

    pip install numpy safetensors
    make_bert.py                   # in this folder: bert/
    pip install tokenizers
    make_bert.py MINILM            # minilm/, of the folder that tools/get-minilm.sh prints
    pip install onnxruntime
    make_bert.py MINILM FP32.onnx  # compares the same with the model as ONNX (inputs input_ids,
                                   # attention_mask, token_type_ids; output last_hidden_state)

Beside each folder bert/NAME are NAME_ids.npy and NAME_lengths.npy, sentences end to end, and the
answers NAME_tokens.npy (a row for each token) and NAME_sentences.npy. minilm/ has the same of real
sentences, which are minilm/sentences.txt, written for this purpose. The forward pass below is
written from the published description of the networks, sentence by sentence, in float64, and knows
nothing of dynq. Compared so with onnxruntime 1.31 in FP32, values of last_hidden_state differed by
2.6e-6 at most.
"""
import json
import math
import pathlib
import shutil
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
RNG = np.random.default_rng(20240517)
ERF = np.vectorize(math.erf, otypes=[np.float64])
WORDS = "the of and to in is was for on with as by at from it an are this that be ing ##ed ##er".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list(LETTERS) +
              ["##" + letter for letter in LETTERS] + WORDS)

# How files name the parts of a layer.
BERT = {"layer": "encoder.layer", "query": "attention.self.query", "key": "attention.self.key",
        "value": "attention.self.value", "attention": "attention.output.dense",
        "norm1": "attention.output.LayerNorm", "inner": "intermediate.dense",
        "output": "output.dense", "norm2": "output.LayerNorm"}
DISTILBERT = {"layer": "transformer.layer", "query": "attention.q_lin", "key": "attention.k_lin",
              "value": "attention.v_lin", "attention": "attention.out_lin",
              "norm1": "sa_layer_norm", "inner": "ffn.lin1", "output": "ffn.lin2",
              "norm2": "output_layer_norm"}

ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + ERF(x / math.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
    "relu": lambda x: np.maximum(x, 0),
}


class Encoder:
    """An encoder in float64: weights by the names that files have for them, and a config."""

    def __init__(self, weights, config):
        self.weights = {name: value.astype(np.float64) for name, value in weights.items()}
        self.names = DISTILBERT if config["model_type"] == "distilbert" else BERT
        self.layers = config.get("num_hidden_layers", config.get("n_layers"))
        self.heads = config.get("num_attention_heads", config.get("n_heads"))
        self.act = ACTIVATIONS[config.get("hidden_act", config.get("activation"))]
        self.epsilon = config.get("layer_norm_eps", 1e-12)
        self.first = config["pad_token_id"] + 1 if config["model_type"] == "roberta" else 0

    def linear(self, x, name):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, x, name):
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred ** 2).mean(axis=1, keepdims=True) + self.epsilon)
        return scaled * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def embed(self, ids):
        places = np.arange(len(ids)) + self.first
        x = (self.weights["embeddings.word_embeddings.weight"][ids] +
             self.weights["embeddings.position_embeddings.weight"][places])
        types = self.weights.get("embeddings.token_type_embeddings.weight")
        return self.norm(x if types is None else x + types[0], "embeddings.LayerNorm")

    def attend(self, x, layer):
        query, key, value = (self.linear(x, layer + self.names[part])
                             for part in ("query", "key", "value"))
        size = x.shape[1] // self.heads
        mixed = np.empty_like(x)
        for begin in range(0, x.shape[1], size):
            part = slice(begin, begin + size)
            scores = query[:, part] @ key[:, part].T / math.sqrt(size)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            mixed[:, part] = weights / weights.sum(axis=1, keepdims=True) @ value[:, part]
        return self.linear(mixed, layer + self.names["attention"])

    def tokens(self, ids):
        """[len(ids)][width]: the last hidden state of one sentence."""
        x = self.embed(np.asarray(ids))
        for index in range(self.layers):
            layer = f"{self.names['layer']}.{index}."
            x = self.norm(self.attend(x, layer) + x, layer + self.names["norm1"])
            inner = self.act(self.linear(x, layer + self.names["inner"]))
            x = self.norm(self.linear(inner, layer + self.names["output"]) + x,
                          layer + self.names["norm2"])
        return x

    def sentence(self, tokens, pooling, normalize):
        if pooling == "pooler":
            pooled = np.tanh(self.linear(tokens[:1], "pooler.dense"))[0]
        else:
            pooled = {"mean": tokens.mean(axis=0), "cls": tokens[0],
                      "max": tokens.max(axis=0)}[pooling]
        return pooled / np.sqrt((pooled ** 2).sum()) if normalize else pooled


def floats(*shape, scale):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def random_weights(names, words, positions, types, width, layers, inner):
    """Weights that make attention look at few tokens, as trained ones do."""
    weights = {}

    def linear(name, outputs, inputs, scale=1.0):
        weights[name + ".weight"] = floats(outputs, inputs, scale=scale / math.sqrt(inputs))
        weights[name + ".bias"] = floats(outputs, scale=0.1)

    def norm(name):
        weights[name + ".weight"] = 1 + floats(width, scale=0.1)
        weights[name + ".bias"] = floats(width, scale=0.1)

    weights["embeddings.word_embeddings.weight"] = floats(words, width, scale=1)
    weights["embeddings.position_embeddings.weight"] = floats(positions, width, scale=0.3)
    if types:
        weights["embeddings.token_type_embeddings.weight"] = floats(types, width, scale=0.3)
    norm("embeddings.LayerNorm")
    for index in range(layers):
        layer = f"{names['layer']}.{index}."
        for part in ("query", "key"):
            linear(layer + names[part], width, width, scale=1.5)
        for part in ("value", "attention"):
            linear(layer + names[part], width, width)
        linear(layer + names["inner"], inner, width)
        linear(layer + names["output"], width, inner)
        norm(layer + names["norm1"])
        norm(layer + names["norm2"])
    return weights


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def bfloat16(values):
    """The nearest values with eight bits of mantissa, still as float32."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def save_bfloat16(path, weights):
    """The stock package for numpy has no BF16."""
    header, data = {}, b""
    for name, value in weights.items():
        content = (value.view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(value.shape),
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write_answers(stem, encoder, sentences, pooling, normalize, with_tokens=True):
    tokens = [encoder.tokens(ids) for ids in sentences]
    rows = [encoder.sentence(x, pooling, normalize) for x in tokens]
    np.save(f"{stem}_ids.npy", np.concatenate(sentences).astype("<i4"))
    np.save(f"{stem}_lengths.npy", np.array([len(ids) for ids in sentences], dtype="<i4"))
    np.save(f"{stem}_sentences.npy", np.array(rows, dtype="<f4"))
    if with_tokens:
        np.save(f"{stem}_tokens.npy", np.concatenate(tokens).astype("<f4"))


def random_sentences(lengths, words):
    return [RNG.integers(0, words, length) for length in lengths]


def modules(folder, width, pooling, normalize):
    types = ["Transformer", "Pooling"] + ["Normalize"] * normalize
    write_json(folder / "modules.json",
               [{"idx": i, "name": str(i), "path": "" if i == 0 else f"{i}_{name}",
                 "type": "sentence_transformers.models." + name} for i, name in enumerate(types)])
    write_json(folder / "1_Pooling" / "config.json",
               {"word_embedding_dimension": width,
                "pooling_mode_cls_token": pooling == "cls",
                "pooling_mode_mean_tokens": pooling == "mean",
                "pooling_mode_max_tokens": pooling == "max",
                "pooling_mode_mean_sqrt_len_tokens": False})


def tokenizer_json(path):
    special = {"[CLS]": 2, "[SEP]": 3}
    write_json(path, {
        "version": "1.0",
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": False,
                       "strip_accents": True, "lowercase": False},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", special["[SEP]"]],
                           "cls": ["[CLS]", special["[CLS]"]]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 50,
                  "vocab": {word: index for index, word in enumerate(VOCABULARY)}}})


def make_bert(root):
    """As sentence encoders are published: mean, normalized, vocab.txt, F32."""
    folder, width, inner, positions = root / "bert", 32, 48, 80
    weights = random_weights(BERT, len(VOCABULARY), positions, 2, width, 2, inner)
    config = {"model_type": "bert", "vocab_size": len(VOCABULARY), "hidden_size": width,
              "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": inner,
              "hidden_act": "gelu", "max_position_embeddings": positions, "type_vocab_size": 2,
              "layer_norm_eps": 1e-12, "position_embedding_type": "absolute", "pad_token_id": 0,
              "hidden_dropout_prob": 0.1, "architectures": ["BertModel"],
              "transformers_version": "4.8.2"}
    modules(folder, width, "mean", True)
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer_config.json", {"do_lower_case": True, "unk_token": "[UNK]"})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 72, "do_lower_case": False})
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    sentences = random_sentences([1, 2, 7, 63, 64, 65, positions], len(VOCABULARY))
    write_answers(folder, Encoder(weights, config), sentences, "mean", True)


def make_old(root):
    """A plain encoder as older programs saved it: a prefix, gamma and beta, ids of positions, heads
    that nobody reads, the tanh form of GELU, a pooler."""
    folder, width, inner, positions = root / "old", 16, 24, 24
    weights = random_weights(BERT, len(VOCABULARY), positions, 2, width, 1, inner)
    weights["pooler.dense.weight"] = floats(width, width, scale=0.25)
    weights["pooler.dense.bias"] = floats(width, scale=0.1)
    config = {"model_type": "bert", "vocab_size": len(VOCABULARY), "hidden_size": width,
              "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": inner,
              "hidden_act": "gelu_new", "max_position_embeddings": positions, "type_vocab_size": 2}
    write_json(folder / "config.json", config)
    (folder / "vocab.txt").write_text("\r\n".join(VOCABULARY))
    stored = {"bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma")
              .replace("LayerNorm.bias", "LayerNorm.beta"): value
              for name, value in weights.items()}
    stored["bert.embeddings.position_ids"] = np.arange(positions, dtype=np.int64)[None]
    stored["cls.predictions.bias"] = floats(len(VOCABULARY), scale=1)
    save_file(stored, folder / "model.safetensors")
    sentences = random_sentences([5, 1, positions], len(VOCABULARY))
    write_answers(folder, Encoder(weights, config), sentences, "pooler", False)


def make_roberta(root):
    """Positions from 2 on, one token type, F16, a tokenizer that dynq does not have; CLS."""
    folder, width, inner, positions = root / "roberta", 16, 24, 22
    weights = random_weights(BERT, 50, positions, 1, width, 1, inner)
    halves = {name: value.astype(np.float16) for name, value in weights.items()}
    config = {"model_type": "roberta", "vocab_size": 50, "hidden_size": width,
              "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": inner,
              "hidden_act": "gelu", "max_position_embeddings": positions, "type_vocab_size": 1,
              "layer_norm_eps": 1e-5, "pad_token_id": 1, "torch_dtype": "float16"}
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer.json", {"version": "1.0", "model": {"type": "BPE"}})
    modules(folder, width, "cls", False)
    save_file({"roberta." + name: value for name, value in halves.items()},
              folder / "model.safetensors")
    sentences = random_sentences([positions - 2, 1, 9], 50)
    write_answers(folder, Encoder(halves, config), sentences, "cls", False)


def make_distilbert(root):
    """Other names, no token types, ReLU, BF16 in two files, tokenizer.json alone; max."""
    folder, width, inner, positions = root / "distilbert", 16, 24, 20
    weights = random_weights(DISTILBERT, len(VOCABULARY), positions, 0, width, 2, inner)
    weights = {name: bfloat16(value) for name, value in weights.items()}
    config = {"model_type": "distilbert", "vocab_size": len(VOCABULARY), "dim": width,
              "n_layers": 2, "n_heads": 4, "hidden_dim": inner, "activation": "relu",
              "max_position_embeddings": positions, "sinusoidal_pos_embds": False,
              "tie_weights_": True, "dropout": 0.1, "attention_dropout": 0.1, "qa_dropout": 0.1,
              "seq_classif_dropout": 0.2, "pad_token_id": 0}
    write_json(folder / "config.json", config)
    tokenizer_json(folder / "tokenizer.json")
    modules(folder, width, "max", True)
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    parts = [{}, {}]
    for index, (name, value) in enumerate(weights.items()):
        parts[index >= len(weights) // 2]["distilbert." + name] = value
    for name, part in zip(names, parts):
        save_bfloat16(folder / name, part)
    write_json(folder / "model.safetensors.index.json",
               {"metadata": {"total_size": sum(2 * value.size for value in weights.values())},
                "weight_map": {tensor: names[index] for index in (0, 1)
                               for tensor in parts[index]}})
    sentences = random_sentences([3, positions, 1], len(VOCABULARY))
    write_answers(folder, Encoder(weights, config), sentences, "max", True)


def make_minilm(source, model):
    from tokenizers import Tokenizer
    root = HERE / "minilm"
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    lines = (root / "sentences.txt").read_text().splitlines()
    sentences = [tokenizer.encode(line).ids for line in lines]
    with safe_open(source / "model.safetensors", framework="numpy") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}
    encoder = Encoder(weights, json.loads((source / "config.json").read_text()))
    if model is None:
        write_answers(root / "minilm", encoder, sentences, "mean", True, with_tokens=False)
        return
    import onnxruntime
    session = onnxruntime.InferenceSession(model)
    worst = 0.0
    for ids in sentences:
        rows = np.array([ids], dtype=np.int64)
        state = session.run(["last_hidden_state"],
                            {"input_ids": rows, "attention_mask": np.ones_like(rows),
                             "token_type_ids": np.zeros_like(rows)})[0][0]
        worst = max(worst, float(np.abs(state - encoder.tokens(ids)).max()))
    print(f"{len(sentences)} sentences: largest difference to onnxruntime {worst:.2e}")


def main():
    if len(sys.argv) > 1:
        make_minilm(pathlib.Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
        return
    root = HERE / "bert"
    shutil.rmtree(root, ignore_errors=True)
    for make in (make_bert, make_old, make_roberta, make_distilbert):
        make(root)


if __name__ == "__main__":
    main()
