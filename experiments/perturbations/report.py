"""Table of `adversarial_learning`: panels, controls, learning rates, verdicts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import theory
from experiments.harness.run_directory import Cell, Row, RunDirectory
from experiments.perturbations import conditions
from experiments.perturbations import settings as plan
from experiments.perturbations.settings import AdversarialLearning
from experiments.perturbations.verdicts import expected, reference
from experiments.shared import tables
from experiments.shared.verdicts import lines as verdicts

_COLUMNS = (
    ("acc_f", "acc f"),
    ("acc_g", "acc g"),
    ("test_g", "test g"),
    ("agreement", "f = g"),
    ("cosine", "|cos|"),
    ("cosine_predicted", "|cos| (P5)"),
    ("hat_g_acc", "acc hat g"),
    ("hat_f_agrees", "hat f = f"),
    ("hat_g_agrees", "hat g = g"),
    ("linear_g_agrees", "(P4) = g"),
)


def settings_of(directory: RunDirectory) -> AdversarialLearning:
    """Returns the settings that a directory was last run with."""
    found = directory.read_json("config.json")
    found = {name: value for name, value in found.items() if name != "experiment"}
    many = lambda value: tuple(value) if isinstance(value, list) else value
    settings: dict[str, Any] = {name: many(value) for name, value in found.items()}
    return AdversarialLearning(**settings)


def matched(config: AdversarialLearning, rows: Sequence[Row]) -> dict[str, list]:
    """Returns, by panel, values with their rows."""
    return {
        panel: [
            (value, row)
            for value, settings in points
            if (row := pick(rows, settings)) is not None
        ]
        for panel, points in plan.panels(config).items()
    }


def pick(rows: Sequence[Row], settings: dict[str, Any]) -> Row | None:
    """Returns the row of a point, of any precision of the closed forms."""
    asked = Cell(settings).settings.items()
    for row in rows:
        if row["kind"] == "point" and all(row.get(k) == v for k, v in asked):
            return row
    return None


def at_first(row: Row, name: str) -> np.ndarray:
    """Returns numbers of the repeats (R,) at the first rates."""
    values = np.array(row[name], float)
    return values.reshape(len(values), -1)[:, 0]


def at_best(row: Row, name: str) -> np.ndarray:
    """Returns the best of the rates, of each repeat (R,): what the source reports."""
    values = np.array(row[name], float)
    return values.reshape(len(values), -1).max(axis=1)


def _entry(values: np.ndarray) -> str:
    return tables.number(values.mean(), theory.standard_error(values))


def _panel(name: str, points: Sequence[tuple[Any, Row]]) -> list[str]:
    head = "".join(f"{label:>14}" for _, label in _COLUMNS)
    found = ["", f"{name:<18}{head}{'best acc g':>14}"]
    for value, row in points:
        label = value if isinstance(value, str) else f"{value:g}"
        entries = "".join(
            f"{_entry(at_first(row, key)) if key in row else '-':>14}"
            for key, _ in _COLUMNS
        )
        found.append(f"{label:<18}{entries}{_entry(at_best(row, 'acc_g')):>14}")
    return found


def _rates(row: Row) -> list[str]:
    found = ["", "acc g (and f = g) by learning rates of f, down, and g, at the base"]
    found.append(f"{'':<8}" + "".join(f"{rate:>18g}" for rate in row["rates_g"]))
    acc, same = (np.array(row[name]).mean(axis=0) for name in ("acc_g", "agreement"))
    for index, rate in enumerate(row["rates_f"]):
        pairs = zip(acc[index], same[index], strict=True)
        entries = "".join(f"{f'{a:.3f} ({b:.3f})':>18}" for a, b in pairs)
        found.append(f"{rate:<8g}{entries}")
    return found


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Every panel at the first rates, then rates, verdicts and published curves.

    hat g leaves the length of the perturbations out, and so what it says is the same
    for all: beside it stands (P4), which does not.
    """
    config = settings_of(directory)
    panels = matched(config, rows)
    where = f"{config.dataset}, perturbations {config.scenario}, {config.loss} loss"
    found = ["", f"{where}, {config.repeats} repeats; accuracies on training inputs"]
    for name, points in panels.items():
        if points:
            found += _panel(name, points)
    for name in ("variants", "eps", "steps_f", "m"):
        found += conditions.lines(panels.get(name, ()))
    variants = dict(panels["variants"])
    if "base" in variants:
        found += _rates(variants["base"])
    stuck = max(np.max(row["stuck"]) for row in rows if row["kind"] == "point")
    found += ["", f"inputs without a gradient, at most: {stuck:.3%}"]
    for row in rows:
        if row["kind"] == "map":
            pairs = ("f as g", "hat_f as f", "hat_g as g")
            said = ", ".join(f"{pair} {row[pair]:.3f}" for pair in pairs)
            found.append(f"decisions alike in the plane of the class means: {said}")
    found += verdicts(expected(config, panels, rows))
    found += reference(config, panels)
    return "\n".join([*found, ""])
