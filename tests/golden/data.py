#!/usr/bin/env python3
"""Writes data_*.npy with NumPy itself; test_data.c reads them.

Matrices hold (i - 5) / 4 for element i, or the byte 20 i; labels hold 3 i.
Run in this folder: ./data.py
"""
import gzip

import numpy as np
from numpy.lib import format as npy

real = (np.arange(12) - 5) / 4
matrix = real.reshape(3, 4)
labels = 3 * np.arange(7)

np.save("data_f4.npy", matrix.astype("<f4"))
np.save("data_f4_big.npy", matrix.astype(">f4"))
np.save("data_f8.npy", matrix.astype("<f8"))
np.save("data_u1.npy", (20 * np.arange(12)).reshape(3, 4).astype("u1"))
np.save("data_rank0.npy", np.float32(1))
np.save("data_rank1.npy", real.astype("<f4"))
np.save("data_rank3.npy", real.reshape(3, 2, 2).astype("<f4"))
np.save("data_empty.npy", np.zeros((0, 4), "<f4"))
np.save("data_fortran.npy", np.asfortranarray(matrix.astype("<f4")))
np.save("data_f2.npy", matrix.astype("<f2"))
np.save("data_structured.npy", np.zeros(3, [("a", "<f4"), ("b", "<i4")]))
np.save("data_labels_i8.npy", labels.astype("<i8"))
np.save("data_labels_u2_big.npy", labels.astype(">u2"))
np.save("data_labels_large.npy", np.array([1, 2**31], "<i8"))

for version in (2, 3):
    with open(f"data_version{version}.npy", "wb") as file:
        npy.write_array(file, matrix.astype("<f4"), version=(version, 0))

with open("data_f4.npy", "rb") as file, open("data_f4.npy.gz", "wb") as packed:
    packed.write(gzip.compress(file.read(), mtime=0))
