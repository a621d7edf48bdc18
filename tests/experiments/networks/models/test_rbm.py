"""Boltzmann machines beside raw pixels: a run from end to end, and its verdicts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

import theory
from experiments import rbm
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.networks.models import rbm_report
from experiments.networks.models.rbm import Centred, cells, compute
from experiments.networks.models.rbm_report import curves, expectations, table
from experiments.shared import settings
from ntk_corrupt.networks import mlp
from ntk_corrupt.probes import basic
from ntk_corrupt.rbm import classifiers

# Two programs may decide a tie differently: one of 50 images.
TIE = 1.5 / 50
F32 = 4 * float(np.finfo(np.float32).eps)  # of a mean of float32 numbers
TINY = {
    "n_train": 60,
    "n_test": 50,
    "p": (0.0, 0.9),
    "repeats": 2,
    "trials": 3,
    "components": 8,
    "rbm_epochs": 2,
    "epochs": 2,
}


def tiny(**settings):
    return rbm.EXPERIMENT.configure("smoke", **{**TINY, **settings})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("rbm")
    return workdir, runner.execute(rbm.EXPERIMENT, tiny(), workdir=workdir)


# weekly: a whole run; what it is made of is tested always
@pytest.mark.slow
def test_every_method_is_run_in_every_regime(run):
    workdir, rows = run
    directory = RunDirectory(workdir)
    assert {(row["method"], row["p"], row["repeat"]) for row in rows} == {
        (method, p, repeat)
        for method in rbm_report.METHODS
        for p in (0.0, 0.9)
        for repeat in (0, 1)
    }
    for row in rows:
        arrays = directory.arrays(row)
        levels = [0.0, 0.9] if row["p"] == 0 else [0.9]
        assert row["p_test"] == levels
        assert arrays["corrupted"].shape == (len(levels), 3)
        means = arrays["corrupted"].mean(axis=1, dtype=float)
        np.testing.assert_allclose(row["corrupted"], means, rtol=F32)
        if row["p"] == 0:  # no corruption at all
            np.testing.assert_allclose(row["corrupted"][0], row["clean"], atol=TIE)
            # three corruptions of the test images are not one
            if row["method"] == "raw":
                assert len(set(arrays["corrupted"][1])) > 1
        epochs = {"rbm_cd": 2, "rbm_pcd": 1}.get(row["method"], 0)
        assert len(row["pseudo_likelihood"]) == epochs
        assert all(value < 0 for value in row["pseudo_likelihood"])
        # a method's key holds nothing of the others
        assert ("width" in row) == (row["method"] == "mlp")
        assert ("components" in row) == row["method"].startswith("rbm")
        assert ("cd_steps" in row) == (row["method"] == "rbm_cd")
    for name in ("png", "pdf"):
        assert (workdir / "figures" / f"rbm.{name}").stat().st_size
    text = table(directory, rows)
    assert text.count("accuracy, mean and standard error") == 3
    assert text.count("holds") + text.count("MISSED") == 20


@pytest.mark.slow
def test_the_class_means_by_hand(run):
    _, rows = run
    config = tiny()
    (row,) = (
        r for r in rows if (r["method"], r["p"], r["repeat"]) == ("class_mean", 0.9, 1)
    )
    problem = settings.problem(config, 1).astype(jnp.float32)
    noise = theory.Replacement(p=0.9, noise=theory.Uniform(0.0, 1.0))
    key = settings.corruption_key(config, 1)
    x = np.asarray(theory.corrupt(noise, key, 0, problem.x_train))
    labels = np.asarray(problem.labels_train)
    means = np.stack([x[labels == i].mean(axis=0) for i in range(10)])
    test = np.asarray(problem.x_test)
    nearest = ((test[:, None] - means[None]) ** 2).sum(axis=2).argmin(axis=1)
    expected = (nearest == np.asarray(problem.labels_test)).mean()
    assert row["clean"] == pytest.approx(expected, abs=TIE)


def test_the_network_sees_the_same_test_images():
    problem = settings.problem(tiny(n_test=400), 0).astype(jnp.float32)
    arch = theory.Architecture(depth=2, activation="relu")
    model = Centred(mlp.mlp(arch, 8, 10))
    key = jax.random.key(3)
    params = model.init(key, problem.x_test)
    levels = [
        theory.Replacement(p=p, noise=theory.Uniform(0.0, 1.0)) for p in (0.2, 0.7)
    ]
    probe = basic.Accuracies(
        corruption=jax.tree.map(lambda *each: jnp.stack(each), *levels),
        key=key,
        x=problem.x_test,
        labels=problem.labels_test,
        trials=2,
        name="corrupted",
    )
    found = probe(model, params, jax.random.key(9))["corrupted"]
    inner = {"params": params["params"]["network"]}
    apply = jax.jit(mlp.mlp(arch, 8, 10).apply)
    labels = np.asarray(problem.labels_test)
    for level, noise in enumerate(levels):
        for trial in range(2):
            seen = 2 * theory.corrupt(noise, key, trial, problem.x_test) - 1
            outputs: Any = apply(inner, seen)
            right = np.asarray(outputs).argmax(axis=1) == labels
            # two programs may decide a tie differently
            atol = 1.5 / len(labels)
            np.testing.assert_allclose(found[level, trial], right.mean(), atol=atol)


def fake(method, p, values, **settings):
    """Rows of two repeats: the same accuracy on clean and on corrupted images."""
    return [
        {
            "method": method,
            "p": p,
            "p_test": [0.0, 0.6, 0.9] if p == 0 else [p],
            "repeat": repeat,
            "classes": 10,
            "corruption": "replacement",
            "clean": value,
            "corrupted": [value, 0.3, 0.2] if p == 0 else [value - 0.01],
            **settings,
        }
        for repeat, value in enumerate(values)
    ]


def test_regimes_and_verdicts_by_hand():
    rows = [
        *fake("rbm_cd", 0.0, (0.81, 0.83)),
        *fake("rbm_cd", 0.6, (0.5, 0.52)),
        *fake("rbm_cd", 0.9, (0.1, 0.12)),
        *fake("raw", 0.0, (0.9, 0.9)),
        *fake("raw", 0.6, (0.6, 0.6)),
        *fake("raw", 0.9, (0.05, 0.05)),
    ]
    p, values = curves(rows, "train")["rbm_cd"]
    np.testing.assert_array_equal(p, [0.0, 0.6, 0.9])
    np.testing.assert_array_equal(values, [[0.81, 0.83], [0.5, 0.52], [0.1, 0.12]])
    both = curves(rows, "both")["rbm_cd"][1]
    np.testing.assert_allclose(both, [[0.81, 0.83], [0.49, 0.51], [0.09, 0.11]])
    test = curves(rows, "test")["rbm_cd"][1]
    np.testing.assert_array_equal(test, [[0.81, 0.83], [0.3, 0.3], [0.2, 0.2]])
    found = expectations(rows)
    # p = 0, no rise, below raw (not at .9), chance; no network was run
    assert [each.holds for each in found] == [True, True, False, True] * 2
    assert found[0].own == pytest.approx([0.81, 0.83])
    assert found[2].own == pytest.approx([-0.06])
    tied = [*fake("rbm_cd", 0.6, (0.5, 0.52)), *fake("raw", 0.6, (0.5, 0.52))]
    assert not expectations(tied)[0].holds
    rising = [*rows[:4], *fake("rbm_cd", 0.9, (0.6, 0.61))]
    verdicts = [each.holds for each in expectations(rising)[:3]]
    assert verdicts == [True, False, False]
    clipped = [{**row, "corruption": "clipped_additive"} for row in rows]
    assert expectations(clipped) == []


def test_cells_are_shared_between_sets_of_levels():
    keys = lambda **settings: {cell.key for cell in cells(tiny(**settings))}
    few, more = keys(), keys(p=(0.0, 0.5, 0.9))
    # trained on clean images: asked about other levels
    assert len(few & more) == len(rbm_report.METHODS) * 2
    assert len(keys(p=(0.5, 0.9))) == 3 * len(rbm_report.METHODS) * 2
    assert len(few & keys(repeats=3)) == len(few)
    changed = few - keys(width=9)
    assert len(changed) == 4  # of the network


def test_clipped_noise():
    config = tiny(corruption="clipped_additive", p=(0.5, 2.0), methods=("class_mean",))
    clean, weak, strong, *_ = cells(config)
    assert (clean.settings["p"], strong.settings["p"]) == (0.0, 2.0)
    row, arrays = compute(config, clean)
    assert row["corrupted"][0] > row["corrupted"][1] > 0.1
    assert compute(config, weak)[0]["clean"] > 0.5


def test_bad_flags_are_refused(tmp_path):
    for changed, text in (
        ({"methods": ("rbm",)}, "unknown --methods 'rbm'"),
        ({"repeats": 0}, "`--repeats` must be at least 1, got 0"),
        ({"cd_steps": 0}, "`--cd_steps` must be at least 1, got 0"),
        ({"rbm_rate": 0.0}, "`--rbm_rate` must be positive, got 0.0"),
        (
            {"rbm_classifier_max_iter": 0},
            "`--rbm_classifier_max_iter` must be at least 1, got 0",
        ),
        ({"p": (0.5, 0.5)}, "`--p` must be different ones, got 0.5 more"),
        ({"p": (0.5, 1.5)}, "`p` must be a corruption level in [0, 1], got 1.5"),
        ({"noise": "normal"}, "`x` must be pixels in [0, 1]"),
        ({"normalise": "signed"}, "`x` must be pixels in [0, 1]"),
    ):
        with raises(text):
            runner.execute(rbm.EXPERIMENT, tiny(**changed), workdir=tmp_path / "never")
        assert not (tmp_path / "never").exists()


def test_iterations_of_the_classifier_are_in_cells_that_they_decide():
    settings = {"methods": ("raw", "class_mean", "mlp"), "p": (0.0,), "repeats": 1}
    plain = [cell.key for cell in cells(tiny(**settings))]
    few = cells(tiny(**settings, rbm_classifier_max_iter=1))
    # runs of before, at scikit-learn's 1000, keep their keys
    kept = [cell.key in plain for cell in few]
    assert kept == [False, True, True]
    assert few[0].settings["rbm_classifier_max_iter"] == 1


@pytest.mark.filterwarnings("ignore:.*failed to converge")
def test_the_classifier_stops_after_its_iterations():
    rng = np.random.default_rng(0)
    x, labels = rng.uniform(size=(30, 5)), np.arange(30) % 3
    for most in (1, 3):
        config = classifiers.RbmConfig(classifier_max_iter=most)
        found = classifiers.features_and_classifier("raw", x, labels, config=config)
        assert found["classifier"].n_iter_.tolist() == [most]
