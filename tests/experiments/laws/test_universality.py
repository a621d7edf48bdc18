"""Sweeps of one factor at a time, and the gaps between class mean, law and kernel."""

import pytest
from closeness import raises

from experiments import universality
from experiments.harness import runner, sweeps
from experiments.harness.run_directory import RunDirectory
from experiments.laws.universality import _each, cells, table


def smoke(**settings):
    return universality.EXPERIMENT.configure("smoke", **settings)


def test_factors_are_varied_one_at_a_time():
    config = smoke(depths=(2, 3, 4), activations=("erf", "relu"), noises="normal")
    found = _each(config)
    assert found[0] == config
    assert [c.depth for c in found] == [3, 2, 4, 3, 3, 3]
    # a kind of corruption brings its pixels and its noise
    (additive,) = (c for c in found if c.corruption == "additive")
    assert (additive.normalise, additive.noise) == ("standardise", "normal")
    grid = sweeps.variants(
        config, {"depth": (1, 2), "noise": ("normal", "laplace")}, grid=True
    )
    assert [(c.depth, c.noise) for c in grid] == [
        (1, "normal"),
        (1, "laplace"),
        (2, "normal"),
        (2, "laplace"),
    ]


def test_widths_stand_for_levels_of_clipped_noise():
    config = smoke(corruptions=("clipped_additive",), p=(0.0, 0.5, 0.9, 1.0))
    clipped = [
        cell.settings["p"]
        for cell in cells(config)
        if cell.settings["corruption"] == "clipped_additive"
    ]
    assert sorted(set(clipped)) == pytest.approx([1.0, 9.0])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("universality")
    # without hidden layers there is little to compile
    config = smoke(
        routes=("first_order", "exact"), depth=2, depths=(1,), activations=("relu",)
    )
    return workdir, runner.execute(universality.EXPERIMENT, config, workdir=workdir)


def test_gaps_are_differences_of_what_is_printed(run):
    workdir, rows = run
    text = table(RunDirectory(workdir), rows)
    lines = [line.split() for line in text.splitlines() if " 0.9 " in line]
    names = [" ".join(line[: line.index("0.9")]) for line in lines]
    assert names == ["in common", "depth 1", "relu", "rademacher", "additive"]
    for line in lines:
        rule, law, exact, *_, gap = line[line.index("0.9") + 1 :]
        assert law == "-"
        # three numbers of four digits
        assert float(gap) == pytest.approx(float(rule) - float(exact), abs=2e-4)
    assert (workdir / "figures" / "universality.png").stat().st_size


def test_bad_flags_are_refused(tmp_path):
    for settings, text in (
        ({"corruptions": ("additiv",)}, "--corruptions"),
        ({"noises": "gauss"}, "unknown --noise 'gauss'"),
        ({"depths": (0,)}, "`--depths` must be at least 1"),
    ):
        with raises(text):
            runner.execute(
                universality.EXPERIMENT, smoke(**settings), workdir=tmp_path / "never"
            )
        assert not (tmp_path / "never").exists()
