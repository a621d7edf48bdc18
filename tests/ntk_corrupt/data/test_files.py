"""Data sets from files: IDX, CIFAR-10 batches, tfds, downloads, and their damage."""

import gzip
import hashlib
import io
import pathlib
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import time
from typing import Any

import numpy as np
import pytest
from checkout import ROOT

from ntk_corrupt.data import cifar, downloads, idx, loading, local, prepared
from ntk_corrupt.data.prepared import prepare_tfds
from theory.errors import InputError

MNIST = ROOT.parent / "shared" / "data" / "mnist"
STEMS = {
    "images_train": "train-images-idx3-ubyte",
    "labels_train": "train-labels-idx1-ubyte",
    "images_test": "t10k-images-idx3-ubyte",
    "labels_test": "t10k-labels-idx1-ubyte",
}


def raises(text):
    """The error is one line that contains `text`."""
    return pytest.raises(InputError, match=rf"\A[^\n]*{re.escape(text)}[^\n]*\Z")


def small_set(n=40, n_test=20, shape=(6, 5)):
    rng = np.random.default_rng(1)
    return {
        "images_train": rng.integers(0, 256, (n, *shape), np.uint8),
        "labels_train": rng.permutation(np.arange(n) % 10).astype(np.uint8),
        "images_test": rng.integers(0, 256, (n_test, *shape), np.uint8),
        "labels_test": rng.permutation(np.arange(n_test) % 10).astype(np.uint8),
    }


def idx_bytes(array):
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_idx(folder, arrays, *, gz=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        content = idx_bytes(array)
        path = folder / (STEMS[name] + (".gz" if gz else ""))
        path.write_bytes(gzip.compress(content) if gz else content)


@pytest.fixture
def mnist_dir(tmp_path):
    """A folder with a small data set in the format of MNIST, under mnist/."""
    write_idx(tmp_path / "mnist", small_set())
    return tmp_path


# --- IDX --------------------------------------------------------------------------


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("name", local.IDX_SETS)
@pytest.mark.parametrize("inside", [True, False])
def test_idx_files_come_back_bit_for_bit(tmp_path, gz, name, inside):
    arrays = small_set()
    write_idx(tmp_path / name if inside else tmp_path, arrays, gz=gz)
    problem = loading.load(name, data_dir=tmp_path, normalise="unit")
    for part in ("train", "test"):
        expected = arrays[f"images_{part}"].reshape(-1, 30) / 255
        np.testing.assert_array_equal(getattr(problem, f"x_{part}"), expected)
        np.testing.assert_array_equal(
            getattr(problem, f"labels_{part}"), arrays[f"labels_{part}"]
        )
    assert problem.num_classes == 10


@pytest.mark.parametrize("shape", [(3, 2, 2), (1, 7, 1), (2, 0, 3), (5,)])
def test_idx_round_trip_of_any_shape(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(idx.read(path, ndim=array.ndim), array)


def test_every_truncation_of_an_idx_file_is_noticed(tmp_path):
    content = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
    path = tmp_path / "file"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=re.escape(str(path))):
            idx.read(path, ndim=3)
    path.write_bytes(content[:-1])
    with raises("is truncated: 27 bytes, but its header says (3, 2, 2), so 28"):
        idx.read(path, ndim=3)
    path.write_bytes(content[:9])
    with raises("is truncated: 9 bytes, header of 16"):
        idx.read(path, ndim=3)
    path.write_bytes(content + b"x")
    with raises("has trailing bytes: 29 bytes"):
        idx.read(path, ndim=3)


def test_every_truncation_of_a_gzip_file_is_noticed(tmp_path):
    content = gzip.compress(idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 2, 2)))
    path = tmp_path / "file.gz"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=re.escape(str(path))):
            idx.read(path, ndim=3)
    path.write_bytes(content[:-9])
    with raises("is truncated or damaged"):
        idx.read(path, ndim=3)
    path.write_bytes(content[:-8] + bytes(8))  # another checksum
    with raises("is not a valid gzip file: CRC check failed"):
        idx.read(path, ndim=3)
    path.write_bytes(content[:10] + b"\xff" * 30)
    with raises("is truncated or damaged: Error -3"):
        idx.read(path, ndim=3)
    path.write_bytes(b"plain text")
    with raises("is not a valid gzip file"):
        idx.read(path, ndim=3)


