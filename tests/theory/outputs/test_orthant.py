"""Sampled orthant probabilities against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from theory.outputs.orthant import orthant_probability

orthant_probability = jax.jit(orthant_probability)


def probability(mean, cov):
    mean, cov = (jnp.asarray(value, float)[None] for value in (mean, cov))
    return float(orthant_probability(mean, cov)[0])


@pytest.mark.parametrize("rho", [-0.999, -0.7, 0.0, 0.4, 0.9, 1.0])
def test_two_components(rho):
    expected = 1 / 4 + np.arcsin(rho) / (2 * np.pi)
    cov = np.array([[1.0, 3 * rho], [3 * rho, 9.0]])
    np.testing.assert_allclose(probability([0, 0], cov), expected, atol=2e-4)


def test_three_components():
    rng = np.random.default_rng(0)
    for _ in range(5):
        root = rng.normal(size=(3, 3))
        cov = root @ root.T
        scale = np.sqrt(np.diagonal(cov))
        rho = (cov / np.outer(scale, scale))[np.triu_indices(3, 1)]
        expected = 1 / 8 + np.arcsin(rho).sum() / (4 * np.pi)
        np.testing.assert_allclose(probability(np.zeros(3), cov), expected, atol=2e-4)


def test_independent_components_are_a_product():
    mean, spread = np.array([0.3, -0.5, 2.0]), np.array([1.0, 0.1, 3.0])
    expected = norm.cdf(mean / spread).prod()
    np.testing.assert_allclose(probability(mean, np.diag(spread**2)), expected)


def test_one_variable_behind_all_components_is_an_interval():
    # m + l z > 0 for all three: z > -.2, z > -1, z < .5
    mean, loadings = np.array([0.1, 1.0, 1.0]), np.array([0.5, 1.0, -2.0])
    got = probability(mean, np.outer(loadings, loadings))
    np.testing.assert_allclose(got, norm.cdf(0.5) - norm.cdf(-0.2), atol=1e-6)
    # and empty: z > -.2, z < -.5
    got = probability([0.1, 1.0, -1.0], np.outer(loadings, loadings))
    np.testing.assert_allclose(got, 0, atol=1e-12)


def test_two_variables_behind_three_components():
    # z1 > 0, z2 > 0, z1 > z2: an eighth of the plane
    root = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])
    np.testing.assert_allclose(
        probability(np.zeros(3), root @ root.T), 1 / 8, atol=2e-4
    )


def test_no_variance_is_a_decision():
    assert probability([1.0, 2.0, 0.1], np.zeros((3, 3))) == 1.0
    got = probability([1.0, -2.0, 0.1], np.zeros((3, 3)))
    np.testing.assert_allclose(got, 0, atol=1e-200)


def test_slightly_indefinite_covariances_are_cut():
    rng = np.random.default_rng(1)
    directions, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    values = np.array([1.0, 0.8, 0.5, 0.3, 0.0])
    mean = 0.3 * rng.normal(size=5)
    expected = probability(mean, directions * values @ directions.T)
    for below in (1e-10, 1e-6, 1e-3):
        cov = directions * (values - np.array([0, 0, 0, 0, below])) @ directions.T
        np.testing.assert_allclose(probability(mean, cov), expected, atol=2e-3)


def test_float32_and_the_far_tail():
    cov = np.eye(3) + 0.5
    mean = np.array([0.5, 0.1, -0.2])
    single = orthant_probability(
        jnp.asarray(mean[None], jnp.float32), jnp.asarray(cov[None], jnp.float32)
    )
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single[0], probability(mean, cov), atol=1e-5)
    for far in (1e3, 1e9):
        assert probability(far * np.ones(3), cov) == 1.0
        np.testing.assert_allclose(probability(-far * np.ones(3), cov), 0, atol=1e-100)
