"""What no machine can hold, or compute in a life, is refused with the flag to lower."""

import dataclasses

import pytest
from closeness import raises
from fake_experiment import EXPERIMENT, Config

from experiments import accuracy_curve, cnn_vs_mlp
from experiments.harness import runner, sizes
from experiments.harness.run_directory import Cell

NETWORK = accuracy_curve.EXPERIMENT


def test_bytes_of_a_cell_are_those_of_its_largest_array():
    at = {"n_train": 100, "n_test": None, "size": None, "width": 50, "depth": 2}
    assert sizes.held_bytes(Cell(at)) == 4 * 64 * 100
    assert sizes.held_bytes(Cell({**at, "size": 28})) == 4 * 28**2 * 100
    assert sizes.held_bytes(Cell({**at, "depth": 4})) == 4 * 64 * 100
    assert sizes.held_bytes(Cell({**at, "depth": 5})) == 4 * 3 * 50**2
    draws = {"draws": 10, "inits": 20}
    assert sizes.held_bytes(Cell({**at, **draws})) == 4 * 10 * 20 * 100
    exact = Cell({**at, "route": "exact", "x64": True})
    assert sizes.held_bytes(exact) == 8 * 100**2
    channels = Cell({"channels": [8, 16], "dense": 1000})
    assert sizes.held_bytes(channels) == 4 * 16 * 1000
    assert sizes.held_bytes(Cell({"points": "sphere", "seed": 10**9})) == 0


@pytest.mark.parametrize(
    ("experiment", "settings", "said"),
    [
        (NETWORK, {"draws": 10**9}, "`--draws` must be smaller than 1000000000: one"),
        (
            NETWORK,
            {"width": 10**7},
            "`--width` must be smaller than 10000000: one",
        ),
        (NETWORK, {"epochs": 2**31 - 1, "width": 9999}, "`--epochs` must be smaller"),
        (cnn_vs_mlp.EXPERIMENT, {"dense": 2**31 - 1}, "`--dense` must be smaller than"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_more_than_there_is_is_refused(
    tmp_path, monkeypatch, experiment, settings, said, dry_run
):
    monkeypatch.setattr(sizes, "available_bytes", lambda: 20 * 2**30)
    config = experiment.configure("smoke", **settings)
    with raises(said):
        runner.execute(experiment, config, workdir=tmp_path / "never", dry_run=dry_run)
    assert not (tmp_path / "never").exists()


def test_what_is_computed_already_needs_no_memory(tmp_path, monkeypatch):
    config = Config(p=(0.9,))
    runner.execute(EXPERIMENT, config, workdir=tmp_path)
    monkeypatch.setattr(sizes, "available_bytes", lambda: 1)
    assert runner.execute(EXPERIMENT, config, workdir=tmp_path, dry_run=True)
    with raises("one cell needs"):
        other = dataclasses.replace(config, seed=1)
        runner.execute(EXPERIMENT, other, workdir=tmp_path, dry_run=True)
