"""Data sets that lie in a folder as the files their authors publish."""

import pathlib

from ntk_corrupt.data import cifar, contents, idx
from ntk_corrupt.data.pool import Pool

IDX_SETS = tuple(contents.TORCH)
NAMES = (*IDX_SETS, "cifar10")


def read_pool(name: str, directory: pathlib.Path) -> Pool | None:
    """Reads `name` from `directory/name`, or from files directly in `directory`.

    Below either they may lie as torchvision keeps them, in `MNIST/raw`.

    Returns:
        The pool, or None when no such folder has one of its files.

    Raises:
        InputError: files are missing or damaged, or their contents are those of another
            set.
    """
    for folder in _folders(name, directory):
        pool = _read(name, folder)
        if pool is not None:
            return pool
    return None


def _folders(name: str, directory: pathlib.Path) -> list[pathlib.Path]:
    found = [directory / name]
    if name in contents.TORCH:
        found += [
            above / contents.TORCH[name] / "raw"
            for above in (directory / name, directory)
        ]
    return [*found, directory]


def files(name: str) -> str:
    """The files that make up `name`, in words."""
    if name == "cifar10":
        return f"{', '.join(cifar.FILES)}, or the Python batches without .bin"
    return f"{', '.join(idx.FILES)}, plain or .gz"


def _read(name: str, folder: pathlib.Path) -> Pool | None:
    if name == "cifar10":
        return cifar.read_pool(folder)
    return idx.read_pool(folder, name=name, num_classes=10)
