"""Downloads, from the disk: tests use no network."""

import hashlib
import io
import tarfile

import numpy as np
import pytest
from closeness import raises
from data_files import small_set, write_binary, write_idx

from ntk_corrupt.data import cifar, downloads, idx, loading, local


def serve(monkeypatch, name, folder, checksums=None):
    """Makes `folder` the address of `name`."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }
    monkeypatch.setitem(
        downloads.SOURCES, name, (folder.as_uri() + "/", files | (checksums or {}))
    )


def test_downloads_happen_on_request_only_and_are_kept(tmp_path, monkeypatch):
    write_idx(tmp_path / "server", small_set(), gz=True)
    serve(monkeypatch, "kmnist", tmp_path / "server")
    target = tmp_path / "new" / "target"
    with raises("`data_dir` must be an existing folder"):
        loading.load("kmnist", data_dir=target)
    problem = loading.load("kmnist", data_dir=target, download=True, normalise="unit")
    np.testing.assert_array_equal(
        problem.x_train, small_set()["images_train"].reshape(40, 30) / 255
    )
    assert len(list((target / "kmnist").iterdir())) == 4
    monkeypatch.setattr(downloads, "fetch", lambda *_: pytest.fail("fetched again"))
    loading.load("kmnist", data_dir=target, download=True)


def test_a_download_that_fails_or_is_not_the_published_file_leaves_nothing(
    tmp_path, monkeypatch
):
    write_idx(tmp_path / "server", small_set(), gz=True)
    first = "t10k-images-idx3-ubyte.gz"
    serve(monkeypatch, "mnist", tmp_path / "server", {first: "0" * 64})
    with raises("must have the SHA-256 000000000000..., got another file"):
        loading.load("mnist", data_dir=tmp_path / "target", download=True)
    serve(monkeypatch, "mnist", tmp_path / "server")
    (tmp_path / "server" / first).unlink()
    with raises("cannot be fetched"):
        loading.load("mnist", data_dir=tmp_path / "target", download=True)
    assert not list((tmp_path / "target" / "mnist").iterdir())


def test_the_cifar_archive_gives_its_batches_only(tmp_path, monkeypatch, cifar_arrays):
    write_binary(tmp_path / "batches", *cifar_arrays)
    (tmp_path / "server").mkdir()
    archive = tmp_path / "server" / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "batches", "cifar-10-batches-bin")
        outside = tarfile.TarInfo("../../outside.txt")
        tar.addfile(outside, io.BytesIO())
    serve(monkeypatch, "cifar10", tmp_path / "server")
    got = loading.load("cifar10", data_dir=tmp_path / "target", download=True)
    expected = loading.load("cifar10", data_dir=tmp_path / "batches")
    np.testing.assert_array_equal(got.x_train, expected.x_train)
    there = {path.name for path in (tmp_path / "target" / "cifar10").iterdir()}
    assert there == {*cifar.FILES, "SHA256SUMS"}


def test_every_set_with_files_can_be_downloaded():
    assert set(downloads.SOURCES) == set(local.NAMES)
    for name in local.IDX_SETS:
        assert {f"{file}.gz" for file in idx.FILES} == set(downloads.SOURCES[name][1])
