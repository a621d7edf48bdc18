"""What files hold, whatever they and their folder are called."""

import gzip
import hashlib
import os
import pathlib
import resource
import subprocess
import sys

import numpy as np
import pytest
from checkout import ROOT
from closeness import raises
from data_files import STEMS, idx_bytes, small_set, write_binary, write_idx

from ntk_corrupt.data import cifar, contents, downloads, idx, loading

MNIST = ROOT.parent / "shared" / "data" / "mnist"
# As published: https://github.com/zalandoresearch/fashion-mnist
FASHION = [9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9, 5, 5, 7, 9, 1, 0, 6, 4]


@pytest.fixture(autouse=True)
def forget():
    contents._say.cache_clear()


def labels_of(first):
    return {"labels_train": np.array([*first, *range(10), *range(10)], np.uint8)}


@pytest.mark.parametrize("gz", [False, True])
def test_labels_of_another_set_are_refused_by_its_name(tmp_path, gz):
    """Its first images alone, without a published file, are known too."""
    write_idx(tmp_path / "mnist", small_set() | labels_of(FASHION), gz=gz)
    with raises("must hold 'mnist', but by its contents it holds 'fashion_mnist'"):
        loading.load("mnist", data_dir=tmp_path)
    (tmp_path / "mnist").rename(tmp_path / "fashion_mnist")
    assert loading.load("fashion_mnist", data_dir=tmp_path).num_classes == 10


def test_a_published_file_of_another_set_is_refused(tmp_path, monkeypatch):
    """The others of MNIST, its images those of KMNIST: their labels are alike."""
    write_idx(tmp_path / "mnist", small_set(), gz=True)
    path = tmp_path / "mnist" / f"{STEMS['images_test']}.gz"
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(downloads.SOURCES, "kmnist", ("", {path.name: checksum}))
    with raises(f"{path} must hold 'mnist', but by its contents it holds 'kmnist'"):
        loading.load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("gz", [False, True])
def test_contents_are_known_unpacked_too_and_whatever_the_folder_says(
    tmp_path, monkeypatch, caplog, gz
):
    folder = tmp_path / "FashionMNIST" / "raw"
    write_idx(folder, small_set(), gz=gz)
    with raises(
        f"{folder} must hold 'mnist', but by its name it holds 'fashion_mnist'"
    ):
        loading.load("mnist", data_dir=folder)
    sums = tuple(
        hashlib.md5(idx_bytes(array), usedforsecurity=False).hexdigest()
        for array in small_set().values()
    )
    monkeypatch.setitem(contents._KNOWN, "mnist", sums)
    assert len(loading.load("mnist", data_dir=folder, n_train=10).x_train) == 10
    assert not caplog.messages
    with raises("but by its contents it holds 'mnist'"):
        loading.load("fashion_mnist", data_dir=tmp_path)


def test_every_published_file_has_a_checksum_of_its_own():
    """Four of each set packed, four unpacked: none belongs to two."""
    for name in contents.TORCH:
        known = (*contents._KNOWN[name], *downloads.SOURCES[name][1].values())
        assert len(set(known)) == 8
        assert all(contents._published()[each] == name for each in known)


def test_unknown_contents_are_taken_and_named_once(tmp_path, caplog):
    write_idx(tmp_path / "mnist", small_set())
    for _ in range(2):
        loading.load("mnist", data_dir=tmp_path)
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path / 'mnist'}: unknown contents, taken as 'mnist' ")
    for stem in STEMS.values():
        assert stem in line
    assert "\n" not in line


def test_contents_with_checksums_are_held_to_them(tmp_path, caplog):
    write_idx(tmp_path / "mnist", small_set())
    subprocess.run("sha256sum * > SHA256SUMS", shell=True, cwd=tmp_path / "mnist")
    loading.load("mnist", data_dir=tmp_path)
    assert not caplog.messages
    path = tmp_path / "mnist" / STEMS["images_train"]
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with raises(f"{path} is not the file that"):
        loading.load("mnist", data_dir=tmp_path)


def test_batches_of_cifar_are_named_too(tmp_path, cifar_arrays, caplog):
    write_binary(tmp_path, *cifar_arrays)
    loading.load("cifar10", data_dir=tmp_path)
    (line,) = caplog.messages
    assert all(name in line for name in cifar.FILES)


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST files in {MNIST}")
@pytest.mark.parametrize("unpacked", [False, True])
def test_the_real_mnist_is_known_and_no_other_set(tmp_path, caplog, unpacked):
    folder = tmp_path / "fashion"
    folder.mkdir()
    for path in MNIST.iterdir():
        content = path.read_bytes()
        name = path.name.removesuffix(".gz") if unpacked else path.name
        (folder / name).write_bytes(gzip.decompress(content) if unpacked else content)
    loading.load("mnist", data_dir=folder, n_train=10, n_test=10)
    assert not caplog.messages
    with raises("but by its contents it holds 'mnist': load it as 'mnist'"):
        loading.load("fashion_mnist", data_dir=folder)
    if unpacked:  # else gzip's own checksum tells
        images = folder / STEMS["images_train"]
        content = bytearray(images.read_bytes())
        content[10_000_000] ^= 1
        images.write_bytes(content)
        loading.load("mnist", data_dir=folder, n_train=10, n_test=10)
        (line,) = caplog.messages
        assert "unknown contents, taken as 'mnist'" in line


def test_a_small_file_that_unpacks_to_more_than_it_says_takes_no_memory(tmp_path):
    """300 MB of zeros in 300 kB, behind the header of two images."""
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        file.write(idx_bytes(np.zeros((2, 28, 28), np.uint8)))
        for _ in range(30):
            file.write(bytes(10**7))
    assert path.stat().st_size < 10**6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with raises("has trailing bytes: its header says (2, 28, 28)"):
        idx.read(path, ndim=3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10**5  # KiB


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_header_that_says_more_than_there_can_be_takes_no_memory(tmp_path, pack):
    content = bytearray(idx_bytes(np.zeros((2, 28, 28), np.uint8)))
    content[4:8] = b"\xff" * 4
    (tmp_path / "file").write_bytes(pack(bytes(content)))
    with raises("is truncated: its header says (4294967295, 28, 28)"):
        idx.read(tmp_path / "file", ndim=3)


def test_home_is_a_place_for_data(mnist_dir, monkeypatch):
    monkeypatch.setenv("HOME", str(mnist_dir))
    direct = loading.load("mnist", data_dir="~/mnist")
    assert direct.x_train.shape == loading.load("mnist", data_dir="~").x_train.shape
    with raises("starts with ~, which is no home directory here"):
        loading.load("mnist", data_dir=pathlib.Path("~nobody-of-this-name"))


def test_a_script_says_it_in_one_line(tmp_path):
    write_idx(tmp_path / "mnist", small_set())
    code = "import sys; from ntk_corrupt import data; data.load('mnist', data_dir='.')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("mnist: unknown contents, taken as 'mnist'")


def test_a_download_that_does_not_fit_leaves_nothing(tmp_path, monkeypatch):
    write_idx(tmp_path / "server", small_set(), gz=True)
    sums = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((tmp_path / "server").iterdir())
    }
    source = ((tmp_path / "server").as_uri() + "/", sums)
    monkeypatch.setitem(downloads.SOURCES, "mnist", source)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with raises("cannot write"):
        loading.load("mnist", data_dir=tmp_path / "target", download=True)
    assert not list((tmp_path / "target" / "mnist").iterdir())
