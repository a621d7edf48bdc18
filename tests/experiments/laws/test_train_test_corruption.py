"""Corruption of training and test images: areas by hand, and law beside networks."""

from typing import Any

import numpy as np
import pytest
from closeness import raises

from experiments import train_test_corruption
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.laws.train_test_corruption import _beside_source, areas, table
from experiments.shared import reference

ROUTES = ("online", "resummed", "network")


def smoke(**settings):
    return train_test_corruption.EXPERIMENT.configure("smoke", **settings)


def test_areas_are_trapezia():
    curves = np.array([[[1.0, 0.5], [0.5, 0.5], [0.0, 0.1]]])
    found = areas((0.0, 0.25, 1.0), curves)
    np.testing.assert_allclose(found, [[0.25 * 0.75 + 0.75 * 0.25, 0.125 + 0.225]])
    # levels that do not reach from 0 to 1: a mean all the same
    np.testing.assert_allclose(areas((0.2, 0.4), np.full((1, 2, 1), 0.7)), 0.7)


class Stored:
    """Accuracies of rows, by level of training."""

    def __init__(self, accuracies):
        self.of = accuracies

    def arrays(self, row):
        return {"accuracies": self.of[row["p"]]}


def test_areas_stand_beside_those_of_the_source_in_its_setting_alone():
    setting = reference.read("train_test_corruption")["setting"]
    rows = [
        {**setting, "p": p, "p_test": [0.0, 1.0], "kinds": ["replacement"]}
        for p in (0.65, 0.9)
    ]
    # kind, level of test, draw: areas .779 and .5, the source's .7777 and .619
    stored: Any = Stored(
        {
            0.65: np.array([[[0.958, 0.956], [0.6, 0.602]]]),
            0.9: np.array([[[0.9, 0.9], [0.1, 0.1]]]),
        }
    )
    lines = _beside_source(stored, rows)[3:]
    assert [line.split()[0] for line in lines] == ["0.65", "0.9"]
    assert "0.778  0.779  tolerance 0.01: within +- 0.0000" in lines[0]
    assert "0.619  0.500  tolerance 0.01: MISSED" in lines[1]
    assert not _beside_source(stored, [{**row, "n_train": 1000} for row in rows])
    short = [{**row, "p_test": [0.0, 0.5]} for row in rows]
    assert not _beside_source(stored, short)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("train_test")
    config = smoke(n_train=60, n_test=40, routes=ROUTES)
    return workdir, runner.execute(
        train_test_corruption.EXPERIMENT, config, workdir=workdir
    )


# weekly: the whole script; its parts, and routes end to end in test_accuracy_curve.py,
# are tested always
@pytest.mark.slow
def test_nothing_is_seen_in_images_of_noise(run):
    workdir, rows = run
    assert {(row["route"], row["p"]) for row in rows} == {
        (route, p) for route in ROUTES for p in (0.3, 0.9)
    }
    for row in rows:
        accuracies = RunDirectory(workdir).arrays(row)["accuracies"]
        assert accuracies.shape == (1, 2, 2 if row["route"] == "network" else 1)
        # p_test = 1: chance, exactly for the law; five binomial errors for 80 decisions
        slack = 5 * 0.034 if row["route"] == "network" else 0.03
        assert abs(accuracies[0, 1].mean() - 0.1) < slack
        if (row["route"], row["p"]) == ("resummed", 0.3):
            assert accuracies[0, 0, 0] > 0.5  # clean images
    text = table(RunDirectory(workdir), rows)
    assert text.count("best p_train") == 3
    assert (workdir / "figures" / "train_test_corruption.png").stat().st_size


def test_bad_flags_are_refused(tmp_path):
    for settings, text in (
        ({"routes": ("exact",)}, "unknown --routes 'exact'"),
        ({"kinds": ("clipped",)}, "unknown --kinds 'clipped'"),
        ({"p_test": (0.5, 0.1)}, "`--p_test` must be two or more rising levels"),
        ({"p_test": (0.5, 1.5)}, "`p` must be a corruption level in [0, 1], got 1.5"),
    ):
        with raises(text):
            runner.execute(
                train_test_corruption.EXPERIMENT,
                smoke(**settings),
                workdir=tmp_path / "never",
            )
        assert not (tmp_path / "never").exists()
