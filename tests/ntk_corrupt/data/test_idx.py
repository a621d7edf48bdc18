"""IDX files, plain and compressed, and their damage."""

import gzip
import re

import numpy as np
import pytest
from closeness import raises
from data_files import idx_bytes, small_set, write_idx

from ntk_corrupt.data import idx, loading, local
from theory.errors import InputError


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
    with raises("is truncated: its header says (3, 2, 2), so 28 bytes, got fewer"):
        idx.read(path, ndim=3)
    path.write_bytes(content[:9])
    with raises("is truncated: 9 bytes, header of 16"):
        idx.read(path, ndim=3)
    path.write_bytes(content + b"x")
    with raises("has trailing bytes: its header says (3, 2, 2), so 28 bytes"):
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
    with raises("must be an IDX file of bytes with 3 axes"):
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
    with raises("got 78."):
        idx.read(path, ndim=3)
    with raises("cannot be read: No such file or directory"):
        idx.read(tmp_path / "absent", ndim=3)
