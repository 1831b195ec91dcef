"""Makes OpenVINO's models from the FP32 ONNX file, with Intel's own tool (nncf): weights compressed
to INT8, for dynamic quantization; and everything INT8 with static ranges from calibration texts."""

import nncf
import numpy as np
import openvino

from minilm import Texts, made


def inputs(ids):
    ids = ids[np.newaxis]
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }


def main():
    core = openvino.Core()
    plain = made("onnx_fp32.onnx")

    def save(model, name):
        openvino.save_model(model, made(name + ".xml"), compress_to_fp16=False)

    save(core.read_model(plain), "ov_fp32")
    mode = nncf.CompressWeightsMode.INT8_SYM
    save(nncf.compress_weights(core.read_model(plain), mode=mode), "ov_int8_weights")
    texts = [inputs(ids) for ids in Texts().calibration()]
    save(
        nncf.quantize(
            core.read_model(plain),
            nncf.Dataset(texts),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(texts),
        ),
        "ov_int8_static",
    )


main()
