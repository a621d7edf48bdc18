"""Agreement with the class mean: shares counted by hand, and one run of the script."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

import theory
from experiments import agreement
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.laws.agreement import _each, _share, alike, table
from experiments.shared import reference
from experiments.shared.rows import stored

TINY = {
    "n_train": 60,
    "n_test": 40,
    "p": (0.9,),
    "depths": (2,),
    "widths": (16, 32),
    "activations": ("erf",),
    "epochs": 5,
}


def tiny(**settings):
    return agreement.EXPERIMENT.configure("smoke", **{**TINY, **settings})


def test_networks_of_a_draw_are_alike_as_often_as_the_kernel_says():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(3, 1, 50, 4))
    kernel = theory.Draws(outputs=jnp.asarray(means), init_var=jnp.full((3, 50), 0.7))
    sampled = means + 0.7**0.5 * rng.normal(size=(3, 60, 50, 4))
    networks = dataclasses.replace(kernel, outputs=jnp.asarray(sampled), init_var=None)
    found, expected = alike(networks), alike(kernel)
    # 60 networks at 50 points: pairs know a share to about .5/sqrt(60 50) of each draw
    np.testing.assert_allclose(found, expected, rtol=0, atol=5 * 0.5 / 3000**0.5)
    assert len(expected) == 3


def test_pairs_are_counted():
    decisions = np.array([[[0, 1, 2], [0, 1, 1], [0, 2, 2]]])
    draws = theory.Draws(outputs=jnp.asarray(np.eye(3)[decisions]))
    # of three points: 2 alike, 2 alike, 1 alike
    np.testing.assert_allclose(alike(draws), [5 / 9])


def test_one_factor_at_a_time_or_all_combinations():
    settings = {
        "depths": (2, 3, 4), "widths": (16, 32), "activations": ("erf", "relu")
    }  # fmt: skip
    one = _each(tiny(**settings))
    # the network in common is among the values of each factor
    assert len(one) == 1 + 2 + 1 + 1
    assert all(
        (c.depth != 3) + (c.width != 32) + (c.activation != "erf") <= 1 for c in one
    )
    assert len(_each(tiny(grid=True, **settings))) == 12


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("agreement")
    rows = runner.execute(agreement.EXPERIMENT, tiny(), workdir=workdir)
    return workdir, rows


# weekly: the whole script; its parts, and routes end to end in test_accuracy_curve.py,
# are tested always
@pytest.mark.slow
def test_shares_are_those_of_the_stored_decisions(run):
    workdir, rows = run
    counts = {}
    for row in rows:
        counts[row["route"]] = counts.get(row["route"], 0) + 1
        arrays = RunDirectory(workdir).arrays(row)
        rule = arrays["scores"].argmax(axis=1)
        if row["route"] == "network":
            decisions = arrays["outputs"].argmax(axis=-1)
            np.testing.assert_allclose(
                row["agreements"]["1"], (decisions == rule).mean(axis=(1, 2)), atol=1e-6
            )
            np.testing.assert_allclose(
                row["alike"]["1"],
                (decisions[:, 0] == decisions[:, 1]).mean(axis=1),
                atol=1e-6,
            )
        elif row["route"] == "resummed":
            law = stored(RunDirectory(workdir), row)
            assert isinstance(law, theory.OutputLaw)
            flips = theory.flip_probability(law.averaged(1), rule)
            np.testing.assert_allclose(
                row["agreements"]["1"][0], 1 - flips.mean(), atol=1e-3
            )
    # two depths; the kernels have no width
    assert counts == {"network": 3, "resummed": 2, "exact": 2}
    for name in ("png", "pdf"):
        assert (workdir / "figures" / f"agreement.{name}").stat().st_size


@pytest.mark.slow
def test_the_table_has_a_line_for_every_network_and_its_kernel(run):
    workdir, rows = run
    text = table(RunDirectory(workdir), rows)
    lines = [line for line in text.splitlines() if " erf " in line]
    assert len(lines) == 3
    # every route is in every line: no column of a kernel is empty for want of a width
    assert all(line.split().count("-") == 0 for line in lines)
    assert "binomial" in text


def test_shares_of_before_stand_beside_those_of_a_run():
    published = reference.read("agreement")
    entry = next(each for each in published["values"] if each.get("width") == 500)
    about = ("p", "route", "depth", "width", "activation")
    row = {**published["setting"], **{name: entry[name] for name in about}}
    near, far = entry["value"], entry["value"] + 2 * entry["tolerance"]
    for share, verdict in ((near, "within"), (far, "MISSED")):
        row["agreements"] = {"1": [share, share]}
        (line,) = reference.report("agreement", [row], _share)[3:]
        assert line.endswith(verdict), line
    row["agreements"] = {"inf": [near, near]}
    assert not reference.report("agreement", [row], _share)


def test_bad_flags_are_refused(tmp_path):
    for settings, text in (
        ({"inits": 1}, "`--inits` must be at least 2, to compare networks"),
        ({"depths": (0,)}, "`--depths` must be at least 1"),
        ({"widths": (0,)}, "`--widths` must be at least 1, got 0"),
        ({"activations": ("elf",)}, "unknown activation"),
    ):
        with raises(text):
            runner.execute(
                agreement.EXPERIMENT, tiny(**settings), workdir=tmp_path / "never"
            )
        assert not (tmp_path / "never").exists()
