"""Writes the encoder as ONNX, node by node as exporters of PyTorch do, and quantizes it with ONNX
Runtime's own tool: dynamic INT8, one scale per tensor or per column of a weight."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from minilm import EPSILON, HEADS, LAYERS, WIDTH, made, weights

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Graph:
    """Collects nodes and constants; every call of node() returns the name of its result."""

    def __init__(self):
        self.nodes, self.constants = [], {}

    def node(self, kind, *inputs, result=None, **attributes):
        result = result or f"{kind}_{len(self.nodes)}"
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        self.nodes.append(helper.make_node(kind, names, [result], name=result, **attributes))
        return result

    def constant(self, array, name=None):
        name = name or f"constant_{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def save(self, path):
        sizes = ["sentences", "tokens"]
        inputs = [helper.make_tensor_value_info(i, TensorProto.INT64, sizes) for i in INPUTS]
        output = helper.make_tensor_value_info(
            "last_hidden_state", TensorProto.FLOAT, [*sizes, WIDTH]
        )
        graph = helper.make_graph(
            self.nodes, "encoder", inputs, [output], list(self.constants.values())
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)


class Encoder:
    def __init__(self):
        self.graph, self.weights = Graph(), weights()
        self.node = self.graph.node

    def number(self, value):
        """A constant without dimensions."""
        name = f"number_{value}"
        self.graph.constants[name] = numpy_helper.from_array(np.array(value, np.float32), name)
        return name

    def table(self, name):
        return self.graph.constant(self.weights[name], name)

    def linear(self, x, name):
        weight = self.graph.constant(self.weights[name + ".weight"].T, name + ".weight")
        return self.node("Add", self.node("MatMul", x, weight), self.table(name + ".bias"))

    def norm(self, x, name, **options):
        weight, bias = self.table(name + ".weight"), self.table(name + ".bias")
        return self.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=EPSILON, **options)

    def embeddings(self):
        words = self.node("Gather", self.table("embeddings.word_embeddings.weight"), INPUTS[0])
        types = self.node(
            "Gather", self.table("embeddings.token_type_embeddings.weight"), INPUTS[2]
        )
        tokens = self.node("Slice", self.node("Shape", INPUTS[0]), [1], [2], [0])
        every = self.table("embeddings.position_embeddings.weight")
        numbers = np.arange(len(self.weights["embeddings.position_embeddings.weight"]))
        positions = self.node("Gather", every, self.node("Slice", numbers, [0], tokens, [0]))
        x = self.node("Add", self.node("Add", words, types), positions)
        return self.norm(x, "embeddings.LayerNorm")

    def mask(self):
        """0 where a token is, the least float where padding is: [sentences][1][1][tokens]."""
        seen = self.node("Cast", self.node("Unsqueeze", INPUTS[1], [1, 2]), to=TensorProto.FLOAT)
        hidden = self.node("Sub", self.number(1), seen)
        return self.node("Mul", hidden, self.number(np.finfo(np.float32).min))

    def heads(self, x, name, order):
        split = self.node("Reshape", self.linear(x, name), [0, 0, HEADS, WIDTH // HEADS])
        return self.node("Transpose", split, perm=order)

    def attention(self, x, mask, name):
        query = self.heads(x, name + ".self.query", [0, 2, 1, 3])
        key = self.heads(x, name + ".self.key", [0, 2, 3, 1])
        value = self.heads(x, name + ".self.value", [0, 2, 1, 3])
        scores = self.node("MatMul", query, key)
        scores = self.node("Div", scores, self.number(np.sqrt(WIDTH // HEADS)))
        shares = self.node("Softmax", self.node("Add", scores, mask), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", shares, value), perm=[0, 2, 1, 3])
        joined = self.node("Reshape", mixed, [0, 0, WIDTH])
        return self.norm(
            self.node("Add", self.linear(joined, name + ".output.dense"), x),
            name + ".output.LayerNorm",
        )

    def feed_forward(self, x, name, **options):
        inner = self.linear(x, name + ".intermediate.dense")
        phi = self.node("Erf", self.node("Div", inner, self.number(np.sqrt(2))))
        inner = self.node("Mul", inner, self.node("Add", phi, self.number(1)))
        inner = self.node("Mul", inner, self.number(0.5))
        outer = self.linear(inner, name + ".output.dense")
        return self.norm(self.node("Add", outer, x), name + ".output.LayerNorm", **options)

    def save(self, path):
        x, mask = self.embeddings(), self.mask()
        for layer in range(LAYERS):
            name = f"encoder.layer.{layer}"
            last = {"result": "last_hidden_state"} if layer == LAYERS - 1 else {}
            x = self.feed_forward(self.attention(x, mask, name + ".attention"), name, **last)
        self.graph.save(path)


def main():
    plain = made("onnx_fp32.onnx")
    Encoder().save(plain)
    for name, per_channel in (("tensor", False), ("channel", True)):
        quantize_dynamic(
            plain,
            made(f"onnx_int8_{name}.onnx"),
            weight_type=QuantType.QInt8,
            per_channel=per_channel,
            extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
        )


main()
