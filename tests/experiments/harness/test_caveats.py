"""What is printed below tables: doubts of laws, and numbers that are none."""

import math

from experiments.harness.caveats import caveats, with_nan
from experiments.harness.run_directory import Cell

CELLS = [Cell({"p": p, "size": None}) for p in (0.5, 0.7, 0.9)]
LABELS = {cell.key: f"p={cell.settings['p']}" for cell in CELLS}


def rows(*columns):
    return [
        {"key": cell.key, **cell.settings, **found}
        for cell, found in zip(CELLS, columns, strict=True)
    ]


def test_nothing_is_said_of_numbers():
    found = rows({"z": 1.0, "doubts": ""}, {"z": [0.0]}, {"z": {"inf": [1, 2]}})
    assert caveats(found, CELLS, LABELS, "table") == []


def test_laws_that_are_not_valid_are_named_with_the_reason():
    found = rows({"doubts": "a"}, {"doubts": "b"}, {"doubts": "a"})
    said = ["not valid (a): p=0.5; p=0.9", "not valid (b): p=0.7"]
    assert caveats(found, CELLS, LABELS, "table") == said
    # a table may say so beside the number
    assert caveats(found, CELLS, LABELS, "0.5 not valid: a") == said[1:]


def test_numbers_that_are_none_are_counted_by_column():
    found = rows({"z": None, "y": 1}, {"z": [1, None], "y": {"1": [[None]]}}, {"z": 0})
    said = ["not finite: z of 2 of 3 cells, y of 1 of 3 cells"]
    assert caveats(found, CELLS, LABELS, "table") == said


def test_a_null_is_nan_again_unless_it_is_a_setting():
    found = rows({"z": None}, {"z": [1, None]}, {"z": {"inf": None}})
    read = with_nan(found, CELLS)
    assert [row["size"] for row in read] == [None, None, None]
    assert math.isnan(read[0]["z"])
    assert math.isnan(read[1]["z"][1])
    assert math.isnan(read[2]["z"]["inf"])
    assert found[0]["z"] is None
