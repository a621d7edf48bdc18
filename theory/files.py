"""Files: paths with `~`, and contents that are whole, absent or refused."""

import contextlib
import hashlib
import io
import os
import pathlib
import zipfile
from collections.abc import Generator, Mapping
from typing import IO

import numpy as np

from theory.errors import InputError


def expanded(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path with `~` and `~name` as home directories.

    Raises:
        InputError: where nobody is called so.
    """
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError:
        raise InputError(
            f"{os.fspath(path)} starts with ~, which is no home directory here: write "
            "the path out, or start it with ./~."
        ) from None


@contextlib.contextmanager
def new_file(path: pathlib.Path) -> Generator[IO[bytes], None, None]:
    """Opens a file that takes the place of `path` once it is complete.

    Raises:
        InputError: where the system refuses.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}.") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads all arrays of an npz file, by name: of numbers, booleans or text.

    Every byte is read, so that the checksums in the file cover all of it; `np.load`
    stops where a header says that an array ends.

    Raises:
        OSError: where the system refuses.
        InputError: where the file is damaged, or something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name.removesuffix(".npy"): _array(archive.read(name))
                for name in archive.namelist()
            }
    except OSError:
        raise
    except Exception as error:  # damaged files raise nearly anything
        raise InputError(f"{path} is no readable npz file ({error})") from None


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns a checksum of arrays: names, types, shapes and contents."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:16]


def _array(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    array = np.lib.format.read_array(stream, allow_pickle=False)
    if stream.read(1):
        raise ValueError("an array is longer than its header says")
    return array.astype(array.dtype.newbyteorder("="), copy=False)
