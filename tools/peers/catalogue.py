"""The names of the peers and what stands behind them."""

from typing import NamedTuple


class Peer(NamedTuple):
    kind: str  # "fp32", "dynamic", "static" (INT8 both) or "dynq"; "" is compared with nothing
    engine: str  # a class of engines.py
    arguments: dict


# ONNX Runtime is 12 % faster on quantized models without this fusion.
NO_SKIP = {"disabled": ["SkipLayerNormFusion"]}

PEERS = {
    "ort_fp32": Peer("fp32", "OnnxRuntime", {"model": "onnx_fp32.onnx"}),
    "ov_fp32": Peer("fp32", "OpenVino", {"model": "ov_fp32.xml"}),
    "ct2_fp32": Peer("fp32", "CTranslate2", {"model": "ct2_fp32", "compute_type": "float32"}),
    "ort_int8_tensor": Peer(
        "dynamic", "OnnxRuntime", {"model": "onnx_int8_tensor.onnx", **NO_SKIP}
    ),
    "ort_int8_channel": Peer(
        "dynamic", "OnnxRuntime", {"model": "onnx_int8_channel.onnx", **NO_SKIP}
    ),
    "ov_int8_group128": Peer("dynamic", "OpenVino", {"model": "ov_int8_weights.xml", "group": 128}),
    "ov_int8_group384": Peer("dynamic", "OpenVino", {"model": "ov_int8_weights.xml", "group": 384}),
    "ct2_int8": Peer("dynamic", "CTranslate2", {"model": "ct2_int8", "compute_type": "int8"}),
    "ov_int8_static": Peer("static", "OpenVino", {"model": "ov_int8_static.xml"}),
}
BARE = Peer("", "Nothing", {})


def find(name):
    """A peer by name; dynq=FILE is dynq with that model, dynq-openblas=FILE with OpenBLAS."""
    if name in PEERS:
        return PEERS[name]
    if name == "python":
        return BARE
    engine, _, model = name.partition("=")
    if model and engine in ("dynq", "dynq-openblas"):
        return Peer("dynq", "Dynq", {"model": model, "engine": engine[5:] or None})
    known = ", ".join(["dynq=MODEL", "dynq-openblas=MODEL", *PEERS])
    raise SystemExit(f"no peer {name}; there are {known}")
