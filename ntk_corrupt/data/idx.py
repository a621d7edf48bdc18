"""IDX files, the format of MNIST and its relatives, plain or gzipped.

Two zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of axes,
each axis as a big-endian 32-bit integer, then the values. A file is read whole or not
at all: its length must be what its header says.
"""

import gzip
import math
import pathlib
import struct
import zlib
from typing import Any

import numpy as np

from ntk_corrupt.data.pool import Pool
from theory.errors import InputError

_IMAGES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
_LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}
FILES = tuple(files[part] for part in _IMAGES for files in (_IMAGES, _LABELS))


def read(path: pathlib.Path, *, ndim: int) -> np.ndarray:
    """Reads one file of unsigned bytes. MNIST's training images: 0.2 s from .gz.

    Args:
        path: the file; decompressed if it is a gzip file, whatever its name.
        ndim: number of axes it must have: 3 for images, 1 for labels.

    Returns:
        Read-only uint8 array of the shape in the header.

    Raises:
        InputError: the file cannot be read, is not what its name says, or is shorter or
            longer than its header says.
    """
    raw = _content(path)
    magic = bytes((0, 0, 8, ndim))
    if raw[:4] != magic:
        raise InputError(
            f"{path} must be an IDX file of bytes with {ndim} axes, which starts with "
            f"{magic.hex()}, got {raw[:4].hex() or 'an empty file'}."
        )
    start = 4 + 4 * ndim
    if len(raw) < start:
        raise InputError(
            f"{path} is truncated: {len(raw)} bytes, header of {start}. Fetch it again."
        )
    shape = struct.unpack(f">{ndim}I", raw[4:start])
    expected = start + math.prod(shape)
    if len(raw) != expected:
        state = "is truncated" if len(raw) < expected else "has trailing bytes"
        raise InputError(
            f"{path} {state}: {len(raw)} bytes, but its header says {shape}, so "
            f"{expected}. Fetch it again."
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)


def find(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Those of `FILES` that lie in `folder`, by name; plain ones before .gz.

    As people have them: `train-images.idx3-ubyte` of other unpackers, capitals, and a
    folder of the file's name around it, as in archives of Kaggle.
    """
    if not folder.is_dir():
        return {}
    found: dict[str, list[pathlib.Path]] = {name: [] for name in FILES}
    for path in sorted(folder.iterdir()):
        name = _spelt_out(path)
        if name not in found:
            continue
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found[name] += [p for p in inside if p.is_file() and _spelt_out(p) == name]
    # exactly so, then plain
    rank = lambda name, path: (path.name != name, path.suffix.lower() == ".gz")
    return {
        name: min(paths, key=lambda path, name=name: rank(name, path))
        for name, paths in found.items()
        if paths
    }


def _spelt_out(path: pathlib.Path) -> str:
    return path.name.lower().removesuffix(".gz").replace(".idx", "-idx")


def read_pool(folder: pathlib.Path, *, num_classes: int) -> Pool | None:
    """The training and test set of `folder`, or None when it has none of the files.

    Raises:
        InputError: some of the four files are missing or damaged, or the numbers of
            images and labels disagree.
    """
    paths = find(folder)
    if not paths:
        return None
    missing = [name for name in FILES if name not in paths]
    if missing:
        raise InputError(
            f"{folder} must hold all four IDX files, got {len(paths)}: "
            f"{', '.join(missing)} (plain or .gz) not found."
        )
    arrays: dict[str, Any] = {}
    for part in ("train", "test"):
        images = read(paths[_IMAGES[part]], ndim=3)
        labels = read(paths[_LABELS[part]], ndim=1)
        if len(images) != len(labels):
            raise InputError(
                f"{paths[_IMAGES[part]]} and {paths[_LABELS[part]].name} must agree: "
                f"{len(images)} images, {len(labels)} labels."
            )
        arrays |= {f"images_{part}": images, f"labels_{part}": labels}
    return Pool(**arrays, num_classes=num_classes)


def _content(path: pathlib.Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except gzip.BadGzipFile as error:
        raise InputError(f"{path} is not a valid gzip file: {error}.") from None
    except (EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is truncated or damaged: {error}. Fetch it again."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
