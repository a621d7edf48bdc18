"""Lines through outputs: known ones are found, and constants are the law's."""

import jax.numpy as jnp
import numpy as np
import pytest

import theory
from experiments import logit_scatter
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.laws.logit_scatter import _beside_source, constants, outputs
from experiments.shared import settings
from experiments.shared.rows import stored


def test_spread_and_error_are_those_of_the_means_asked_for():
    rng = np.random.default_rng(1)
    common, own = (
        rng.normal(size=(400, 1, 1, 1)),
        0.5 * rng.normal(size=(400, 1, 30, 3)),
    )
    draws = theory.Draws(
        outputs=jnp.asarray(common + own), init_var=jnp.full((400, 30), 0.3)
    )
    for inits, var in ((None, 1.25), (3, 1.35)):
        found = outputs(draws, inits)
        # one standard deviation common to all points: 400 draws know it to 3.5 %
        np.testing.assert_allclose(found.spread, var**0.5, rtol=5 * 0.035)
        np.testing.assert_allclose(found.error, 1.25 / 400, rtol=5 * 0.07)
        np.testing.assert_allclose(found.own_error, 0.25 * 2 / 3 / 400, rtol=5 * 0.01)
    law = theory.OutputLaw(
        mean=jnp.zeros((5, 3)),
        cov=jnp.tile(2 * jnp.eye(3), (5, 1, 1)),
        init_var=jnp.full(5, 1.0),
    )
    assert outputs(law, None).spread == pytest.approx(2**0.5)
    assert outputs(law, 4).spread == pytest.approx(2.25**0.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = logit_scatter.EXPERIMENT.configure(
        "smoke", routes=("first_order", "exact"), depth=2, n_test=60, draws=2
    )
    workdir = tmp_path_factory.mktemp("scatter")
    return (
        config,
        workdir,
        runner.execute(logit_scatter.EXPERIMENT, config, workdir=workdir),
    )


def test_the_class_mean_law_is_a_line_in_the_score(run):
    config, workdir, rows = run
    first = next(row for row in rows if row["route"] == "first_order")
    a, b, c, _ = constants(RunDirectory(workdir), first, None)
    law = theory.first_order(
        settings.architecture(config),
        settings.corruption(config, 0.9),
        settings.problem(config, 0),
    )
    # gain and offset depend on the norm of a test point, here the same for all
    np.testing.assert_allclose(a, 0.1 * np.asarray(law.gain).mean(), rtol=0.05)
    np.testing.assert_allclose(b, np.asarray(law.offset).mean(), rtol=0.05)
    var = np.einsum("nii->ni", np.asarray(law.cov)).mean()
    np.testing.assert_allclose(c, var**0.5, rtol=1e-5)


def test_a_law_is_given_the_noise_of_the_source(run):
    _, workdir, rows = run
    directory = RunDirectory(workdir)
    first = next(row for row in rows if row["route"] == "first_order")
    _, _, c, rmse = constants(directory, first, None)
    entry = {"quantity": "rmse", "value": 1.0, "tolerance": 0.1}
    published = {"inits": None, "draws": 4, "values": [entry]}
    (line,) = _beside_source(directory, {(0.9, 0): {"first_order": first}}, published)
    assert f" {np.hypot(rmse, c / 2):.3f} " in line
    assert c > 0.2 * rmse


def test_stored_draws_are_those_computed(run):
    config, workdir, rows = run
    row = next(row for row in rows if row["route"] == "exact")
    found = stored(RunDirectory(workdir), row)
    assert isinstance(found, theory.Draws)
    labels = settings.problem(config, 0).labels_test
    # outputs are kept in float32, and a share of theirs is one
    rounding = 2 * float(np.finfo(np.float32).eps)
    np.testing.assert_allclose(
        found.accuracies(labels), row["accuracies"]["inf"], rtol=rounding
    )
    np.testing.assert_allclose(
        found.accuracies(labels, 2), row["accuracies"]["2"], atol=1e-4
    )
    for name in ("png", "pdf"):
        assert (workdir / "figures" / f"logit_scatter.{name}").stat().st_size
