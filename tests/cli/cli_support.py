"""What the tests of the command share: running it, and small models and data files."""

import gzip
import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
import unittest

DYNQ = os.environ.get("DYNQ", "dynq")
# The reference kernel has the same bits and takes minutes for what others do in seconds.
REFERENCE = os.environ.get("DYNQ_TEST_KERNEL") == "ref"
ALIGNMENT = 64


def run_command(*arguments, **options):
    """Runs dynq to its end; text in and out."""
    environment = dict(os.environ, **options.pop("env", {}))
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([DYNQ, *map(str, arguments)], stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, env=environment, check=False,
                          **options)


def floats(count, seed):
    """Numbers in [-1, 1) that FP32 holds exactly."""
    source = random.Random(seed)
    return [source.randrange(-(1 << 20), 1 << 20) / (1 << 20) for _ in range(count)]


def write_model(path, nodes, outputs, tensors, version="1.0", attachments=()):
    """A model file; tensors: name -> (shape, values), written as F32; attachments: (name, bytes)."""
    graph = {"nodes": nodes, "outputs": outputs, "attachments": [name for name, _ in attachments]}
    header = {"__metadata__": {"format": "dynq", "dynq_format": version,
                               "graph": json.dumps(graph)}}
    data = b""
    for name, (shape, values) in tensors.items():
        content = struct.pack("<%df" % len(values), *values)
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    for name, content in attachments:
        header["attachment/" + name] = {"dtype": "U8", "shape": [len(content)],
                                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


class Mlp:
    """x(5) -> fc1(18, bias) -> act(relu) -> fc2(7); its weights, and its answers in double."""

    inputs, hidden, classes = 5, 18, 7

    def __init__(self):
        self.fc1 = floats(self.hidden * self.inputs, 1)
        self.bias = floats(self.hidden, 2)
        self.fc2 = floats(self.classes * self.hidden, 3)

    def write(self, path, first_name="x", version="1.0"):
        linear = {"op": "linear", "precision": "fp32"}
        nodes = [
            {"name": first_name, "op": "input", "columns": self.inputs},
            {"name": "fc1", "inputs": [first_name], "k": self.inputs, "n": self.hidden,
             "bias": True, **linear},
            {"name": "act", "op": "relu", "inputs": ["fc1"]},
            {"name": "fc2", "inputs": ["act"], "k": self.hidden, "n": self.classes,
             "bias": False, **linear},
        ]
        tensors = {
            "fc1.weight": ([self.hidden, self.inputs], self.fc1),
            "fc1.bias": ([self.hidden], self.bias),
            "fc2.weight": ([self.classes, self.hidden], self.fc2),
        }
        write_model(path, nodes, [{"name": "logits", "node": "fc2"}], tensors, version)

    def hidden_row(self, row):
        return [max(0.0, self.bias[n] + sum(x * w for x, w in
                                            zip(row, self.fc1[n * self.inputs:])))
                for n in range(self.hidden)]

    def answer(self, row):
        hidden = self.hidden_row(row)
        return [sum(x * w for x, w in zip(hidden, self.fc2[n * self.hidden:]))
                for n in range(self.classes)]


def write_pair(path):
    """Inputs a(4) and b(4) -> sum(add) -> fc(3); outputs "sum" and "logits"."""
    nodes = [
        {"name": "a", "op": "input", "columns": 4},
        {"name": "b", "op": "input", "columns": 4},
        {"name": "sum", "op": "add", "inputs": ["a", "b"]},
        {"name": "fc", "op": "linear", "inputs": ["sum"], "k": 4, "n": 3, "bias": False,
         "precision": "fp32"},
    ]
    outputs = [{"name": "sum", "node": "sum"}, {"name": "logits", "node": "fc"}]
    write_model(path, nodes, outputs, {"fc.weight": ([3, 4], floats(12, 4))})


def write_wide(path):
    """x(40) -> fc(18) in FP32: K is enough for a group of 32."""
    write_model(path, [{"name": "x", "op": "input", "columns": 40},
                       {"name": "fc", "op": "linear", "inputs": ["x"], "k": 40, "n": 18,
                        "bias": False, "precision": "fp32"}],
                [{"name": "y", "node": "fc"}], {"fc.weight": ([18, 40], floats(18 * 40, 5))})


def write_encoder(path):
    """ids -> words(50x8) + places(20x8, first 2) -> heads(2, causal) -> mean -> fc(3)."""
    table = {"columns": 8, "precision": "fp32"}
    nodes = [
        {"name": "ids", "op": "ids"},
        {"name": "words", "op": "embedding", "inputs": ["ids"], "rows": 50, **table},
        {"name": "places", "op": "position_embedding", "inputs": ["ids"], "rows": 20, "first": 2,
         **table},
        {"name": "sum", "op": "add", "inputs": ["words", "places"]},
        {"name": "heads", "op": "attention", "inputs": ["sum", "sum", "sum"], "heads": 2,
         "scale": 0.5, "causal": True, "precision": "fp32"},
        {"name": "mean", "op": "pool", "inputs": ["heads"], "pooling": "mean"},
        {"name": "fc", "op": "linear", "inputs": ["mean"], "k": 8, "n": 3, "bias": False,
         "precision": "fp32"},
    ]
    tensors = {"words.weight": ([50, 8], floats(400, 5)), "places.weight": ([20, 8], floats(160, 6)),
               "fc.weight": ([3, 8], floats(24, 7))}
    write_model(path, nodes, [{"name": "y", "node": "fc"}], tensors, "1.1",
                [("vocabulary", b"[UNK]\nword\n")])


def write_npy(path, rows, kind="f4"):
    """A matrix; all rows of the same length."""
    shape = (len(rows), len(rows[0]) if rows else 0)
    code = {"f4": "f", "f8": "d", "u1": "B", "i4": "i"}[kind]
    order = "|" if kind == "u1" else "<"
    text = "{'descr': '%s%s', 'fortran_order': False, 'shape': %r, }" % (order, kind, shape)
    text += " " * (-(10 + len(text) + 1) % ALIGNMENT) + "\n"
    values = [value for row in rows for value in row]
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())
        file.write(struct.pack("<%d%s" % (len(values), code), *values))


