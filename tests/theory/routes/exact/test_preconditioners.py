"""Preconditioners against the dense matrices that they invert."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

from theory.errors import NumericalError
from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.routes.exact import preconditioners

ARCH = Architecture(depth=3, activation="erf", w_var=1.3, b_var=0.1)
EPS = float(np.finfo(float).eps)


def points(n, d=6, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((n, d)))


def smooth(n, seed=0):
    """Images along a curve: a few columns of their kernel hold nearly all of it."""
    at = np.linspace(0, 1, n)[:, None] * np.arange(1, 5)[None]
    return jnp.asarray(np.concatenate([np.cos(at), np.sin(at)], axis=1))


def test_solving_with_features_and_noise():
    features = np.random.default_rng(1).standard_normal((12, 3))
    noise = np.linspace(0.1, 2.0, 12)
    dense = features @ features.T + np.diag(noise)
    found = preconditioners.features_and_noise(
        jnp.asarray(features), jnp.asarray(noise)
    )
    v = np.random.default_rng(2).standard_normal((12, 4))
    # Woodbury subtracts numbers of order v/noise
    rounding = 12 * EPS * np.linalg.cond(dense) * np.abs(v).max() / noise.min()
    np.testing.assert_allclose(
        found.solve(jnp.asarray(v)), np.linalg.solve(dense, v), rtol=0, atol=rounding
    )


def test_single_precision_keeps_what_is_small():
    # eigenvalues from 0.1 to 1e6: their squares are summed in float64
    features = 1e3 * np.linalg.qr(np.random.default_rng(1).standard_normal((40, 3)))[0]
    noise = np.full(40, 0.1)
    found = preconditioners.features_and_noise(
        jnp.asarray(features, jnp.float32), jnp.asarray(noise, jnp.float32)
    )
    v = np.random.default_rng(2).standard_normal((40, 2))
    dense = features @ features.T + np.diag(noise)
    expected = np.linalg.solve(dense, v)
    off = found.solve(jnp.asarray(v, jnp.float32)) - expected
    # numbers of order v/noise are subtracted, 40 of them
    assert np.abs(off).max() < 40 * 1.2e-7 * np.abs(v).max() / 0.1


def test_noise_must_be_positive():
    with raises("exceeds its diagonal", NumericalError):
        preconditioners.features_and_noise(jnp.zeros((3, 1)), jnp.asarray([1.0, 0, 1]))


def test_features_and_rest_hold_the_diagonal():
    x = points(12)
    features, rest = preconditioners.linear_part(x, ARCH)
    trace = float((features**2).sum() + 12 * rest)
    expected = np.trace(matrices.gram(x, ARCH).ntk)
    np.testing.assert_allclose(trace, expected, rtol=144 * EPS)


@pytest.mark.parametrize("b_var", [0.0, 0.1])
def test_features_are_the_first_order_of_the_kernel(b_var):
    arch = Architecture(depth=3, activation="erf", w_var=1.3, b_var=b_var)
    centre, direction = points(1, seed=2), points(7, seed=3)
    # around one image: what is left out is of second order in the distance
    left_out = []
    for size in (1e-2, 5e-3):
        x = centre + size * (direction - direction.mean(axis=0)[None])
        features, _ = preconditioners.linear_part(x, arch)
        entries = matrices.gram(x, arch).ntk - features @ features.T
        off = np.asarray(entries)[~np.eye(7, dtype=bool)]
        left_out.append(np.abs(off).max())
    assert left_out[0] < 5e-3
    assert left_out[1] < 0.3 * left_out[0]


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_columns_are_a_partial_factor(activation):
    arch = Architecture(depth=3, activation=activation, w_var=1.3, b_var=0.1)
    x = points(40)
    columns = preconditioners.PivotedColumns(x, arch, 4)
    left = []
    for _ in range(3):
        assert columns.add()
        left.append(columns.rest.mean())
    rest, count = columns.rest.copy(), columns.count
    features = np.asarray(columns.features())
    assert features.shape == (40, count)
    assert left[0] > left[1] > left[2]
    kernel = np.asarray(matrices.gram(x, arch).ntk)
    remainder = kernel - features @ features.T
    # entries of relu lose half of their digits where points coincide, unless told so
    rounding = 1e-7 if activation == "relu" else 1e-10
    np.testing.assert_allclose(np.diagonal(remainder), rest, rtol=0, atol=rounding)
    # as many rows as there are pivots vanish, and what is left has no other sign
    assert (np.abs(remainder).max(axis=1) < 10 * rounding).sum() == count
    assert np.linalg.eigvalsh(remainder)[0] > -40 * rounding


def test_columns_of_coinciding_points_are_taken_once():
    x = jnp.concatenate([points(5)] * 8)
    columns = preconditioners.PivotedColumns(x, ARCH, 6)
    while columns.add():
        pass
    assert columns.count == 5
    kernel, features = np.asarray(matrices.gram(x, ARCH).ntk), columns.features()
    np.testing.assert_allclose(features @ features.T, kernel, rtol=0, atol=1e-9)


def condition(x, found):
    kernel = matrices.gram(x, ARCH).ntk
    values = np.linalg.eigvals(found.solve(kernel + 0.01 * jnp.eye(len(x)))).real
    return values.max() / values.min()


def test_columns_are_taken_where_they_leave_less():
    smooth_images, noisy = smooth(80), points(80, d=400)
    for x, by_columns in ((smooth_images, True), (noisy, False)):
        linear = preconditioners.preconditioner(x, ARCH, 0.01, 0)
        chosen = preconditioners.preconditioner(x, ARCH, 0.01, 20)
        assert (chosen.whitened.shape != linear.whitened.shape) == by_columns
        assert linear.whitened.shape == (80, x.shape[1] + 1)
        if by_columns:
            assert condition(x, chosen) < 0.1 * condition(x, linear)


def test_without_x64_the_small_algebra_is_double():
    x = smooth(80).astype(jnp.float32)
    with_it = preconditioners.preconditioner(x, ARCH, 0.01, 20)
    jax.config.update("jax_enable_x64", False)
    try:
        without = preconditioners.preconditioner(x, ARCH, 0.01, 20)
    finally:
        jax.config.update("jax_enable_x64", True)
    v = np.random.default_rng(0).standard_normal((80, 2)).astype(np.float32)
    found, expected = without.solve(jnp.asarray(v)), with_it.solve(jnp.asarray(v))
    # both of float32: v/noise, noise of .3 of the mean rest and .01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * 100)
