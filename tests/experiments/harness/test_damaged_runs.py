"""Rows and arrays of a run directory that were damaged."""

import json
import re

import numpy as np
import pytest
from saved_cells import FIRST, SECOND, save

from experiments.harness.run_directory import RunDirectory
from theory.errors import InputError


def spoil(path, kind):
    content = path.read_bytes()
    path.unlink()
    if kind == "truncated":
        path.write_bytes(content[:-1])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "flipped":
        middle = content.index(b"\x93NUMPY") + 130  # inside the numbers
        path.write_bytes(
            content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        )


def other_arrays(path, **arrays):
    np.savez(path, **arrays)


SPOILT = {
    "truncated": lambda path: spoil(path, "truncated"),
    "empty": lambda path: spoil(path, "empty"),
    "flipped": lambda path: spoil(path, "flipped"),
    "a zip of nothing": other_arrays,
    "another name": lambda path: other_arrays(path, y=np.arange(3.0)),
    "another shape": lambda path: other_arrays(path, x=np.arange(3.0)[None]),
    "another type": lambda path: other_arrays(path, x=np.arange(3)),
    "objects": lambda path: other_arrays(path, x=np.array([{}, 1, 2])),
    "NaN": lambda path: other_arrays(path, x=np.array([0, 1, np.nan])),
}


def test_row_torn_at_any_byte_is_dropped_and_computed_again(tmp_path):
    directory = RunDirectory(tmp_path)
    metrics = tmp_path / "metrics.jsonl"
    save(directory)
    start = metrics.stat().st_size
    save(directory, SECOND)
    whole, rows = metrics.read_bytes(), directory.rows()
    for end in range(start, len(whole)):
        metrics.write_bytes(whole[:end])
        assert directory.rows() == rows[:1]
        assert not directory.has(SECOND)
        save(directory, SECOND)
        assert metrics.read_bytes() == whole
        assert directory.rows() == rows


@pytest.mark.parametrize(
    "line",
    [
        *(b"{torn", b"3", b"[]", b'"text"', b"{}", b"", b"\xff", b'{"key": 3}'),
        *(b'{"key": "a", "accuracy": NaN}', b'{"key": "a", "seconds": "1"}'),
    ],
)
def test_spoilt_line_in_the_middle_is_an_error_with_file_and_line(tmp_path, line):
    directory = RunDirectory(tmp_path)
    save(directory)
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes() + line + b"\n" + b"{}\n")
    with pytest.raises(InputError, match=r"line 2 of .*metrics\.jsonl must be"):
        directory.rows()


def test_row_whose_arrays_are_gone_counts_as_not_computed(tmp_path):
    directory = RunDirectory(tmp_path)
    save(directory)
    save(directory, SECOND)
    (tmp_path / "arrays" / f"{FIRST.key}.npz").unlink()
    assert not directory.has(FIRST)
    assert [row["key"] for row in directory.rows()] == [SECOND.key]
    with pytest.raises(KeyError):
        directory.load(FIRST)
    save(directory)
    assert directory.has(FIRST)


@pytest.mark.parametrize("kind", SPOILT)
def test_damaged_arrays_are_refused_and_computed_again_once_removed(tmp_path, kind):
    directory = RunDirectory(tmp_path)
    save(directory)
    save(directory, SECOND)
    path = tmp_path / "arrays" / f"{FIRST.key}.npz"
    SPOILT[kind](path)
    message = (
        rf"{re.escape(str(path))} .*: remove {path.name}, and its cell is computed"
    )
    for read in (directory.rows, lambda: directory.has(FIRST)):
        with pytest.raises(InputError, match=message):
            read()
    assert directory.has(SECOND)
    path.unlink()
    save(directory)
    assert directory.has(FIRST)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"accuracy": 0.25', '"accuracy": 0.26'),
        ('"accuracy": 0.25', '"accuracy": "0.25"'),
        ('"accuracy": 0.25', '"accuracy": NaN'),
        ('"accuracy": 0.25, ', ""),
        ('"accuracy"', '"akkuracy"'),
        ('"exact"', '"network"'),
        (FIRST.key, SECOND.key),
        ('"checksum": "', '"checksum": "0'),
        ('"checksum"', '"chacksum"'),
    ],
)
def test_a_row_that_was_changed_is_refused(tmp_path, old, new):
    directory = RunDirectory(tmp_path)
    save(directory)
    metrics = tmp_path / "metrics.jsonl"
    text = metrics.read_text()
    assert old in text
    metrics.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=r"line 1 of .* must be a row as a run wrote"):
        directory.rows([FIRST])


def test_rows_of_older_versions_have_no_checksum(tmp_path):
    directory = RunDirectory(tmp_path)
    save(directory)
    metrics, (row,) = tmp_path / "metrics.jsonl", directory.rows()
    metrics.write_text(json.dumps(row) + "\n")
    assert directory.rows([FIRST]) == [row]
