"""Derivatives of kernel entries against differences of the kernels themselves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from jaxprs import count_equations
from slope_product import slope_product

from theory.kernels import propagation
from theory.kernels.architecture import Architecture
from theory.kernels.slopes import transfer, transfer_diag
from theory.kernels.truncation import truncation_error
from theory.routes.first_order.pure_noise import pure_noise

# Pixels of clean test points: mean square and mean.
TEST_POINTS = ((0.4, 0.2), (1.7, 0.6), (1.0, -0.7))
# A few eps for each of at most eight layers.
ROUNDING = 64 * np.finfo(float).eps
STEP = 4e-3
# Where differences are taken, in steps; the first is the point itself.
OFFSETS = STEP * np.array([0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0])


@jax.jit
def answers(args, arch):
    """What is tested, at first-layer numbers of shape (8,)."""
    return (
        transfer(*args, arch),
        transfer_diag(args[0], arch),
        slope_product(*args, arch),
    )


@jax.jit
def entries(args, q, arch):
    """The kernels themselves."""
    return (
        propagation.propagate(*args, arch).ntk,
        propagation.propagate_diag(q, arch).ntk,
    )


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
    return np.array(found).T


def difference(values):
    """Derivative at zero of values at `OFFSETS`, error STEP^6 (Richardson)."""
    _, up_half, down_half, up, down, up_two, down_two = values
    fine = (8 * (up_half - down_half) - (up - down)) / (6 * STEP)
    coarse = (8 * (up - down) - (up_two - down_two)) / (12 * STEP)
    return fine + (fine - coarse) / 15


def differences(args, arch):
    """Entries and their three derivatives; the diagonal and its derivative."""
    moved = args[:, None, None, :] + OFFSETS[:, None] * np.eye(3)[:, :, None, None]
    found, on = map(np.asarray, entries(tuple(moved), args[0] + OFFSETS[:, None], arch))
    slopes = np.stack([difference(values) for values in found])
    return found[0, 0], slopes, on[0], difference(on)


def numbers(out):
    return np.stack([out.by_q1, out.by_q2, out.by_cov])


def check(arch):
    """All four derivatives against differences, relative to the largest of three."""
    args = points(arch)
    out, on, product = answers(tuple(args), arch)
    ntk, slopes, diagonal, slope = differences(args, arch)
    size = np.abs(ntk) + np.abs(slopes).max(axis=0)
    close = functools.partial(np.testing.assert_allclose, rtol=0)
    close((out.ntk - ntk) / size, 0, atol=ROUNDING)
    # what differences resolve: rounding over the step
    close((numbers(out) - slopes) / size, 0, atol=ROUNDING / STEP)
    close((product - out.by_cov) / size, 0, atol=ROUNDING)
    close(on.ntk / diagonal, 1, atol=ROUNDING)
    close((on.by_q - slope) / diagonal, 0, atol=ROUNDING / STEP)


@pytest.mark.parametrize(
    ("activation", "depth"),
    [
        *((a, depth) for a in ("erf", "relu", "gelu", "tanh") for depth in (2, 3)),
        *((a, 5) for a in ("erf", "relu")),
        # compilation, of the same layer again
        *(pytest.param(a, 5, marks=pytest.mark.slow) for a in ("gelu", "tanh")),
        *(
            pytest.param(a, 8, marks=pytest.mark.slow)
            for a in ("erf", "relu", "gelu", "tanh")
        ),
    ],
)
def test_transfer_is_the_derivative_of_the_recursion(activation, depth):
    for b_var in (0.0, 0.1):
        check(Architecture(depth=depth, activation=activation, w_var=1.4, b_var=b_var))


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

    @jax.jit
    def both(args):
        entry = lambda *args: propagation.propagate(*args, arch).ntk
        along = lambda tangent: jax.jvp(entry, args, tuple(tangent))[1]
        tangents = np.eye(3)[:, :, None] * np.ones(8)
        out = transfer(*args, arch)
        return jnp.stack([out.by_q1, out.by_q2, out.by_cov]), jax.vmap(along)(tangents)

    found, expected = map(np.asarray, both(tuple(args)))
    # rounding of series of up to 384 terms; elu's, cut off, is differentiated twice
    tolerance = 1e-8 if activation == "elu" else 1e-11
    error = np.abs(found - expected) / np.abs(expected).max(axis=0)
    assert error.max() < tolerance, error


@pytest.mark.parametrize("activation", ["erf", "gelu", "gaussian", "sin", "tanh"])
def test_the_diagonal_is_the_corner_of_the_entry(activation):
    # h(q) = H(q, q, q), hence h' = S1 + S2 + T there; phi smooth
    arch = Architecture(depth=3, activation=activation, w_var=1.4, b_var=0.1)
    q = jnp.array([0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6])
    corner, on, _ = answers((q, q, q), arch)
    total = corner.by_q1 + corner.by_q2 + corner.by_cov
    assert_close(total, on.by_q, rtol=1e-9)
    assert_close(corner.ntk, on.ntk, rtol=1e-11)


def test_a_linear_model_answers_to_overlaps_alone():
    arch = Architecture(depth=1, activation="erf", w_rates=(0.7,), b_rates=(0.2,))
    q = jnp.array([0.4, 1.0])
    out, on = transfer(q, 2 * q, 0.3 * q, arch), transfer_diag(q, arch)
    expected = [np.zeros(2), np.zeros(2), np.full(2, 0.7)]
    np.testing.assert_array_equal(numbers(out), expected)
    np.testing.assert_array_equal(on.by_q, np.full(2, 0.7))
    np.testing.assert_allclose(slope_product(q, 2 * q, 0.3 * q, arch), 0.7)


def test_points_swap_and_broadcast():
    arch = Architecture(depth=2, activation="erf", w_var=1.4, b_var=0.1)
    q1, q2 = np.array([[0.4], [1.1]]), np.array([[0.7, 1.3, 2.0]])
    jitted = jax.jit(transfer)
    one = jitted(q1, q2, 0.3 * q1 * q2, arch)
    other = jitted(q2.T, q1.T, (0.3 * q1 * q2).T, arch)
    assert one.by_q1.shape == (2, 3)
    assert_close(one.by_q1, other.by_q2.T)
    assert_close(one.by_q2, other.by_q1.T)
    assert_close(one.by_cov, other.by_cov.T)


@pytest.mark.parametrize(
    "fn", [transfer, transfer_diag, truncation_error], ids=lambda fn: fn.__name__
)
@pytest.mark.parametrize("activation", ["erf", "tanh"])
def test_layers_are_traced_once(fn, activation):
    # a loop: unrolled, eight layers took seconds of tracing

    def size(depth):
        arch = Architecture(depth=depth, activation=activation, w_var=1.4, b_var=0.1)
        args = np.ones((1 if fn is not transfer else 3, 4, 2))
        args = args if fn is truncation_error else args[..., 0]
        return count_equations(jax.make_jaxpr(lambda *args: fn(*args, arch))(*args))

    # the rates of each layer, converted and put into one array
    assert size(8) - size(3) <= 4 * (8 - 3)


@pytest.mark.parametrize("activation", ["erf", "relu", "tanh"])
def test_dtype_is_kept(activation):
    arch = Architecture(depth=3, activation=activation, w_var=1.4, b_var=0.1)
    args = tuple(points(arch))
    single = tuple(arg.astype(np.float32) for arg in args)
    # cancellation of the slopes of three layers: three digits of seven
    for out, expected in zip(answers(single, arch), answers(args, arch), strict=True):
        rounded = jax.tree.map(lambda part: part.astype(jnp.float32), expected)
        assert_close(out, rounded, rtol=1e-4)


def test_pure_noise():
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    pure = jax.jit(pure_noise)(arch, 0.3, 1.2)
    q, k = 0.1 + 1.4 * 1.2, 0.1 + 1.4 * 0.09
    # at one point, as often as there are points elsewhere: no other program
    args = np.array([[q], [q], [k]]) * np.ones(8)
    ntk, slopes, diagonal, slope = differences(args, arch)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-10)
    close([pure.q, pure.cov], [q, k])
    close([pure.theta_d, pure.theta_o], [diagonal[0], ntk[0]])
    close(pure.kap, diagonal[0] - ntk[0])
    got = [pure.slope_d, pure.slope_q, pure.slope_k]
    close(got, [slope[0], slopes[0, 0], slopes[2, 0]])
