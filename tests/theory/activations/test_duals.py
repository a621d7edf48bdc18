"""Dual activations against quadrature in polar coordinates, over the whole domain."""

import functools
import math

import activation_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from activation_cases import BY_NAME
from closeness import assert_close
from dual_cases import (
    CORRELATIONS,
    ORACLE,
    SAME_SERIES,
    compiled,
    dual_of,
    in_fours,
    over,
    relative_errors,
    worst,
)

from theory.activations import registry

VARIANCES = ((1e-3, 1e-3), (1.0, 1.0), (3.0, 3.0), (0.3, 3.0))


@pytest.mark.parametrize("r", CORRELATIONS)
def test_oracle_against_exact_moments(r):
    # E[uv] = c, E[u^2 v^2] = q1 q2 + 2c^2, and Sheppard's formula for the step
    q1, q2 = 0.7, 2.5
    c = r * math.sqrt(q1 * q2)
    product, one = activation_cases.gaussian_means(BY_NAME["identity"], q1, q2, r)
    near = functools.partial(np.testing.assert_allclose, rtol=0, atol=8 * ORACLE)
    near((product, one), (c, 1))
    square, slope = activation_cases.gaussian_means(BY_NAME["monomial2"], q1, q2, r)
    near((square, slope), (q1 * q2 + 2 * c**2, 4 * c))  # up to 7
    step, _ = activation_cases.gaussian_means(BY_NAME["step"], q1, q2, r)
    near(step, 0.25 + math.asin(r) / (2 * math.pi), atol=ORACLE)


@over(activation_cases.CASES)
def test_against_the_oracle(case):
    errors, r = relative_errors(case, dual_of(case), VARIANCES, CORRELATIONS)
    tolerance = np.full_like(r, 1e-10)
    if case.kind == "kinked":
        # sqrt(q1 q2 - c^2) at an exact correlation of one is sqrt(rounding), 3e-8
        tolerance[np.abs(r) > 1 - 1e-6] = 1e-7
    if case.name == "tanh":
        tolerance[:] = 1e-9  # poles at i pi/2: 1e-10 at q = 3
    if case.name == "elu":
        tolerance[:] = 1e-6  # a jump of phi'': what the registry promises at q <= 3
    assert worst(errors, tolerance) <= 1


@over(activation_cases.CASES)
def test_against_the_oracle_at_large_variance(case):
    dual = dual_of(case)
    # sin 3u at u is what sin is at 3u: beyond, the oracle has too few nodes
    most = 10.0 / 9 if case.name == "sin_less_sin3" else 10.0
    errors, _ = relative_errors(case, dual, [(most, most), (1.0, most)], (-0.9, 0.5))
    # tanh: its series of 256 terms, 1e-5 at |r| = 1, at |r| = 0.9
    assert worst(errors, 2e-9 if case.name == "tanh" else 1e-10) <= 1


# step: no limit at zero variance agrees with phi(0)
@over(activation_cases.TRAINABLE)
def test_zero_variance(case):
    others = (0.0, 1e-3, 0.3, 1.3)
    value, slope = in_fours(
        compiled(dual_of(case))[0], np.zeros(4), others, np.zeros(4)
    )
    means = np.array(
        [activation_cases.gaussian_means(case, 0.0, q, 0.0) for q in others]
    ).T
    assert_close(value, means[0])
    if case.kind == "kinked":  # phi' jumps at u = 0: anything between its values
        assert np.all((slope >= 0) & (slope <= 1))
    else:
        assert_close(slope, means[1])


@over(activation_cases.CASES)
def test_diagonal(case):
    q = (1e-3, 0.3, 1.0, 3.0)
    means = np.array([activation_cases.gaussian_means(case, x, x, 1.0) for x in q])
    found = in_fours(compiled(dual_of(case))[1], q)
    assert_close(np.array(found), means.T)


@over(activation_cases.CASES, weekly=SAME_SERIES)
def test_symmetric_and_broadcasting(case):
    pair = compiled(dual_of(case))[0]
    q1, q2 = np.array([[0.4], [0.0]]), np.array([[0.7, 0.1]])
    cov = 0.3 * np.sqrt(q1 * q2)
    block = pair(q1, q2, cov)
    assert [part.shape for part in block] == [(2, 2), (2, 2)]
    transposed = jax.tree.map(lambda part: np.asarray(part).T, block)
    assert_close(pair(q2.T, q1.T, cov.T), transposed)


@over(activation_cases.CASES)
def test_rounding_beyond_the_domain(case):
    # |cov| above sqrt(q1 q2) by rounding: as at the edge, never NaN
    pair = compiled(dual_of(case))[0]
    q = np.array([0.7, 3.0, 0.7, 3.0])
    edge = q * np.array([1.0, 1.0, -1.0, -1.0])
    # kinks: the square root of the rounding
    loose = 1e-7 if case.kind == "kinked" else 1e-10
    assert_close(
        pair(q, q, edge * (1 + 1e-15)), pair(q, q, edge), rtol=loose, atol=loose
    )


@pytest.mark.parametrize("name", ["erf", "gelu", "gaussian"])
def test_rounding_at_large_variance(name):
    # q^2 - cov^2 is all rounding, and larger than q
    q = np.full(4, 1e10, np.float32)
    cov = q * np.array([1, -1, 1, -1], np.float32) * np.float32(1 + 1e-6)
    pair = compiled(registry.get(name).dual)[0]
    assert np.isfinite(np.array(pair(q, q, cov))).all()


@over(activation_cases.CASES, weekly=SAME_SERIES)
def test_dtype_is_kept(case):
    pair, diag = compiled(dual_of(case))
    q1, q2 = np.array([0.4, 1.0, 2.0, 0.0]), np.array([0.7, 1.0, 0.1, 1.0])
    args = q1, q2, np.array([-0.9, 0.2, 0.8, 0.0]) * np.sqrt(q1 * q2)
    single = [arg.astype(np.float32) for arg in args]
    for low, high in ((pair(*single), pair(*args)), (diag(single[0]), diag(q1))):
        rounded = jax.tree.map(lambda part: np.asarray(part, np.float32), high)
        assert_close(low, rounded)
    assert jax.eval_shape(dual_of(case).error, single[0]).dtype == jnp.float32
