"""Data sets that lie in a folder as the files their authors publish."""

import pathlib

from ntk_corrupt.data import cifar, idx
from ntk_corrupt.data.pool import Pool
from theory.errors import InputError

# Name -> that of the folder in which torchvision keeps it.
_TORCH = {"fashion_mnist": "FashionMNIST", "kmnist": "KMNIST", "mnist": "MNIST"}
IDX_SETS = tuple(_TORCH)
NAMES = (*IDX_SETS, "cifar10")


def read_pool(name: str, directory: pathlib.Path) -> Pool | None:
    """Reads `name` from `directory/name`, or from files directly in `directory`.

    Below either they may lie as torchvision keeps them, in `MNIST/raw`.

    Returns:
        The pool, or None when no such folder has one of its files.

    Raises:
        InputError: files are missing or damaged, their contents are those of another
            set, or they lie directly in a folder that is named after one.
    """
    for folder in _folders(name, directory):
        pool = _read(name, folder)
        if pool is None:
            continue
        # The files of MNIST and its relatives have the same names.
        if folder == directory and _said_by(directory) not in (None, name):
            raise InputError(
                f"`data_dir` = {directory} must hold {name!r}, but by its name it "
                f"holds {_said_by(directory)!r}: pass the folder above it, or rename "
                "it."
            )
        return pool
    return None


def _folders(name: str, directory: pathlib.Path) -> list[pathlib.Path]:
    found = [directory / name]
    if name in _TORCH:
        found += [
            above / _TORCH[name] / "raw" for above in (directory / name, directory)
        ]
    return [*found, directory]


def _said_by(directory: pathlib.Path) -> str | None:
    """The data set that a folder is named after."""
    path = directory.resolve()
    named = (path.parent if path.name == "raw" else path).name
    names = {torch.lower(): name for name, torch in _TORCH.items()}
    names |= {name: name for name in NAMES}
    return names.get(named.lower())


def files(name: str) -> str:
    """The files that make up `name`, in words."""
    if name == "cifar10":
        return f"{', '.join(cifar.FILES)}, or the Python batches without .bin"
    return f"{', '.join(idx.FILES)}, plain or .gz"


def _read(name: str, folder: pathlib.Path) -> Pool | None:
    if name == "cifar10":
        return cifar.read_pool(folder)
    return idx.read_pool(folder, name=name, num_classes=10)
