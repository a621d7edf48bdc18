"""Cells in a run directory."""

import numpy as np

from experiments.harness.run_directory import Cell

FIRST = Cell({"p": 0.5, "route": "exact"})
SECOND = Cell({"p": 0.97, "route": "exact"})


def save(directory, cell=FIRST, accuracy=0.25, arrays=None):
    with directory.writing():
        directory.save(cell, {"accuracy": accuracy}, arrays or {"x": np.arange(3.0)})
