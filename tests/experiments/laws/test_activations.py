"""The comparison of activations: the order of pairs, and a run beside the source."""

import math

import numpy as np
import pytest
from closeness import raises

from experiments import activations
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.laws.activations import ordered_alike
from experiments.shared.reference import read, report

TINY = {
    "depth": 2,
    "activations": ("erf", "relu"),
    "routes": ("first_order", "network"),
    "n_train": 60,
    "n_test": 60,
    "width": 16,
    "epochs": 3,
}


def tiny(**settings):
    return activations.EXPERIMENT.configure("smoke", **{**TINY, **settings})


def test_only_pairs_that_are_apart_are_counted():
    measured = {"a": (0.5, 0.01), "b": (0.6, 0.01), "c": (0.61, 0.01), "d": (0.3, 0.2)}
    # a < b and a < c are told apart; b and c are not, nor anything from d
    assert ordered_alike({"a": 0, "b": 1, "c": 2, "d": 3}, measured) == (
        2,
        2,
    )
    assert ordered_alike({"a": 1.5, "b": 1, "c": 2}, measured) == (1, 2)
    assert ordered_alike({"a": 0, "b": 0}, measured) == (0, 1)
    assert ordered_alike({"a": 0}, measured) == (0, 0)
    unknown = {"a": (0.5, math.nan), "b": (0.6, 0.01)}
    assert ordered_alike({"a": 0, "b": 1}, unknown) == (0, 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("activations")
    rows = runner.execute(activations.EXPERIMENT, tiny(), workdir=workdir)
    return workdir, rows


def test_every_activation_is_run_with_its_own_settings(run):
    workdir, rows = run
    found = {(row["activation"], row["route"], row["p"]) for row in rows}
    assert found == {
        (a, route, p)
        for a in ("erf", "relu")
        for route in ("first_order", "network")
        for p in (0.5, 0.9)
    }
    networks = {
        row["activation"]: RunDirectory(workdir).arrays(row)["outputs"]
        for row in rows
        if (row["route"], row["p"]) == ("network", 0.5)
    }
    assert np.abs(networks["erf"] - networks["relu"]).max() > 0.1
    for name in ("png", "pdf"):
        assert (workdir / "figures" / f"activations.{name}").stat().st_size


def test_the_source_stands_beside_its_own_setting_only():
    reference = read("activations")
    row = {
        **reference["setting"],
        "activation": "erf",
        "p": 0.9,
        "route": "resummed",
        "accuracies": {"1": [0.7]},
    }
    lines = report("activations", [row])
    assert sum("within" in line for line in lines) == 1  # source .712, tolerance .03
    assert "erf" in lines[-1]
    off = {**row, "accuracies": {"1": [0.6]}}
    assert "MISSED" in report("activations", [off])[-1]
    assert report("activations", [{**row, "n_train": 1000}]) == []
    assert report("activations", [{**row, "activation": "relu"}]) == []


def test_every_published_figure_has_a_value_and_a_tolerance():
    for name in ("activations", "accuracy_curve"):
        for entry in read(name)["values"]:
            assert 0 <= entry["value"] <= 1
            assert 0 < entry["tolerance"] < 0.1
            assert np.isin(entry["inits"], ["1", "10", "inf"])


def test_bad_flags_are_refused(tmp_path):
    for settings, text in (
        ({"activations": ("erf", "elf")}, "unknown activation"),
        ({"routes": ("resumed",)}, "--routes"),
    ):
        with raises(text):
            runner.execute(
                activations.EXPERIMENT, tiny(**settings), workdir=tmp_path / "never"
            )
        assert not (tmp_path / "never").exists()
