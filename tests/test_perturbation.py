"""Derivatives of kernel entries against differences of the kernels themselves."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import propagation
from theory.perturbation import pure_noise, slope_product, transfer, transfer_diag
from theory.problem import Architecture

# Pixels of clean test points: mean square and mean.
TEST_POINTS = ((0.4, 0.2), (1.7, 0.6), (1.0, -0.7))


@jax.jit
def entry(q1, q2, cov, arch):
    return propagation.propagate(q1, q2, cov, arch).ntk


@jax.jit
def diag(q, arch):
    return propagation.propagate_diag(q, arch).ntk


transfer_jit, diag_jit = jax.jit(transfer), jax.jit(transfer_diag)
product_jit = jax.jit(slope_product)


def points(arch):
    """Noise of mean 0 and .5, variance 1: against itself, and against test points."""
    found = []
    for mean in (0.0, 0.5):
        q = arch.b_var + arch.w_var * (1 + mean**2)
        found.append((q, q, arch.b_var + arch.w_var * mean**2))
        found += [
            (arch.b_var + arch.w_var * square, q, arch.b_var + arch.w_var * mean * bar)
            for square, bar in TEST_POINTS
        ]
    return tuple(jnp.array(found).T)


def difference(fn, step=2e-3):
    """Central difference of fn(step) at zero, error step^6 (Richardson)."""

    def fourth(h):
        return (8 * (fn(h) - fn(-h)) - (fn(2 * h) - fn(-2 * h))) / (12 * h)

    return fourth(step / 2) + (fourth(step / 2) - fourth(step)) / 15


def shifted(fn, args, which, arch):
    return lambda step: fn(
        *(arg + step * (i == which) for i, arg in enumerate(args)), arch
    )


def numbers(out):
    return np.stack([out.by_q1, out.by_q2, out.by_cov])


def check(arch, rtol=1e-10):
    """All four derivatives against differences, relative to the largest of three."""
    args = points(arch)
    out = transfer_jit(*args, arch)
    np.testing.assert_allclose(out.ntk, entry(*args, arch), rtol=1e-13)
    expected = np.stack([difference(shifted(entry, args, i, arch)) for i in range(3)])
    scale = np.abs(expected).max(axis=0)
    assert np.all(np.abs(numbers(out) - expected) <= rtol * scale), (
        np.abs(numbers(out) - expected) / scale
    )
    on = diag_jit(args[0], arch)
    np.testing.assert_allclose(on.ntk, diag(args[0], arch), rtol=1e-13)
    slope = difference(shifted(diag, args[:1], 0, arch))
    np.testing.assert_allclose(on.by_q, slope, rtol=10 * rtol)
    np.testing.assert_allclose(product_jit(*args, arch), out.by_cov, rtol=1e-12)


@pytest.mark.parametrize(
    ("activation", "depth"),
    [
        *((a, depth) for a in ("erf", "relu", "gelu", "tanh") for depth in (2, 3, 5)),
        *((a, 8) for a in ("erf", "relu")),
        # compilation
        *(pytest.param(a, 8, marks=pytest.mark.slow) for a in ("gelu", "tanh")),
    ],
)
def test_transfer_is_the_derivative_of_the_recursion(activation, depth):
    # measured 5e-14 to 2e-12, what the differences resolve
    for b_var in (0.0, 0.1):
        check(
            Architecture(depth=depth, activation=activation, w_var=1.4, b_var=b_var),
            rtol=1e-11,
        )


RATES = {
    "biases from zero": ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "mixed": ((0.5, 2.0, 1.5), (0.3, 0.0, 0.7)),
    "last layer": ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)),
}


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_transfer_with_training_rates(activation):
    for w_rates, b_rates in RATES.values():
        check(
            Architecture(
                depth=3,
                activation=activation,
                w_var=1.4,
                w_rates=w_rates,
                b_rates=b_rates,
            )
        )


@pytest.mark.parametrize(
    "activation",
    [
        *("sigmoid", "monomial3", "cos"),
        *(
            pytest.param(a, marks=pytest.mark.slow)
            for a in ("elu", "leaky_relu", "exp")
        ),
    ],
)
def test_transfer_is_the_automatic_derivative(activation):
    # the other route: forward mode through the recursion
    arch = Architecture(depth=3, activation=activation, w_var=0.3, b_var=0.1)
    args = points(arch)
    out = transfer_jit(*args, arch)
    tangents = np.eye(3)[:, :, None] * np.ones_like(args[0])

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def derivative(tangent, args):
        along = tuple(tangent)
        return jax.jvp(lambda *a: propagation.propagate(*a, arch).ntk, args, along)[1]

    expected = np.asarray(derivative(jnp.asarray(tangents), args))
    # elu differentiates a truncated series twice over: measured 2e-10
    tolerance = 1e-8 if activation == "elu" else 1e-11
    error = np.abs(numbers(out) - expected) / np.abs(expected).max(axis=0)
    assert error.max() < tolerance, error


@pytest.mark.parametrize("activation", ["erf", "gelu", "gaussian", "sin", "tanh"])
def test_the_diagonal_is_the_corner_of_the_entry(activation):
    # h(q) = H(q, q, q), hence h' = S1 + S2 + T there; phi smooth
    arch = Architecture(depth=3, activation=activation, w_var=1.4, b_var=0.1)
    q = jnp.array([0.2, 1.0, 1.5])
    corner, on = transfer_jit(q, q, q, arch), diag_jit(q, arch)
    total = corner.by_q1 + corner.by_q2 + corner.by_cov
    helpers.assert_close(total, on.by_q, rtol=1e-9)
    helpers.assert_close(corner.ntk, on.ntk, rtol=1e-11)


def test_a_linear_model_answers_to_overlaps_alone():
    arch = Architecture(depth=1, activation="erf", w_rates=(0.7,), b_rates=(0.2,))
    q = jnp.array([0.4, 1.0])
    out, on = transfer(q, 2 * q, 0.3 * q, arch), transfer_diag(q, arch)
    expected = [np.zeros(2), np.zeros(2), np.full(2, 0.7)]
    np.testing.assert_array_equal(numbers(out), expected)
    np.testing.assert_array_equal(on.by_q, np.full(2, 0.7))
    np.testing.assert_allclose(slope_product(q, 2 * q, 0.3 * q, arch), 0.7)


def test_points_swap_and_broadcast():
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    q1, q2 = jnp.array([[0.4], [1.1]]), jnp.array([[0.7, 1.3, 2.0]])
    one = transfer_jit(q1, q2, 0.3 * q1 * q2, arch)
    other = transfer_jit(q2.T, q1.T, (0.3 * q1 * q2).T, arch)
    assert one.by_q1.shape == (2, 3)
    helpers.assert_close(one.by_q1, other.by_q2.T)
    helpers.assert_close(one.by_q2, other.by_q1.T)
    helpers.assert_close(one.by_cov, other.by_cov.T)


@pytest.mark.parametrize("activation", ["erf", "relu", "tanh"])
def test_dtype_is_kept(activation):
    arch = Architecture(depth=3, activation=activation, w_var=1.4, b_var=0.1)
    args = points(arch)
    single = [arg.astype(jnp.float32) for arg in args]
    rounded = lambda out: jax.tree.map(lambda part: part.astype(jnp.float32), out)
    helpers.assert_close(
        transfer_jit(*single, arch), rounded(transfer_jit(*args, arch)), rtol=1e-4
    )
    helpers.assert_close(
        diag_jit(single[0], arch), rounded(diag_jit(args[0], arch)), rtol=1e-4
    )


def test_pure_noise():
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    mean, square = jnp.asarray(0.3), jnp.asarray(1.2)
    pure = pure_noise(arch, mean, square)
    q, k = jnp.asarray(0.1 + 1.4 * 1.2), jnp.asarray(0.1 + 1.4 * 0.09)
    helpers.assert_close([pure.q, pure.cov], [q, k])
    helpers.assert_close(pure.theta_d, diag(q, arch))
    helpers.assert_close(pure.theta_o, entry(q, q, k, arch))
    helpers.assert_close(pure.kap, pure.theta_d - pure.theta_o)
    slopes = [
        difference(shifted(diag, (q,), 0, arch)),
        difference(shifted(entry, (q, q, k), 0, arch)),
        difference(shifted(entry, (q, q, k), 2, arch)),
    ]
    got = [pure.slope_d, pure.slope_q, pure.slope_k]
    helpers.assert_close(got, slopes, rtol=1e-10)
