"""Sets prepared by tfds, read without TensorFlow, and their damage."""

import subprocess
import sys
from typing import Any

import numpy as np
from checkout import ROOT
from closeness import raises
from data_files import write_binary

from ntk_corrupt.data import loading, prepared
from ntk_corrupt.data.prepared import prepare_tfds


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