def test_a_file_of_another_kind_is_named_with_its_first_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(np.zeros(4, np.uint8)))
    with raises("must be an IDX file of bytes with 3 axes, which starts with 00000803"):
        idx.read(path, ndim=3)
    path.write_bytes(b"\0\0\x0d\x03" + bytes(100))  # floats
    with raises("got 00000d03"):
        idx.read(path, ndim=3)
    path.write_bytes(b"")
    with raises("got an empty file"):
        idx.read(path, ndim=3)
    path.write_bytes(gzip.compress(b"x"))
    with raises("got 1f8b0800 (a gzip file: name it .gz)"):
        idx.read(path, ndim=3)
    with raises("cannot be read: No such file or directory"):
        idx.read(tmp_path / "absent", ndim=3)


def test_files_that_disagree_or_are_missing_are_refused(mnist_dir):
    folder = mnist_dir / "mnist"
    arrays = small_set()
    write_idx(folder, {"labels_test": arrays["labels_test"][:-1]})
    with raises("must agree: 20 images, 19 labels"):
        loading.load("mnist", data_dir=mnist_dir)
    (folder / STEMS["labels_test"]).unlink()
    with raises("must hold all four IDX files, got 3: t10k-labels-idx1-ubyte"):
        loading.load("mnist", data_dir=mnist_dir)
    write_idx(folder, arrays | {"labels_train": arrays["labels_train"] + 1})
    with raises("`labels_train` must lie in 0 ... 9, got 10"):
        loading.load("mnist", data_dir=mnist_dir)
    write_idx(folder, arrays | {"labels_train": arrays["labels_train"] % 9})
    with raises("got none of class 9"):
        loading.load("mnist", data_dir=mnist_dir)
    write_idx(folder, arrays | {"images_test": arrays["images_test"][:, :5]})
    with raises("must hold images of one shape, got (6, 5) and (5, 5)"):
        loading.load("mnist", data_dir=mnist_dir)


def test_a_missing_folder_or_missing_files_say_what_to_do(tmp_path, monkeypatch):
    absent = tmp_path / "absent"
    with raises(f"`data_dir` must be an existing folder, got {absent}"):
        loading.load("mnist", data_dir=absent)
    with raises("no 'kmnist' found: looked in"):
        loading.load("kmnist", data_dir=tmp_path)
    for text in (
        str(tmp_path / "kmnist"),
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, ",
        "plain or .gz",
        "a set prepared by tfds",
        "`data_dir`",
        "data.prepare_tfds",
        "`download=True`",
    ):
        with raises(text):
            loading.load("kmnist", data_dir=tmp_path)
    with raises("data_batch_1.bin"):
        loading.load("cifar10", data_dir=tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nowhere"))
    with raises(str(tmp_path / "nowhere" / "mnist")):
        loading.load("mnist")
    # Sets without files do not look at the folder.
    assert loading.load("digits", data_dir=absent, n_train=10).x_train.shape == (10, 64)


def test_files_directly_in_a_folder_named_after_another_set_are_refused(mnist_dir):
    with raises("must hold 'kmnist', but by its name it holds 'mnist'"):
        loading.load("kmnist", data_dir=mnist_dir / "mnist")
    direct = loading.load("mnist", data_dir=mnist_dir / "mnist", n_train=10)
    above = loading.load("mnist", data_dir=str(mnist_dir), n_train=10)
    np.testing.assert_array_equal(direct.x_train, above.x_train)


# --- CIFAR-10 ---------------------------------------------------------------------


@pytest.fixture
def cifar_arrays(monkeypatch):
    """Batches of 20 images instead of 10 000."""
    monkeypatch.setattr(cifar, "_RECORDS", 20)
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (6, 20, 3, 32, 32), np.uint8)  # channels first
    labels = np.tile(np.arange(20, dtype=np.uint8) % 10, (6, 1))
    return pixels, labels


