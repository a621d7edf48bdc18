"""Run directories of before stay valid: cells keep their settings, and so their keys.

`stored_cells.json` holds the last cell of every smoke preset as a run stored it. A
setting that is renamed, dropped or added makes every stored run of a script begin anew:
do it on purpose, and then store the cell again:

    python tests/support/store_cell.py NAME
"""

import importlib
import json
import pathlib

import pytest

from experiments.__main__ import FAMILIES

STORED = json.loads(
    (pathlib.Path(__file__).parent / "stored_cells.json").read_text(encoding="utf-8")
)


def test_every_script_has_one():
    assert set(STORED) == {name for names in FAMILIES.values() for name in names}


@pytest.mark.parametrize("name", STORED)
def test_a_cell_has_the_key_that_it_was_stored_under(name):
    experiment = importlib.import_module(f"experiments.{name}").EXPERIMENT
    cell = experiment.cells(experiment.configure("smoke"))[-1]
    # as JSON has them: lists for tuples
    assert json.loads(json.dumps(cell.settings)) == STORED[name]["settings"]
    assert cell.key == STORED[name]["key"]
