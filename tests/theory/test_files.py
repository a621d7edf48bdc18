"""Paths with `~`, and npz files that are whole or refused."""

import os
import pathlib
import zipfile

import numpy as np
import pytest
from closeness import raises

import theory
from theory import files


def test_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.expanded("~/law.npz") == tmp_path / "law.npz"
    assert files.expanded(pathlib.Path("a/~")) == pathlib.Path("a/~")
    with raises(
        "~nobody-of-this-name/x starts with ~, which is no home directory here"
    ):
        files.expanded("~nobody-of-this-name/x")


def test_home_is_a_place_for_a_kernel(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    solver = theory.ConjugateGradient(file="~/kernel")
    solver.check()
    (tmp_path / "kernel").touch()
    with raises("`file` must not exist, got ~/kernel"):
        solver.check()
    solver.clean_up()
    assert not list(tmp_path.iterdir())


def test_arrays_come_back(tmp_path):
    arrays: dict = {
        "a": np.arange(3.0),
        "b": np.array("text"),
        "c": np.zeros((0, 2), ">i4"),
    }
    np.savez(tmp_path / "x.npz", **arrays)
    found = files.read_arrays(tmp_path / "x.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype.isnative
    assert files.digest(found) == files.digest(dict(reversed(found.items())))


@pytest.mark.parametrize("change", ["name", "shape", "dtype", "value"])
def test_a_checksum_is_of_all_there_is(change):
    changed = {
        "name": {"b": np.arange(4.0)},
        "shape": {"a": np.arange(4.0).reshape(2, 2)},
        "dtype": {"a": np.arange(4.0).view(np.int64)},
        "value": {"a": np.array([0.0, 1, 2, 4])},
    }
    assert files.digest({"a": np.arange(4.0)}) != files.digest(changed[change])


def test_arrays_that_are_damaged_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array([{}], object))
    with raises(f"{path} is no readable npz file (Object arrays cannot be loaded"):
        files.read_arrays(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"no array")
    with raises(f"{path} is no readable npz file ("):
        files.read_arrays(path)
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as file:
        np.lib.format.write_array(file, np.arange(3.0))
        file.write(b"more")
    with raises("an array is longer than its header says"):
        files.read_arrays(path)


def test_a_new_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with raises("cannot write"), files.new_file(path) as file:
        file.write(b"half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    with files.new_file(path) as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == ["x"]
    assert path.read_text() == "new"