def read_npy(path):
    """Rows of an npy file of F32 as the command writes them."""
    with open(path, "rb") as file:
        content = file.read()
    assert content[:8] == b"\x93NUMPY\x01\x00"
    length = struct.unpack("<H", content[8:10])[0]
    header = content[10:10 + length].decode()
    assert "'<f4'" in header and "False" in header, header
    rows, columns = (int(word) for word in header.split("(")[1].split(")")[0].split(","))
    values = struct.unpack("<%df" % (rows * columns), content[10 + length:])
    return [list(values[row * columns:(row + 1) * columns]) for row in range(rows)]


def write_idx_gz(path, rows):
    """Bytes as IDX with gzip around it."""
    head = struct.pack(">BBBBII", 0, 0, 8, 2, len(rows), len(rows[0]))
    with gzip.open(path, "wb") as file:
        file.write(head + bytes(value for row in rows for value in row))


class CommandTest(unittest.TestCase):
    """Each test has a folder of its own with a model and 100 rows of data."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="dynq-cli-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.mlp = Mlp()
        self.model = self.path("mlp.safetensors")
        self.mlp.write(self.model)
        values = floats(100 * Mlp.inputs, 9)
        self.rows = [values[i * Mlp.inputs:(i + 1) * Mlp.inputs] for i in range(100)]
        self.data = self.path("x.npy")
        write_npy(self.data, self.rows)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write_bytes(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)
        return self.path(name)

    def read_bytes(self, path):
        with open(path, "rb") as file:
            return file.read()

    def succeed(self, *arguments, **options):
        result = run_command(*arguments, **options)
        self.assertEqual(result.returncode, 0, (arguments, result.stderr))
        return result

    def succeed_json(self, *arguments):
        result = self.succeed(*arguments, "--json", "-q")
        self.assertEqual(result.stderr, "")
        return json.loads(result.stdout)

    def fail_with(self, code, *arguments, **options):
        """Exit code, one line on stderr, nothing on stdout, no file made or changed."""
        before = self.snapshot()
        result = run_command(*arguments, **options)
        self.assertEqual(result.returncode, code, (arguments, result.stderr))
        self.assertEqual(result.stderr.count("\n"), 1, (arguments, result.stderr))
        self.assertTrue(result.stderr.startswith("dynq"), result.stderr)
        self.assertFalse(result.stdout, result.stdout)
        self.assertEqual(self.snapshot(), before, arguments)
        return result.stderr

    def snapshot(self):
        return {name: self.read_bytes(self.path(name)) for name in os.listdir(self.folder)
                if os.path.isfile(self.path(name))}

    def quantized(self, *options, name="int8.safetensors"):
        self.succeed("quantize", self.model, "-o", self.path(name), "-q", *options)
        return self.path(name)

    def calibrated(self, model=None, name="cal.json"):
        self.succeed("calibrate", model or self.model, "--data", self.data, "-o", self.path(name),
                     "-q")
        return self.path(name)
