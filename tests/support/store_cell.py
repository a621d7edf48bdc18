"""Stores the last cell of the smoke preset of a script, for test_stored_cells.

python tests/support/store_cell.py NAME
"""

import importlib
import json
import sys

from checkout import ROOT

FILE = ROOT / "tests" / "experiments" / "stored_cells.json"


def main(name: str) -> None:
    """Writes the cell in place of the one that is stored."""
    sys.path.insert(0, str(ROOT))
    experiment = importlib.import_module(f"experiments.{name}").EXPERIMENT
    cell = experiment.cells(experiment.configure("smoke"))[-1]
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    stored[name] = {"key": cell.key, "settings": dict(cell.settings)}
    FILE.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
