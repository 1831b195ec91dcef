"""The C interface of dynq through ctypes, as far as it takes to run an encoder."""

import ctypes
import glob
import os
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_double, c_int, c_size_t, c_void_p

import numpy as np

from minilm import WIDTH

ALIGNMENT = 64
INPUT, TOKENS, SENTENCES = "input_ids", "last_hidden_state", "sentence_embedding"


class Error(Structure):
    _fields_ = [("status", c_int), ("offset", ctypes.c_uint64), ("message", c_char * 496)]


class Sized(Structure):
    """A struct whose first member is its size."""

    def __init__(self, **members):
        super().__init__(size=ctypes.sizeof(self), **members)


class SessionOptions(Sized):
    _fields_ = [
        ("size", c_size_t),
        ("max_rows", c_size_t),
        ("max_segments", c_size_t),
        ("threads", ctypes.c_uint32),
        ("kernel", c_char_p),
        ("engine", c_void_p),
        ("precision", c_int),
        ("scope", c_int),
        ("pool", c_void_p),
        ("executor", c_void_p),
        ("allocator", c_void_p),
        ("taps", c_void_p),
        ("tap_count", c_size_t),
        ("profile", c_int),
    ]


class Binding(Structure):
    _fields_ = [
        ("slot", c_int),
        ("data", c_void_p),
        ("bytes", c_size_t),
        ("row_stride", c_size_t),
    ]


class Batch(Sized):
    _fields_ = [
        ("size", c_size_t),
        ("rows", c_size_t),
        ("segments", c_size_t),
        ("offsets", POINTER(c_size_t)),
        ("cancel", c_void_p),
    ]


class PoolOptions(Sized):
    _fields_ = [
        ("size", c_size_t),
        ("threads", ctypes.c_uint32),
        ("oversubscribe", c_int),
        ("allocator", c_void_p),
    ]


class ProbeOptions(Sized):
    _fields_ = [
        ("size", c_size_t),
        ("kernel", c_char_p),
        ("pool", c_void_p),
        ("bytes", c_size_t),
        ("allocator", c_void_p),
    ]


PRECISIONS = {"fp32": 1, "int8": 2}
# Function: its parameters, without the dynq_error at the end of all of them.
FALLIBLE = {
    "dynq_model_open": [c_char_p, c_void_p, POINTER(c_void_p)],
    "dynq_session_create": [c_void_p, POINTER(SessionOptions), POINTER(c_void_p)],
    "dynq_session_run": [c_void_p, POINTER(Batch), POINTER(Binding), c_size_t],
    "dynq_thread_pool_create": [POINTER(PoolOptions), POINTER(c_void_p)],
    "dynq_probe_create": [POINTER(ProbeOptions), POINTER(c_void_p)],
    "dynq_probe_compute": [c_void_p, c_int, c_double, POINTER(c_double)],
}


class Library:
    """libdynq of the build folder that DYNQ_BUILD names."""

    def __init__(self):
        self.c = self.load("libdynq.so")
        for name, parameters in FALLIBLE.items():
            function = getattr(self.c, name)
            function.argtypes = [*parameters, POINTER(Error)]
        self.c.dynq_session_slot.argtypes = [c_void_p, c_char_p]
        self.c.dynq_session_output_slot.argtypes = [c_void_p, c_char_p]

    @staticmethod
    def load(name):
        found = glob.glob(os.path.join(os.environ["DYNQ_BUILD"], "**", name), recursive=True)
        if not found:
            raise RuntimeError(f"no {name} in {os.environ['DYNQ_BUILD']}")
        return ctypes.CDLL(found[0])

    def call(self, name, *arguments):
        error = Error()
        if getattr(self.c, name)(*arguments, byref(error)) != 0:
            raise RuntimeError(f"{name}: {error.message.decode()}")

    def create(self, name, *arguments):
        result = c_void_p()
        self.call(name, *arguments, byref(result))
        return result

    def engine(self, name):
        function = getattr(self.load(f"libdynq-{name}.so"), f"dynq_{name}_engine")
        function.restype = c_void_p
        return function()

    def peak(self, precision, threads, operations=2e10):
        """Operations a second at most, in registers."""
        pool = self.create("dynq_thread_pool_create", byref(PoolOptions(threads=threads)))
        probe = self.create("dynq_probe_create", byref(ProbeOptions(pool=pool)))
        rate = c_double()
        work = operations / 4 if precision == "fp32" else operations
        self.call("dynq_probe_compute", probe, PRECISIONS[precision], work, byref(rate))
        self.c.dynq_probe_free(probe)
        self.c.dynq_thread_pool_free(pool)
        return rate.value


def aligned(shape, kind):
    """An array of zeros that begins at a multiple of ALIGNMENT bytes."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(kind).reshape(shape)


class Session:
    def __init__(self, library, model, **options):
        self.library = library
        self.options = SessionOptions(**options)
        self.handle = library.create("dynq_session_create", model, byref(self.options))

    def fits(self, rows, segments):
        return rows <= self.options.max_rows and segments <= self.options.max_segments

    def slot(self, name, output):
        kind = "dynq_session_output_slot" if output else "dynq_session_slot"
        return getattr(self.library.c, kind)(self.handle, name.encode())

    def prepare(self, inputs, outputs, offsets):
        """A function that runs the session on arrays, name -> array; `offsets` as in dynq_batch."""
        arrays = [(name, array, False) for name, array in inputs.items()]
        arrays += [(name, array, True) for name, array in outputs.items()]
        bindings = (Binding * len(arrays))()
        for binding, (name, array, output) in zip(bindings, arrays):
            slot = self.slot(name, output)
            binding.slot, binding.data, binding.bytes = slot, array.ctypes.data, array.nbytes
        starts = (c_size_t * len(offsets))(*offsets)
        batch = Batch(rows=offsets[-1], segments=len(offsets) - 1, offsets=starts)
        error = Error()
        run, reference = self.library.c.dynq_session_run, byref(error)
        arguments = self.handle, byref(batch), bindings, len(arrays), reference

        def call(keep=(arrays, batch, starts)):
            if run(*arguments) != 0:
                raise RuntimeError(error.message.decode())

        return call


class Encoder:
    """A model with the outputs SENTENCES, TOKENS or both; sentences lie end to end, unpadded."""

    def __init__(self, library, path, threads, engine=None):
        self.library = library
        self.model = library.create("dynq_model_open", os.fsencode(path), None)
        self.threads = threads
        self.engine = library.engine(engine) if engine else None
        self.session = None

    def session_for(self, rows, segments):
        if self.session is None or not self.session.fits(rows, segments):
            self.session = Session(
                self.library,
                self.model,
                max_rows=rows,
                max_segments=segments,
                threads=self.threads,
                engine=self.engine,
            )
        return self.session

    def prepare(self, sentences):
        offsets = [0, *np.cumsum([len(ids) for ids in sentences]).tolist()]
        rows, segments = offsets[-1], len(sentences)
        session = self.session_for(rows, segments)
        ids = aligned(rows, np.int32)
        ids[:] = np.concatenate(sentences)
        shapes = {TOKENS: (rows, WIDTH), SENTENCES: (segments, WIDTH)}
        outputs = {
            name: aligned(shape, np.float32)
            for name, shape in shapes.items()
            if session.slot(name, True) >= 0
        }
        run = session.prepare({INPUT: ids}, outputs, offsets)

        def call():
            run()
            return outputs[SENTENCES]

        return call
