"""CIFAR-10 from its batch files: the binary version, or the Python pickles.

Five training batches and one test batch of 10 000 images each. Pickles run code when
they are read, so these are read with an unpickler that builds NumPy arrays only.
"""

import pathlib
import pickle

import numpy as np

from ntk_corrupt.data import contents
from ntk_corrupt.data.pool import Pool
from theory.errors import InputError

_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_RECORDS = 10_000  # images of a batch
_PIXELS = 3 * 32 * 32
_FOLDERS = (
    ".",
    "cifar-10-batches-bin",
    "cifar-10-batches-py",
)  # as the archives unpack
FILES = tuple(f"{name}.bin" for name in _BATCHES)

# What the pickle of an array refers to, under NumPy's old and new module names.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),  # how Python 3 writes bytes in protocol 2
}


def read_pool(folder: pathlib.Path) -> Pool | None:
    """The data set in `folder` or in the folder its archive unpacks to.

    Returns:
        The pool, images (n, 32, 32, 3) with the channels last, or None when there is no
        batch file.

    Raises:
        InputError: some batches are missing, or one is damaged.
    """
    for inner in _FOLDERS:
        for suffix, read in ((".bin", _read_binary), ("", _read_pickle)):
            paths = [folder / inner / f"{name}{suffix}" for name in _BATCHES]
            missing = [path.name for path in paths if not path.is_file()]
            if len(missing) == len(paths):
                continue
            if missing:
                raise InputError(
                    f"{folder / inner} must hold all six CIFAR-10 batches: "
                    f"{', '.join(missing)} not found."
                )
            batches = [read(path) for path in paths]
            contents.check("cifar10", dict.fromkeys(paths))
            return Pool(
                images_train=np.concatenate([images for images, _ in batches[:-1]]),
                labels_train=np.concatenate([labels for _, labels in batches[:-1]]),
                images_test=batches[-1][0],
                labels_test=batches[-1][1],
                num_classes=10,
            )
    return None


def _read_binary(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """One label byte and 3072 pixel bytes per image."""
    raw = np.frombuffer(_content(path), dtype=np.uint8)
    expected = _RECORDS * (1 + _PIXELS)
    if raw.size != expected:
        raise InputError(
            f"{path} must have {expected} bytes, {_RECORDS} images, got {raw.size}. "
            "Fetch it again."
        )
    records = raw.reshape(_RECORDS, 1 + _PIXELS)
    return _channels_last(records[:, 1:]), records[:, 0]


def _read_pickle(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """A dictionary with `data` (n, 3072) and `labels`, its keys bytes or strings."""
    with path.open("rb") as file:
        try:
            batch = _ArraysOnly(file, encoding="bytes").load()
        except Exception as error:  # damaged pickles raise nearly anything
            raise InputError(f"{path} is not a CIFAR-10 batch: {error}.") from None
    if not isinstance(batch, dict):
        raise InputError(f"{path} is not a CIFAR-10 batch: it holds {type(batch)}.")
    data, labels = (
        np.asarray(batch.get(name.encode(), batch.get(name)))
        for name in ("data", "labels")
    )
    if data.shape != (_RECORDS, _PIXELS) or data.dtype != np.uint8:
        raise InputError(
            f"{path}: `data` must be bytes of shape {(_RECORDS, _PIXELS)}, got "
            f"{data.dtype} of shape {data.shape}."
        )
    if labels.shape != (_RECORDS,):
        raise InputError(
            f"{path}: `labels` must be {_RECORDS} integers, got shape {labels.shape}."
        )
    return _channels_last(data), labels


def _channels_last(rows: np.ndarray) -> np.ndarray:
    images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images)


def _content(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None


class _ArraysOnly(pickle.Unpickler):
    """Refuses every class and function that an array of numbers does not need."""

    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return super().find_class(module, name)
