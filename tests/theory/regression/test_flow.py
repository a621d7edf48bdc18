"""Finite training time of the regression with noisy features, against simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import check_sample
from noisy_features import changed, drawn, make

from theory.regression import equivalent, flow, responses

respond, covariance, independent = map(
    jax.jit, (flow.respond, flow.covariance, flow.independent)
)


def rows_and_unit(**options):
    rows, g, w = make(seed=4, **options)
    rows = changed(rows, base=np.asarray(rows.base) + 2.0)
    unit = np.random.default_rng(1).uniform(0.5, 1.5, len(rows.base))
    return rows, jnp.asarray(unit), g, w


def simulated(rows, unit, g, w, time):
    """Predictions of random kernels after gradient flow, by eigendecomposition."""
    # ridge times unit: the kernel in rows divided by the root of the units
    rng, scale = np.random.default_rng(0), np.sqrt(unit)
    rows, g, w = jax.tree.map(np.asarray, (rows, g, w))
    sample = []
    for _ in range(400):
        kernel, row = drawn(rows, g, w, rng)
        values, vectors = np.linalg.eigh(kernel / np.outer(scale, scale))
        weights = -np.expm1(-values * time) / values
        dual = vectors @ (weights[:, None] * (vectors.T @ (rows.y / scale[:, None])))
        sample.append(row @ (dual / scale[:, None]))
    return np.stack(sample)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("time", "entry_noise"), [(0.05, 0.0), (0.5, 0.0), (0.5, 6e-3)]
)
def test_mean_and_covariance_of_simulated_training(time, entry_noise):
    # what is left out is of relative order 1/64
    rows, unit, g, w = rows_and_unit(n=200, m=64, tests=6, entry_noise=entry_noise)
    trained = flow.train(rows, unit, time)
    assert max(of.residual for of in trained.solutions) < 1e-10
    response = respond(trained, g, w)
    sample = simulated(rows, unit, g, w, time)
    cov = np.asarray(flow.cross_covariance(trained, response, response))
    points = np.arange(len(g))
    np.testing.assert_allclose(
        covariance(trained, response),
        cov[points, points],
        rtol=0,
        atol=1e-9 * np.abs(cov).max(),
    )
    check_sample(sample, response.mean, cov)
    sd = np.sqrt(np.einsum("aaii->ai", cov))
    # far from trained to the end, or this would test nothing
    end = equivalent.solve(rows)
    final = responses.respond(end, g, w).mean
    assert np.abs(final - response.mean).mean() > 3 * (sd / len(sample) ** 0.5).mean()


def test_long_times_train_to_the_end():
    # a definite kernel: else there is no end
    rows, unit, g, w = rows_and_unit(entry_noise=2e-3, indefinite=False)
    end = equivalent.solve(rows)
    response = responses.respond(end, g, w)
    late = flow.train(rows, unit, 1e4)
    trained = respond(late, g, w)
    np.testing.assert_allclose(trained.mean, response.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        covariance(late, trained), responses.covariance(end, response), rtol=1e-4
    )
    np.testing.assert_allclose(independent(late), responses.independent(end), rtol=1e-4)


def test_short_times_are_linear_in_time():
    # f = row y t: no resolvent at all
    rows, unit, g, w = rows_and_unit()
    time = 1e-6
    trained = respond(flow.train(rows, unit, time), g, w)
    expected = time * (np.asarray(g) / np.asarray(unit)) @ np.asarray(rows.y)
    np.testing.assert_allclose(trained.mean, expected, rtol=1e-3)