def write_binary(folder, pixels, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for name, batch, numbers in zip(cifar.FILES, pixels, labels, strict=True):
        records = np.concatenate([numbers[:, None], batch.reshape(20, -1)], axis=1)
        (folder / name).write_bytes(records.tobytes())


def write_pickles(folder, pixels, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for name, batch, numbers in zip(cifar.FILES, pixels, labels, strict=True):
        content = {b"data": batch.reshape(20, -1), b"labels": numbers.tolist()}
        content[b"batch_label"] = b"training batch"
        path = folder / name.removesuffix(".bin")
        path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize(
    ("write", "inner"),
    [
        (write_binary, ""),
        (write_binary, "cifar-10-batches-bin"),
        (write_pickles, "cifar-10-batches-py"),
    ],
)
def test_cifar_batches_come_back_with_channels_last(
    tmp_path, cifar_arrays, write, inner
):
    pixels, labels = cifar_arrays
    write(tmp_path / "cifar10" / inner, pixels, labels)
    problem = loading.load("cifar10", data_dir=tmp_path, normalise="unit")
    images = np.asarray(problem.x_train).reshape(5, 20, 32, 32, 3)
    np.testing.assert_array_equal(images, np.moveaxis(pixels[:5], 2, -1) / 255)
    np.testing.assert_array_equal(problem.labels_train, labels[:5].ravel())
    test = np.asarray(problem.x_test).reshape(20, 32, 32, 3)
    np.testing.assert_array_equal(test, np.moveaxis(pixels[5], 1, -1) / 255)


def test_damaged_cifar_batches_are_refused(tmp_path, cifar_arrays):
    write_binary(tmp_path, *cifar_arrays)
    path = tmp_path / "data_batch_3.bin"
    content = path.read_bytes()
    path.write_bytes(content[: 19 * 3073])  # whole records, but too few
    with raises(f"{path} must have 61460 bytes, 20 images, got 58387"):
        loading.load("cifar10", data_dir=tmp_path)
    path.unlink()
    with raises("must hold all six CIFAR-10 batches: data_batch_3.bin not found"):
        loading.load("cifar10", data_dir=tmp_path)


class _Harmful:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path("harm"),))


def test_a_pickle_that_runs_code_or_is_damaged_is_refused(
    tmp_path, cifar_arrays, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_pickles(tmp_path, *cifar_arrays)
    path = tmp_path / "data_batch_2"
    good = path.read_bytes()
    path.write_bytes(pickle.dumps({b"data": _Harmful()}, protocol=2))
    with raises(f"{path} is not a CIFAR-10 batch: it refers to"):
        loading.load("cifar10", data_dir=tmp_path)
    assert not (tmp_path / "harm").exists()
    for content, text in (
        (good[:-50], "is not a CIFAR-10 batch: "),
        (b"junk", "is not a CIFAR-10 batch: "),
        (pickle.dumps([1]), "it holds <class 'list'>"),
        (pickle.dumps({"data": 1}), "`data` must be bytes of shape (20, 3072)"),
        (pickle.dumps({"data": cifar_arrays[0][0].reshape(20, -1)}, 2), "20 integers"),
    ):
        path.write_bytes(content)
        with raises(text):
            loading.load("cifar10", data_dir=tmp_path)


# --- tfds -------------------------------------------------------------------------


def test_a_set_prepared_by_tfds_equals_its_idx_files(mnist_dir, tmp_path):
    target = tmp_path / "prepared"
    folder = prepare_tfds(mnist_dir, target, "mnist")
    assert folder == target / "mnist" / "3.0.1"
    settings: dict[str, Any] = {"n_train": 20, "n_test": 10, "seed": 3}
    from_idx = loading.load("mnist", data_dir=mnist_dir, **settings)
    everything = loading.load("mnist", data_dir=mnist_dir)
    for path in (mnist_dir / "mnist").iterdir():
        path.unlink()
    with raises("no 'mnist' found"):
        loading.load("mnist", data_dir=mnist_dir)
    for expected, options in ((from_idx, settings), (everything, {})):
        problem = loading.load("mnist", data_dir=target, **options)
        for field in ("x_train", "labels_train", "x_test", "labels_test"):
            got, wanted = getattr(problem, field), getattr(expected, field)
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)
    with raises("`data_dir` must not have 'mnist' prepared already"):
        prepare_tfds(mnist_dir, target, "mnist")
    with raises("`source_dir` = "):
        prepare_tfds(mnist_dir, tmp_path / "other", "mnist")
    with raises("unknown data set 'digits'"):
        prepare_tfds(mnist_dir, tmp_path / "other", "digits")


def test_tfds_keeps_colours_and_the_newest_version_wins(tmp_path, cifar_arrays):
    write_binary(tmp_path / "source" / "cifar10", *cifar_arrays)
    expected = loading.load("cifar10", data_dir=tmp_path / "source")
    folder = prepare_tfds(tmp_path / "source", tmp_path, "cifar10")
    got = loading.load("cifar10", data_dir=tmp_path)
    np.testing.assert_array_equal(got.x_train, expected.x_train)
    for version in ("3.0.0", "10.0.0", "2.9.9", "incomplete.AB_11.0.0"):
        other = folder.parent / version
        other.mkdir()
        (other / "dataset_info.json").touch()
    (folder.parent / "12.0.0").mkdir()
    assert prepared.find("cifar10", tmp_path) == folder.parent / "10.0.0"


