"""IDX files, the format of MNIST and its relatives, plain or gzipped.

Two zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of axes,
each axis as a big-endian 32-bit integer, then the values. A file is read whole or not
at all: its length must be what its header says.
"""

import gzip
import io
import math
import os
import pathlib
import struct
import zlib
from typing import Any

import numpy as np

from ntk_corrupt.data import contents
from ntk_corrupt.data.pool import Pool
from theory.errors import InputError

_IMAGES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
_LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}
_GZIP = b"\x1f\x8b"
_MOST_PACKED = 1100  # bytes that one of a gzip file may hold, 1032 by its format
_CHUNK = 2**20
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
    return _values(_content(path, ndim))


def _values(content: np.ndarray) -> np.ndarray:
    ndim = int(content[3])
    shape = struct.unpack_from(f">{ndim}I", content.data, 4)
    return content[4 + 4 * ndim :].reshape(shape)


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


def read_pool(folder: pathlib.Path, *, name: str, num_classes: int) -> Pool | None:
    """The training and test set of `folder`, or None when it has none of the files.

    Args:
        folder: of the files.
        name: of the set, which the contents must not contradict.
        num_classes: number of classes.

    Raises:
        InputError: some of the four files are missing, damaged or of another set, or
            the numbers of images and labels disagree.
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
    found = {
        stem: _content(paths[stem], ndim)
        for stems, ndim in ((_IMAGES, 3), (_LABELS, 1))
        for stem in stems.values()
    }
    contents.check(name, {paths[stem]: content for stem, content in found.items()})
    arrays: dict[str, Any] = {}
    for part in ("train", "test"):
        images, labels = (_values(found[of[part]]) for of in (_IMAGES, _LABELS))
        if len(images) != len(labels):
            raise InputError(
                f"{paths[_IMAGES[part]]} and {paths[_LABELS[part]].name} must agree: "
                f"{len(images)} images, {len(labels)} labels."
            )
        arrays |= {f"images_{part}": images, f"labels_{part}": labels}
    return Pool(**arrays, num_classes=num_classes)


def _content(path: pathlib.Path, ndim: int) -> np.ndarray:
    """All bytes of a file, unpacked, as many as its header says."""
    try:
        with path.open("rb") as file:
            size, packed = os.fstat(file.fileno()).st_size, file.read(2) == _GZIP
            file.seek(0)
            if not packed:
                return _whole(path, file, ndim, most=size)
            with gzip.open(file) as unpacked:
                return _whole(path, unpacked, ndim, most=size * _MOST_PACKED)
    except gzip.BadGzipFile as error:
        raise InputError(f"{path} is not a valid gzip file: {error}.") from None
    except (EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is truncated or damaged: {error}. Fetch it again."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None


def _whole(
    path: pathlib.Path, file: io.BufferedIOBase, ndim: int, *, most: int
) -> np.ndarray:
    """Reads what the header says, and one byte more to see that this is the end.

    A small gzip file may unpack to more than fits in memory. `most` is what there can
    be, so that a damaged header reserves none.
    """
    magic, start = bytes((0, 0, 8, ndim)), 4 + 4 * ndim
    header = file.read(start)
    if header[:4] != magic:
        raise InputError(
            f"{path} must be an IDX file of bytes with {ndim} axes, which starts with "
            f"{magic.hex()}, got {header[:4].hex() or 'an empty file'}."
        )
    if len(header) < start:
        raise InputError(
            f"{path} is truncated: {len(header)} bytes, header of {start}. Fetch it "
            "again."
        )
    shape = struct.unpack(f">{ndim}I", header[4:])
    expected, filled = start + math.prod(shape), start
    said = f"its header says {shape}, so {expected} bytes"
    if expected > most:
        raise InputError(f"{path} is truncated: {said}, got fewer. Fetch it again.")
    content = np.empty(expected, np.uint8)
    content[:start] = np.frombuffer(header, np.uint8)
    view = content.data
    while got := file.readinto(view[filled : filled + _CHUNK]):
        filled += got
    if filled < expected:
        raise InputError(f"{path} is truncated: {said}, got {filled}. Fetch it again.")
    if file.read(1):
        raise InputError(f"{path} has trailing bytes: {said}. Fetch it again.")
    content.flags.writeable = False
    return content
