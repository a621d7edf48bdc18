"""Which data set the files of a folder hold: their contents tell, not their names.

MNIST and its relatives come in files of the same names and shapes. Published contents
are known by checksums, and labels by how they begin, whatever else is cut off. A folder
may have checksums of its own in SHA256SUMS, as `sha256sum * > SHA256SUMS` writes them.
Of contents that are not known the folder's name must not say that they are another set.
"""

import functools
import hashlib
import logging
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from ntk_corrupt.data.sources import SOURCES
from theory.errors import InputError

SUMS = "SHA256SUMS"

# Of published files, SHA-256 where no other is said; `sources` has more.
_KNOWN = {
    "mnist": (  # unpacked, in the order of `idx.FILES`
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    # MD5 of the unpacked files, in the same order: of fashion_mnist as many projects
    # list them; of kmnist as git-annex keys in github.com/datasets-mila, from archives
    # with the checksums of `sources` (those of the labels elsewhere too)
    "fashion_mnist": (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
    "kmnist": (
        "92be26ec9822e900ac425d0a0aa84ced",
        "949e75301f8813e0dc5800dcc320fc52",
        "bf305b8cd328700fbc17f5acbc2856d2",
        "9f55f451c0988b028eccdf7d5cc265ab",
    ),
    "cifar10": (  # MD5 of the Python batches, those of torchvision
        "c99cafc152244af753f735de768cd75f",
        "d4bba439e000b95fd0a9bffe97cbabec",
        "54ebc095f3ab1f0389bbae665268c751",
        "634d18415352ddfa80567beed471001a",
        "482c414d41f54cd18b22e5b47cb7c3cb",
        "40351d587109b95175f43aff81a1287e",
    ),
}
# Of the training images, and of the test images. Of kmnist none are known.
_FIRST_LABELS = {
    "mnist": ("50419213143536172869", "72104149590690159734"),
    "fashion_mnist": ("90030272550955791064", "92116146574573412480"),
}
_FIRST = {
    bytes(map(int, digits)): name
    for name, parts in _FIRST_LABELS.items()
    for digits in parts
}
# Name -> that of the folder in which torchvision keeps it.
TORCH = {"fashion_mnist": "FashionMNIST", "kmnist": "KMNIST", "mnist": "MNIST"}


def check(name: str, files: Mapping[pathlib.Path, np.ndarray | None]) -> None:
    """Says in one line where contents are not known; they are taken as they come.

    Args:
        name: the data set they are read as.
        files: its files, and the bytes of an IDX file once it is unpacked.

    Raises:
        InputError: they are those of another set, or not those of SHA256SUMS, or they
            are not known and the folder has the name of another set.
    """
    published, unknown = _published(), []
    for path, unpacked in files.items():
        raw = path.read_bytes()
        known = next(
            (published[d] for d in _digests(raw, unpacked) if d in published), None
        )
        found = known or _FIRST.get(_first_labels(unpacked))
        if found not in (None, name):
            raise InputError(
                f"{path} must hold {name!r}, but by its contents it holds {found!r}: "
                f"load it as {found!r}, from a folder of that name."
            )
        if not (known or _summed(path, hashlib.sha256(raw).hexdigest())):
            unknown.append(path)
    if unknown:
        _check_folder(name, unknown[0].parent)
        _say(name, unknown[0].parent, ", ".join(sorted(p.name for p in unknown)))


def _check_folder(name: str, folder: pathlib.Path) -> None:
    """Refuses a folder that is named after another data set."""
    path = folder.resolve()
    said = (path.parent if path.name == "raw" else path).name.lower()
    names = {each.lower(): of for of, each in TORCH.items()} | {
        of: of for of in SOURCES
    }
    if names.get(said, name) != name:
        raise InputError(
            f"{folder} must hold {name!r}, but by its name it holds {names[said]!r}, "
            "and its contents are not known: rename it."
        )


@functools.cache
def _say(name: str, folder: pathlib.Path, unknown: str) -> None:
    """One line, once: it is no error to have a set of one's own."""
    logging.getLogger("ntk_corrupt").warning(
        "%s: unknown contents, taken as %r by name and shape: %s (`sha256sum * > %s` "
        "there has them checked from now on)",
        *(folder, name, unknown, SUMS),
    )


def _published() -> dict[str, str]:
    """Checksum -> set."""
    fetched = {name: files.values() for name, (_, files) in SOURCES.items()}
    return {
        checksum: name
        for known in (_KNOWN, fetched)
        for name, checksums in known.items()
        for checksum in checksums
    }


def _digests(raw: bytes, unpacked: np.ndarray | None) -> Iterator[str]:
    """Of the file, then of its content, each once it is asked for."""
    yield hashlib.sha256(raw).hexdigest()
    content = raw if unpacked is None else unpacked.data
    yield hashlib.md5(content, usedforsecurity=False).hexdigest()
    yield hashlib.sha256(content).hexdigest()


def _first_labels(unpacked: np.ndarray | None) -> bytes:
    """The first labels of a file of them; nothing of one of images."""
    labels = unpacked is not None and unpacked[3] == 1
    return unpacked[8:28].tobytes() if labels else b""


def named_by(labels: np.ndarray) -> str | None:
    """The data set whose labels begin so, in the order in which it is published."""
    return _FIRST.get(np.asarray(labels[:20], np.uint8).tobytes())


def _summed(path: pathlib.Path, checksum: str) -> bool:
    """Whether SHA256SUMS has the file; one that is another is refused."""
    listing = path.with_name(SUMS)
    try:
        lines = listing.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    pairs = [line.split(maxsplit=1) for line in lines]
    listed = {pair[1].removeprefix("*"): pair[0] for pair in pairs if len(pair) == 2}
    expected = listed.get(path.name)
    if expected not in (None, checksum):
        raise InputError(
            f"{path} is not the file that {listing} was made of: restore it, or, if it "
            f"is meant to differ, remove {SUMS}."
        )
    return expected is not None


def sums(files: Mapping[str, bytes]) -> str:
    """The text of SHA256SUMS of files, by name, whose contents are right."""
    return "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(files.items())
    )
