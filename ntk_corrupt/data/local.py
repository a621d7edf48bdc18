"""Data sets that lie in a folder as the files their authors publish."""

import pathlib

from ntk_corrupt.data import cifar, idx
from ntk_corrupt.data.pool import Pool
from theory.errors import InputError

IDX_SETS = ("fashion_mnist", "kmnist", "mnist")
NAMES = (*IDX_SETS, "cifar10")


def read_pool(name: str, directory: pathlib.Path) -> Pool | None:
    """Reads `name` from `directory/name`, or from files directly in `directory`.

    Returns:
        The pool, or None when neither folder has one of its files.

    Raises:
        InputError: files are missing or damaged, or they lie directly in a folder that
            is named after another data set.
    """
    for folder in (directory / name, directory):
        pool = _read(name, folder)
        if pool is None:
            continue
        # The files of MNIST and its relatives have the same names.
        if folder == directory and directory.resolve().name in set(NAMES) - {name}:
            raise InputError(
                f"`data_dir` = {directory} must hold {name!r}, but by its name it "
                f"holds {directory.resolve().name!r}: pass the folder above it, or "
                "rename it."
            )
        return pool
    return None


def files(name: str) -> str:
    """The files that make up `name`, in words."""
    if name == "cifar10":
        return f"{', '.join(cifar.FILES)}, or the Python batches without .bin"
    return f"{', '.join(idx.FILES)}, plain or .gz"


def _read(name: str, folder: pathlib.Path) -> Pool | None:
    if name == "cifar10":
        return cifar.read_pool(folder)
    return idx.read_pool(folder, num_classes=10)
