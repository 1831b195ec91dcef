"""The peers. Each has prepare(sentences), which pads token ids to one batch and returns a function
that runs it, and vectors(result, sentences), which pools what that function returned. What a user
does once (padding, conversion to the engine's types, options) is done in prepare()."""

import os

import numpy as np

from minilm import made


def padded(sentences):
    """[sentences][longest] ids and their mask, int64."""
    longest = max(len(ids) for ids in sentences)
    ids, mask = np.zeros((2, len(sentences), longest), np.int64)
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)] = sentence
        mask[row, : len(sentence)] = 1
    return ids, mask


class Padded:
    """An engine that answers with the last hidden state, [sentences][longest][width]."""

    def vectors(self, result, sentences):
        """The sentence embeddings: means over the tokens, scaled to length 1."""
        means = [np.mean(x[: len(ids)], 0, np.float64) for x, ids in zip(result, sentences)]
        return np.array([mean / np.linalg.norm(mean) for mean in means])


class OnnxRuntime(Padded):
    def __init__(self, threads, model, disabled=()):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            made(model),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(disabled),
        )

    def prepare(self, sentences):
        ids, mask = padded(sentences)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return lambda: self.session.run(None, inputs)[0]


class OpenVino(Padded):
    def __init__(self, threads, model, group=None):
        import openvino

        # Without the precision hint it computes in BF16 on CPUs that have it.
        properties = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if group is not None:
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = group
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(made(model)), "CPU", properties)
        self.request = compiled.create_infer_request()

    def prepare(self, sentences):
        ids, mask = padded(sentences)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}

        def run():
            self.request.infer(inputs, share_inputs=True, share_outputs=True)
            return self.request.get_output_tensor(0).data

        return run


class CTranslate2(Padded):
    def __init__(self, threads, model, compute_type):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            if " avx512f " in file.read():  # else it takes AVX2 on some CPUs that have AVX-512
                os.environ.setdefault("CT2_FORCE_CPU_ISA", "AVX512")
        import ctranslate2

        self.view = ctranslate2.StorageView.from_array
        self.encoder = ctranslate2.Encoder(
            made(model), compute_type=compute_type, inter_threads=1, intra_threads=threads
        )

    def prepare(self, sentences):
        ids, mask = padded(sentences)
        # A view does not own its memory.
        ids, lengths = ids.astype(np.int32), mask.sum(1).astype(np.int32)
        inputs = self.view(ids), self.view(lengths)

        def run(keep=(ids, lengths)):
            return np.asarray(self.encoder.forward_batch(*inputs).last_hidden_state)

        return run


class Dynq:
    def __init__(self, threads, model, **options):
        import dynq_c

        self.library = dynq_c.Library()
        self.encoder = dynq_c.Encoder(self.library, model, threads, **options)

    def prepare(self, sentences):
        return self.encoder.prepare(sentences)

    def vectors(self, result, _sentences):
        return result


class Nothing(Padded):
    """Python and numpy alone: what a start costs before any engine."""

    def __init__(self, _threads):
        pass

    def prepare(self, sentences):
        return lambda: np.ones((len(sentences), 1, 1), np.float32)
