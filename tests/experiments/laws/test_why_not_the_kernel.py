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


STEPS = ("exact", "lazy", "linearised", "adam", "tangent", "network", "final")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("why")
    config = smoke(kinds=("as trained", "smaller steps", "all of these"), epochs=4)
    rows = runner.execute(why_not_the_kernel.EXPERIMENT, config, workdir=workdir)
    return workdir, rows


def test_the_offset_is_that_of_a_line_against_the_score():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(30, 4))
    arrays = {"scores": scores, "mean": 2 * scores + 0.3}
    assert why_report.offset(arrays) == pytest.approx(0.3)
    draws = {"scores": scores, "outputs": np.tile(2 * scores + 0.3, (3, 2, 1, 1))}
    assert why_report.offset(draws) == pytest.approx(0.3)


# weekly: a whole run; what it is made of is tested always
@pytest.mark.slow
def test_steps_that_do_not_depend_on_training_are_shared(run):
    _, rows = run
    count = {step: sum(row["route"] == step for row in rows) for step in STEPS}
    # "as trained" and "smaller steps" differ in training alone
    shared = {"exact": 2, "lazy": 2, "linearised": 2, "adam": 1}
    assert count == {"tangent": 3, "network": 3, "final": 3, **shared}
    found = {kind: each for _, kind, each in why_report.rungs(rows)}
    assert list(found) == ["as trained", "smaller steps", "all of these"]
    one, other, all_off = found.values()
    assert list(one) == list(other) == list(STEPS)
    # gradient descent has rates of its own
    assert list(all_off) == [step for step in STEPS if step != "adam"]
    for step in ("exact", "lazy", "linearised"):
        assert one[step].rows == other[step].rows
        assert one[step].rows != all_off[step].rows
    assert one["adam"].rows == other["adam"].rows
    settings = all_off["linearised"].rows[0]
    assert (settings["width"], settings["parametrisation"]) == (32, "ntk")
    assert all_off["exact"].rows[0]["rates"] == "ntk"
    assert one["exact"].rows[0]["rates"] == "standard"


@pytest.mark.slow
def test_every_step_is_told(run):
    workdir, rows = run
    text = why_report.table(RunDirectory(workdir), rows)
    assert text.count("own kernel after training") == 3
    assert text.count("p = 0.5") == 3
    assert (workdir / "figures" / "why_not_the_kernel.png").stat().st_size


def _rung(route, **subsets):
    rows = {
        int(name[1:]): {"route": route, "accuracies": {"1": list(accuracies)}}
        for name, accuracies in subsets.items()
    }
    return why_report.Rung(0.5, "as trained", route, rows)


def test_steps_are_differences_on_the_same_images():
    network, tangent = _rung("network", s0=(0.5, 0.7)), _rung("tangent", s1=(0.0, 0.0))
    assert network.step(tangent) is None
    tangent = _rung("tangent", s0=(0.4, 0.5), s1=(0.0, 0.0))
    assert network.step(tangent) == pytest.approx((0.15, 0.05))


def test_a_step_is_compared_with_the_last_that_is_there():
    found = {
        step: _rung(step, s0=(0.1,)) for step in ("exact", "linearised", "network")
    }
    at = lambda step: why_report.before(found, step)
    assert at("exact") is None
    assert at("linearised") is found["exact"]
    assert at("network") is found["linearised"]
    # beside the ladder: the kernel at the end and at the start
    assert at("final") is found["linearised"]
    assert at("resummed") is None


def test_variance_over_initialisations():
    rng = np.random.default_rng(0)
    draw = rng.normal(size=(500, 1, 3, 2))
    nets = theory.Draws(
        outputs=jnp.asarray(draw + 0.5 * rng.normal(size=(500, 4, 3, 2)))
    )
    assert why_report.init_variance(nets) == pytest.approx(0.25, rel=0.05)
    own, shared = 0.2 * np.ones((5, 3)), np.tile(np.diag([0.1, 0.3]), (5, 3, 1, 1))
    kernel = theory.Draws(
        outputs=jnp.zeros((5, 1, 3, 2)),
        init_var=jnp.asarray(own),
        kernel_cov=jnp.asarray(shared),
        averaged=True,
    )
    assert why_report.init_variance(kernel) == pytest.approx(0.4)


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
        ({"kinds": ("as it is",)}, "--kinds"),
    ):
        with raises(text):
            runner.execute(
                why_not_the_kernel.EXPERIMENT,
                smoke(**settings),
                workdir=tmp_path / "never",
            )
        assert not (tmp_path / "never").exists()
