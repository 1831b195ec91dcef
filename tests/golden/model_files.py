#!/usr/bin/env python3
"""Checks a model file with the stock safetensors package, and makes the other golden files of it.

    pip install safetensors numpy ml_dtypes
    model_files.py            # in this folder: checks the files of dynq, makes the others
    model_files.py FILE       # only checks FILE, any file that dynq has written

model_int8.safetensors is what the model of samples_int8() in tests/samples.c is saved as. Made of
it: model_stock.safetensors, the same written by the stock package (tensors in another order, data
aligned to 8 bytes), and model_odd.safetensors, with all tensors in reverse order at odd addresses.
model_encoder.safetensors is what samples_encoder(true) in tests/samples_transformer.c is saved as,
model_formats.safetensors samples_every_format() in tests/samples_formats.c.
"""
import json
import pathlib
import struct
import sys

import ml_dtypes  # with it, numpy knows bfloat16
import numpy
from safetensors import safe_open
from safetensors.numpy import save_file

BF16 = numpy.dtype(ml_dtypes.bfloat16)
TYPES = {"float32": "F32", "int8": "I8", "int32": "I32"}


def read(path):
    with safe_open(path, framework="numpy") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}


def check_table(node, tensors):
    table = tensors[node["name"] + ".weight"]
    assert table.shape == (node["rows"], node["columns"]), table.shape
    if node["precision"] == "int8":
        assert table.dtype == numpy.int8 and abs(table.astype(int)).max() <= 127
        scale = tensors[node["name"] + ".weight_scale"]
        assert scale.shape == (node["rows"],) and (scale > 0).all()
    else:
        assert table.dtype == numpy.float32


def check_column_sums(node, tensors, columns):
    k, n = node["k"], node["n"]
    sums = columns.astype(numpy.int32).sum(axis=1)
    assert (sums[:n] == tensors[node["name"] + ".weight_sum"]).all()
    assert not columns[n:, :k].any() or node.get("weights") in ("int4", "int2")
    assert (tensors[node["name"] + ".weight_scale"] > 0).all()


def codes_of(data, bits):
    """[panels][rows * 64] bytes of codes, as kernels/README.md draws them, to [columns][inputs]."""
    parts = 8 // bits
    data = data.reshape(data.shape[0], -1, 16, 4)
    numbers = numpy.stack([data >> (bits * r) & (2**bits - 1) for r in range(parts)], axis=2)
    # panel, row, r, column, b: input is (row * parts + r) * 4 + b
    return numbers.transpose(0, 3, 1, 2, 4).reshape(data.shape[0] * 16, -1)


def check_codes(node, tensors):
    """INT4, INT2 and groups: levels, factors, sums."""
    k, n, group = node["k"], node["n"], node.get("group", 0)
    bits = {"int4": 4, "int2": 2}.get(node.get("weights"), 8)
    weight = tensors[node["name"] + ".weight"]
    panels, kpad = (n + 15) // 16, (k + 63) // 64 * 64
    groups = (kpad + group - 1) // group if group else 0
    assert weight.dtype == numpy.uint8 and weight.shape == (panels, kpad * 2 * bits + groups * 64)
    levels = tensors.get(node["name"] + ".weight_levels")
    assert (levels is None) == (bits == 8)
    if levels is not None:
        tables = panels if node["table"] == "panel" else 1
        assert levels.dtype == numpy.int8 and levels.shape == (tables, 2**bits)
        assert levels.min() >= -127

    def weights_of(data):
        numbers = codes_of(data, bits)
        if levels is None:
            return numbers.astype(numpy.uint8).view(numpy.int8)
        table = numpy.repeat(numpy.broadcast_to(levels, (panels, 2**bits)), 16, axis=0)
        return numpy.take_along_axis(table, numbers.astype(int), axis=1)

    if group == 0:
        check_column_sums(node, tensors, weights_of(weight))
        return
    assert node["name"] + ".weight_sum" not in tensors
    begin = 0
    for first in range(0, kpad, group):
        end = begin + 64 + min(group, kpad - first) * 2 * bits
        factors = weight[:, begin:begin + 32].copy().view(numpy.float16).reshape(-1)
        sums = weight[:, begin + 32:begin + 64].copy().view(numpy.int16).reshape(-1)
        codes = weights_of(weight[:, begin + 64:end].copy())
        assert (codes.astype(int).sum(axis=1) == sums).all()
        assert numpy.isfinite(factors).all() and not factors[n:].any()
        begin = end
    assert begin == weight.shape[1]


def check_linear(node, tensors):
    k, n = node["k"], node["n"]
    weight = tensors[node["name"] + ".weight"]
    form = node.get("weights", node["precision"])
    panels, pairs = (n + 15) // 16, (k + 1) // 2
    if form == "fp32":
        assert weight.dtype == numpy.float32 and weight.shape == (n, k)
    elif form == "fp16":
        assert weight.dtype == numpy.float16 and weight.shape == (panels, k, 16)
        assert numpy.isfinite(weight).all()
    elif form in ("bf16", "int16"):
        assert weight.dtype == (numpy.int16 if form == "int16" else BF16), weight.dtype
        assert weight.shape == (panels, pairs, 16, 2), weight.shape
    elif form == "int8" and "group" not in node:
        assert weight.dtype == numpy.int8
        assert weight.shape == (panels, (k + 63) // 64 * 16, 16, 4), weight.shape
        columns = weight.transpose(0, 2, 1, 3).reshape(panels * 16, -1)
        check_column_sums(node, tensors, columns)
        assert not columns[n:].any() and not columns[:, k:].any()
    else:
        check_codes(node, tensors)


def check(path):
    metadata, tensors = read(path)
    assert metadata["format"] == "dynq" and metadata["dynq_format"] == "1.3", metadata
    graph = json.loads(metadata["graph"])
    for name in graph.get("attachments", []):
        assert tensors["attachment/" + name].dtype == numpy.uint8
    for node in graph["nodes"]:
        if node["op"] in ("embedding", "position_embedding"):
            check_table(node, tensors)
        if node["op"] != "linear":
            continue
        check_linear(node, tensors)
    with open(path, "rb") as file:
        assert (8 + struct.unpack("<Q", file.read(8))[0]) % 64 == 0
    print(path, "is good:", len(tensors), "tensors")
    return metadata, tensors


def write_odd(path, metadata, tensors):
    header, data = {"__metadata__": metadata}, b""
    for name in sorted(tensors, reverse=True):
        bytes_ = tensors[name].tobytes()
        header[name] = {"dtype": TYPES[str(tensors[name].dtype)],
                        "shape": list(tensors[name].shape),
                        "data_offsets": [len(data), len(data) + len(bytes_)]}
        data += bytes_
    text = json.dumps(header).encode()
    text += b" " * (1 - len(text) % 2)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    if len(sys.argv) > 1:
        check(sys.argv[1])
        return
    folder = pathlib.Path(__file__).parent
    check(folder / "model_encoder.safetensors")
    check(folder / "model_formats.safetensors")
    metadata, tensors = check(folder / "model_int8.safetensors")
    save_file(tensors, folder / "model_stock.safetensors", metadata)
    write_odd(folder / "model_odd.safetensors", metadata, tensors)
    for name in ("model_stock", "model_odd"):
        again = read(folder / (name + ".safetensors"))
        assert again[0] == metadata
        assert all((again[1][key] == tensors[key]).all() for key in tensors)


main()
