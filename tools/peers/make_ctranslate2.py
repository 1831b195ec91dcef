"""Makes CTranslate2's models, FP32 and INT8, from the published weights."""

import copy
import os

from ctranslate2.converters import utils
from ctranslate2.specs import common_spec, transformer_spec

from minilm import EPSILON, HEADS, LAYERS, folder, made, weights


def fill(spec, tensors, name):
    """A linear layer or a layer norm."""
    first, second = ("gamma", "beta") if hasattr(spec, "gamma") else ("weight", "bias")
    setattr(spec, first, tensors[name + ".weight"])
    setattr(spec, second, tensors[name + ".bias"])


def fill_layer(layer, tensors, name):
    attention = layer.self_attention
    parts = []
    for part in ("query", "key", "value"):
        parts.append(common_spec.LinearSpec())
        fill(parts[-1], tensors, f"{name}.attention.self.{part}")
    utils.fuse_linear(attention.linear[0], parts)
    fill(attention.linear[1], tensors, name + ".attention.output.dense")
    fill(attention.layer_norm, tensors, name + ".attention.output.LayerNorm")
    fill(layer.ffn.linear_0, tensors, name + ".intermediate.dense")
    fill(layer.ffn.linear_1, tensors, name + ".output.dense")
    fill(layer.ffn.layer_norm, tensors, name + ".output.LayerNorm")


def encoder():
    tensors = weights()
    spec = transformer_spec.TransformerEncoderSpec(
        LAYERS,
        HEADS,
        pre_norm=False,
        activation=common_spec.Activation.GELU,
        layernorm_embedding=True,
        num_source_embeddings=2,
        embeddings_merge=common_spec.EmbeddingsMerge.ADD,
    )
    model = transformer_spec.TransformerEncoderModelSpec(spec)
    spec.scale_embeddings = False
    for table, name in zip(spec.embeddings, ("word_embeddings", "token_type_embeddings")):
        table.weight = tensors[f"embeddings.{name}.weight"]
    spec.position_encodings.encodings = tensors["embeddings.position_embeddings.weight"]
    fill(spec.layernorm_embedding, tensors, "embeddings.LayerNorm")
    for index, layer in enumerate(spec.layer):
        fill_layer(layer, tensors, f"encoder.layer.{index}")
    with open(folder("minilm", "vocab.txt"), encoding="utf-8") as file:
        model.register_vocabulary([line.rstrip("\n") for line in file])
    model.config.unk_token = "[UNK]"
    model.config.layer_norm_epsilon = EPSILON
    model.validate()
    return model


def main():
    model = encoder()
    for name, quantization in (("ct2_fp32", None), ("ct2_int8", "int8")):
        os.makedirs(made(name), exist_ok=True)
        variant = copy.deepcopy(model)
        variant.optimize(quantization=quantization)
        variant.save(made(name))


main()