def test_tfds_formats_that_need_tensorflow_and_missing_splits_are_refused(mnist_dir):
    target = mnist_dir / "prepared"
    info = prepare_tfds(mnist_dir, target, "mnist") / "dataset_info.json"
    text = info.read_text()
    info.write_text(text.replace("array_record", "tfrecord"))
    with raises("is stored as tfrecord, which only TensorFlow reads"):
        loading.load("mnist", data_dir=target)
    info.write_text(text.replace('"name": "test"', '"name": "validation"'))
    with raises("must have the splits 'train' and 'test', got "):
        loading.load("mnist", data_dir=target)


def test_a_damaged_prepared_set_is_refused(mnist_dir):
    target = mnist_dir / "prepared"
    folder = prepare_tfds(mnist_dir, target, "mnist")
    (records,) = folder.glob("mnist-test*")
    content = records.read_bytes()
    for damaged in (content[: len(content) // 2], b"", bytes(len(content))):
        records.write_bytes(damaged)
        with raises(f"{folder} is damaged or of an unknown layout"):
            loading.load("mnist", data_dir=target)
    records.write_bytes(content)
    loading.load("mnist", data_dir=target)
    (folder / "dataset_info.json").write_text("{")
    with raises(f"{folder} is damaged or of an unknown layout"):
        loading.load("mnist", data_dir=target)


def test_neither_tensorflow_nor_tfds_is_imported_without_need(mnist_dir):
    code = f"""
import sys
from ntk_corrupt import data
assert "sklearn" not in sys.modules
data.load("mnist", data_dir={str(mnist_dir)!r}, n_train=10)
data.load("digits", n_train=10)
for name in ("tensorflow", "tensorflow_datasets", "importlib_resources"):
    assert name not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# --- downloads (from the disk: tests use no network) -----------------------------


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
    assert {path.name for path in (tmp_path / "target" / "cifar10").iterdir()} == set(
        cifar.FILES
    )


def test_every_set_with_files_can_be_downloaded():
    assert set(downloads.SOURCES) == set(local.NAMES)
    for name in local.IDX_SETS:
        assert {f"{file}.gz" for file in idx.FILES} == set(downloads.SOURCES[name][1])


# --- the real MNIST ---------------------------------------------------------------


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST files in {MNIST}")
def test_the_real_mnist():
    start = time.process_time()
    problem = loading.load("mnist", data_dir=MNIST.parent, normalise="unit")
    seconds = time.process_time() - start
    # what the least of it takes here: every pixel becomes a float, and is divided
    start = time.process_time()
    for _ in range(70):
        np.full((1000, 784), 7, np.uint8).astype(np.float64) / 255
    least = time.process_time() - start
    assert problem.x_train.shape == (60_000, 784)
    assert problem.x_test.shape == (10_000, 784)
    # Published class counts.
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(problem.labels_train).tolist() == train
    assert np.bincount(problem.labels_test).tolist() == test
    # 0.1307 and 0.3081: the mean and standard deviation everyone normalises with.
    pixels = np.asarray(problem.x_train).ravel()
    mean = pixels.mean()
    assert abs(mean - 0.1307) < 5e-5
    assert abs((pixels @ pixels / pixels.size - mean**2) ** 0.5 - 0.3081) < 5e-5
    assert seconds < 100 * least  # CPU time; 20 where this was written

    subset = loading.load("mnist", data_dir=MNIST, n_train=1003, n_test=500)
    assert sorted(np.bincount(subset.labels_train)) == [100] * 7 + [101] * 3
    assert np.bincount(subset.labels_test).tolist() == [50] * 10
    squares = np.asarray(subset.x_train) ** 2
    np.testing.assert_allclose(squares.mean(axis=1), 1, rtol=1e-12)
    same = loading.load("mnist", data_dir=MNIST, n_train=1003, n_test=500)
    np.testing.assert_array_equal(subset.x_train, same.x_train)
    other = loading.load("mnist", data_dir=MNIST, n_train=1003, n_test=500, seed=1)
    np.testing.assert_array_equal(subset.x_test, other.x_test)
    shared = {row.tobytes() for row in np.asarray(subset.x_train)} & {
        row.tobytes() for row in np.asarray(other.x_train)
    }
    assert len(shared) < 60  # about 1003^2 / 60 000 = 17 by chance
    # Full balanced sizes, ten times the smallest class.
    with raises("class 5 has only 5421 images, so at most 54210"):
        loading.load("mnist", data_dir=MNIST, n_train=60_000)
    with raises("class 5 has only 892 images, so at most 8920"):
        loading.load("mnist", data_dir=MNIST, n_test=10_000)
