"""CIFAR-10 batches, binary and pickled, and their damage."""

import pathlib
import pickle

import numpy as np
import pytest
from closeness import raises
from data_files import write_binary

from ntk_corrupt.data import cifar, loading


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
