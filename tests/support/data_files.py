"""Small data sets as files, in the formats of IDX and CIFAR-10."""

import gzip
import struct

import numpy as np

from ntk_corrupt.data import cifar

STEMS = {
    "images_train": "train-images-idx3-ubyte",
    "labels_train": "train-labels-idx1-ubyte",
    "images_test": "t10k-images-idx3-ubyte",
    "labels_test": "t10k-labels-idx1-ubyte",
}


def small_set(n=40, n_test=20, shape=(6, 5)):
    rng = np.random.default_rng(1)
    return {
        "images_train": rng.integers(0, 256, (n, *shape), np.uint8),
        "labels_train": rng.permutation(np.arange(n) % 10).astype(np.uint8),
        "images_test": rng.integers(0, 256, (n_test, *shape), np.uint8),
        "labels_test": rng.permutation(np.arange(n_test) % 10).astype(np.uint8),
    }


def idx_bytes(array):
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_idx(folder, arrays, *, gz=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        content = idx_bytes(array)
        path = folder / (STEMS[name] + (".gz" if gz else ""))
        path.write_bytes(gzip.compress(content) if gz else content)


def write_binary(folder, pixels, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for name, batch, numbers in zip(cifar.FILES, pixels, labels, strict=True):
        records = np.concatenate([numbers[:, None], batch.reshape(20, -1)], axis=1)
        (folder / name).write_bytes(records.tobytes())
