#!/usr/bin/env python3
"""Checks a model file with the stock safetensors package, and makes the other golden files of it.

    pip install safetensors numpy
    model_files.py            # in this folder: checks the files of dynq, makes the others
    model_files.py FILE       # only checks FILE, any file that dynq has written

model_int8.safetensors is what the model of samples_int8() in tests/samples.c is saved as. Made of
it: model_stock.safetensors, the same written by the stock package (tensors in another order, data
aligned to 8 bytes), and model_odd.safetensors, with all tensors in reverse order at odd addresses.
model_encoder.safetensors is what samples_encoder(true) in tests/samples_transformer.c is saved as.
"""
import json
import pathlib
import struct
import sys

import numpy
from safetensors import safe_open
from safetensors.numpy import save_file

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
        weight = tensors[node["name"] + ".weight"]
        k, n = node["k"], node["n"]
        if node["precision"] == "int8":
            assert weight.dtype == numpy.int8
            assert weight.shape == ((n + 15) // 16, (k + 63) // 64 * 16, 16, 4), weight.shape
            columns = weight.transpose(0, 2, 1, 3).reshape(weight.shape[0] * 16, -1)
            sums = columns.astype(numpy.int32).sum(axis=1)
            assert (sums[:n] == tensors[node["name"] + ".weight_sum"]).all()
            assert not columns[n:].any() and not columns[:, k:].any()
        else:
            assert weight.dtype == numpy.float32 and weight.shape == (n, k)
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
    metadata, tensors = check(folder / "model_int8.safetensors")
    save_file(tensors, folder / "model_stock.safetensors", metadata)
    write_odd(folder / "model_odd.safetensors", metadata, tensors)
    for name in ("model_stock", "model_odd"):
        again = read(folder / (name + ".safetensors"))
        assert again[0] == metadata
        assert all((again[1][key] == tensors[key]).all() for key in tensors)


main()
