"""Finite training time of the regression with noisy features, against simulation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_equivalent import drawn, make

from theory import equivalent, flow, responses


def rows_and_unit(*, entry_noise=0.0):
    rows, g, w = make(n=200, m=64, tests=6, seed=4, entry_noise=entry_noise)
    rows = dataclasses.replace(rows, base=rows.base + 2.0)
    unit = np.random.default_rng(1).uniform(0.5, 1.5, 200)
    return rows, jnp.asarray(unit), g, w


@jax.jit
def simulate(rows, unit, g, w, key, time):
    """Predictions of random kernels after gradient flow, by eigendecomposition."""

    def one(key):
        kernel, row = drawn(rows, g, w, key)
        # ridge times unit: the kernel in rows divided by the root of the units
        scale = jnp.sqrt(unit)
        values, vectors = jnp.linalg.eigh(kernel / (scale[:, None] * scale[None, :]))
        weights = -jnp.expm1(-values * time) / values
        dual = vectors @ (weights[:, None] * (vectors.T @ (rows.y / scale[:, None])))
        return row @ (dual / scale[:, None])

    return jax.lax.map(one, jax.random.split(key, 400))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("time", "entry_noise"), [(0.05, 0.0), (0.5, 0.0), (0.5, 6e-3)]
)
def test_mean_and_covariance_of_simulated_training(time, entry_noise):
    rows, unit, g, w = rows_and_unit(entry_noise=entry_noise)
    trained = flow.train(rows, unit, time)
    assert max(of.residual for of in trained.solutions) < 1e-10
    response = flow.respond(trained, g, w)
    sample = np.asarray(simulate(rows, unit, g, w, jax.random.key(0), time))
    cov = np.asarray(flow.cross_covariance(trained, response, response))
    points = np.arange(len(g))
    np.testing.assert_allclose(
        flow.covariance(trained, response), cov[points, points], rtol=1e-9
    )
    sd = np.sqrt(np.einsum("aaii->ai", cov))
    z = (sample.mean(0) - np.asarray(response.mean)) / (sd / len(sample) ** 0.5)
    assert np.sqrt((z**2).mean()) < 1.6
    deviation = sample - sample.mean(0)
    measured = np.einsum("kai,kbj->abij", deviation, deviation) / (len(sample) - 1)
    np.testing.assert_allclose((measured * cov).sum() / (cov**2).sum(), 1, atol=0.1)
    assert np.corrcoef(measured.ravel(), cov.ravel())[0, 1] > 0.97
    # far from trained to the end, or this would test nothing
    end = equivalent.solve(rows)
    final = responses.respond(end, g, w).mean
    assert np.abs(final - response.mean).mean() > 3 * (sd / len(sample) ** 0.5).mean()


def test_long_times_train_to_the_end():
    rows, unit, g, w = rows_and_unit(entry_noise=2e-3)
    end = equivalent.solve(rows)
    response = responses.respond(end, g, w)
    late = flow.train(rows, unit, 1e4)
    trained = flow.respond(late, g, w)
    np.testing.assert_allclose(trained.mean, response.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        flow.covariance(late, trained), responses.covariance(end, response), rtol=1e-4
    )
    np.testing.assert_allclose(
        flow.independent(late), responses.independent(end), rtol=1e-4
    )


def test_short_times_are_linear_in_time():
    # f = row y t: no resolvent at all
    rows, unit, g, w = rows_and_unit()
    time = 1e-6
    trained = flow.respond(flow.train(rows, unit, time), g, w)
    np.testing.assert_allclose(
        trained.mean, time * (g / unit[None, :]) @ rows.y, rtol=1e-3
    )
