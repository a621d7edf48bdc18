"""Causes of differences from the kernel: each variant changes its own, and one run."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

import theory
from experiments import why_not_the_kernel
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.laws import why_report
from experiments.laws.why_not_the_kernel import variants


def smoke(**settings):
    return why_not_the_kernel.EXPERIMENT.configure("smoke", **settings)


def test_every_variant_switches_its_cause_off_and_no_other():
    config = smoke()
    found = variants(config)
    changed = {
        name: {
            field.name
            for field in dataclasses.fields(config)
            if getattr(config, field.name) != getattr(each, field.name)
        }
        for name, each in found.items()
    }
    assert changed == {
        "as trained": set(),
        # 20 epochs either way
        "gradient descent": {"optimiser", "learning_rate", "batch_size"},
        "NTK parametrisation": {"parametrisation", "learning_rate"},
        "no trained biases": {"biases"},
        "trained to the end": {"stop_loss", "epochs"},
        "smaller steps": {"learning_rate"},
        "2 times as wide": {"width"},
        "as wide, smaller steps": {"width", "learning_rate"},
        "all of these": {
            "optimiser",
            "batch_size",
            "learning_rate",
            "parametrisation",
            "biases",
            "stop_loss",
            "width",
        },
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("why")
    config = smoke(routes=("exact", "network"), descent_epochs=60, epochs=30)
    rows = runner.execute(why_not_the_kernel.EXPERIMENT, config, workdir=workdir)
    return workdir, rows


def test_the_offset_is_that_of_a_line_against_the_score():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(30, 4))
    arrays = {"scores": scores, "mean": 2 * scores + 0.3}
    assert why_report.offset(arrays) == pytest.approx(0.3)
    draws = {"scores": scores, "outputs": np.tile(2 * scores + 0.3, (3, 2, 1, 1))}
    assert why_report.offset(draws) == pytest.approx(0.3)


def test_networks_stand_beside_the_kernel_without_biases(run):
    workdir, rows = run
    lines = why_report._lines(RunDirectory(workdir), rows)
    assert len(lines) == 9
    assert all(0 <= line["agreement"] <= 1 for line in lines)
    kinds = [row["kind"] for row in rows if row["route"] == "exact"]
    assert kinds == ["no biases", "trained biases"]
    text = why_report.table(RunDirectory(workdir), rows)
    assert text.count("exact, ") == 2
    assert (workdir / "figures" / "why_not_the_kernel.png").stat().st_size


def test_differences_are_of_the_same_images():
    def row(subset, *accuracies):
        return {"subset": subset, "accuracies": {"1": list(accuracies)}}

    networks, kernels = [row(0, 0.5, 0.7)], [row(1, 0.0, 0.0), row(0, 0.4, 0.5)]
    found = why_report._excess(networks, kernels)
    assert found == pytest.approx((0.15, 0.05))
    assert why_report._excess(networks, kernels[:1]) is None


def test_trained_biases_take_the_offset_over():
    # class frequencies are all that biases know: .1 for ten balanced classes
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 30))
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    labels = np.arange(60) % 10
    problem = theory.Problem(
        x_train=jnp.asarray(x[:50]),
        labels_train=jnp.asarray(labels[:50]),
        x_test=jnp.asarray(x[50:]),
        labels_test=jnp.asarray(labels[50:]),
        num_classes=10,
    )
    arch = theory.Architecture(depth=2, activation="erf", b_rates=(1.0, 1.0))
    law = theory.first_order(
        arch, theory.Additive(p=0.9, noise=theory.Normal()), problem
    )
    np.testing.assert_allclose(np.asarray(law.mean).mean(), 0.1, atol=0.01)


def test_bad_flags_are_refused(tmp_path):
    for settings, text in (
        ({"times": 0}, "`--times` must be at least 1, got 0"),
        ({"descent_rate": -1.0}, "`--descent_rate` must be positive, got -1.0"),
    ):
        with raises(text):
            runner.execute(
                why_not_the_kernel.EXPERIMENT,
                smoke(**settings),
                workdir=tmp_path / "never",
            )
        assert not (tmp_path / "never").exists()
