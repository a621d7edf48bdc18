"""What clusters alone say of a descent: verdicts on made-up rows, and a whole run."""

from typing import Any

import numpy as np
import pytest

from experiments import cluster_noise
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.wrong_labels.clusters import report, stage_report


def holds(lines):
    return [line.holds for line in lines]


def stage_row(**changes) -> dict[str, Any]:
    """A row of the part `bounds` at which all is as expected, but for the changes."""
    ends = {"alpha": [8.0, 8.0], "beta": [9.0, 9.0], "eps": [1.0, 1.2]}
    row: dict[str, Any] = {f"start_{name}": value for name, value in ends.items()}
    row |= {"bound_alpha": [1.0, 0.0], "bound_beta": [10.0, 10.0],
            "bound_eps": [2.0, 2.0], "activation": "tanh", "width": 20,
            "radius": 0.4, "best_test": [0.01, 0.02], "budget_test": [0.01, 0.02],
            "fixed_test": [0.01, 0.02]}  # fmt: skip
    for route in ("first", "network"):
        row |= {f"{route}_{k}": [0.5, 0.9] for k in ("plus", "drift", "distance")}
    return row | changes


def test_verdicts_of_the_first_stage():
    half = stage_row(radius=0.2, start_eps=[0.5, 0.6])
    assert holds(stage_report.bounds_hold([stage_row(), half])) == [True] * 14
    for index, change in (
        (0, {"bound_alpha": [8.5, 8.5]}),
        (1, {"start_beta": [10.5, 10.5]}),
        (2, {"bound_eps": [0.9, 0.9]}),
        (3, {"first_plus": [1.1, 1.0]}),
        (5, {"first_distance": [1.1, 1.0]}),
        (7, {"network_drift": [1.1, 1.0]}),
        (10, {"budget_test": [0.05, 0.05]}),
        (11, {"fixed_test": [0.05, 0.05]}),
    ):
        found = holds(stage_report.bounds_hold([stage_row(**change), half]))
        assert found == [k != index for k in range(14)], change
    slow = stage_row(radius=0.2, start_eps=[0.8, 0.9])
    assert not holds(stage_report.bounds_hold([stage_row(), slow]))[9]
    # a kink has no bound on eps: no exponent, and nothing that could be missed
    kinked = stage_row(bound_eps=[None, None])
    assert holds(stage_report.bounds_hold([kinked, kinked])) == [True] * 13


def test_verdicts_of_the_radius():
    rows = [
        {"activation": name, "radius": r, "distance": [1 / r, 1 / r],
         "least": [0.5 / r, 0.6 / r], "law": [2 * r**power] * 2}
        for name, power in (("erf", -1), ("relu", -0.5))
        for r in (0.5, 0.25)
    ]  # fmt: skip
    # the network of relu grows as 1/eps0 here, which its kernel does not
    found = holds(stage_report.radii_hold(rows))
    assert found == [True, True, True, True, False]
    rows[0]["least"] = [3.0, 3.0]
    assert not holds(stage_report.radii_hold(rows))[0]


@pytest.mark.slow  # guarded by test_bounds and the verdicts above
def test_bounds_and_radii_from_end_to_end(tmp_path):
    config = cluster_noise.EXPERIMENT.configure(
        "smoke", n_test=40, parts=("bounds", "radius"), activations=("tanh",),
        clusters=4,
    )  # fmt: skip
    rows = runner.execute(cluster_noise.EXPERIMENT, config, workdir=tmp_path)
    assert [row["part"] for row in rows] == ["bounds"] * 2 + ["radius"] * 2
    for line in stage_report.bounds_hold(rows[:2])[:6]:
        assert line.holds, line
    for row in rows[2:]:
        assert np.all(np.array(row["least"]) <= row["distance"])
    text = report.table(RunDirectory(tmp_path), rows)
    for said in ("what clusters alone say", "where rules stop", "lemma 8.1"):
        assert said in text
