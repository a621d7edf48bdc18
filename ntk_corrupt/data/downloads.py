"""Fetches the published files of a data set: the one place that uses the network.

The tfds builders of these sets need TensorFlow; this does not. A file that is not the
one of `sources` is refused.
"""

import hashlib
import io
import pathlib
import tarfile
import urllib.request

from ntk_corrupt.data import cifar, contents
from ntk_corrupt.data.sources import SOURCES
from theory import files
from theory.errors import InputError

_TIMEOUT = 30.0  # seconds without an answer


def fetch(name: str, directory: pathlib.Path) -> None:
    """Downloads the files of `name` into `directory/name`, made if needed.

    Every file is checked before it is put in place, in one step; an interrupted
    download leaves no half of a file.

    Args:
        name: a key of `SOURCES`.
        directory: the folder that holds one folder per data set.

    Raises:
        InputError: a file cannot be fetched, or is not the published one.
    """
    address, published = SOURCES[name]
    folder = directory / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}.") from None
    for file, checksum in published.items():
        content = _get(address + file)
        if hashlib.sha256(content).hexdigest() != checksum:
            raise InputError(
                f"{address + file} must have the SHA-256 {checksum[:12]}..., got "
                f"another file of {len(content)} bytes: fetch it by hand."
            )
        if file.endswith(".tar.gz"):
            members = _members(content)
            for member, inner in members.items():
                _put(folder / member, inner)
            # of the archive alone a checksum is published
            _put(folder / contents.SUMS, contents.sums(members).encode())
        else:
            _put(folder / file, content)


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            return response.read()
    except OSError as error:  # URLError, time-out, broken connection
        raise InputError(
            f"{url} cannot be fetched ({error}): fetch it by hand into `data_dir`."
        ) from None


def _members(content: bytes) -> dict[str, bytes]:
    """The batch files of the archive, by their bare names: nothing is unpacked."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        found = {}
        for member in archive:
            file = archive.extractfile(member)
            name = pathlib.PurePosixPath(member.name).name
            if file is not None and name in cifar.FILES:
                found[name] = file.read()
    return found


def _put(path: pathlib.Path, content: bytes) -> None:
    with files.new_file(path) as file:
        file.write(content)
