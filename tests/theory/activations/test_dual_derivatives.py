"""Derivatives of duals: by differences, by Price's theorem, by hand, and at edges."""

import functools
import math

import activation_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from dual_cases import ORACLE, compiled, derived, dual_of, in_fours, over, tangents

import theory
from theory.activations import closed_forms, duals, registry

# --- by automatic differentiation ------------------------------------------------


@over(activation_cases.TRAINABLE)
def test_slope_is_the_derivative_by_the_covariance(case):
    pair = compiled(dual_of(case))[0]
    q1, q2 = np.array([0.4, 1.0, 2.0, 0.9]), np.array([0.7, 1.0, 0.1, 0.9])
    args = q1, q2, np.array([-0.9, 0.0, 0.8, 0.99]) * np.sqrt(q1 * q2)
    slope = pair(*args).slope
    tangent = tangents(dual_of(case))[0](args, (np.zeros(4), np.zeros(4), np.ones(4)))
    loose = {"elu": 1e-8, "tanh": 1e-9}.get(case.name, 1e-10)  # truncation
    assert_close(tangent.value, slope, rtol=loose, atol=loose)
    up, down = (pair(*args[:2], args[2] + step).value for step in (1e-5, -1e-5))
    difference = (np.asarray(up) - np.asarray(down)) / 2e-5
    # step^2 times the third derivative, which at r = 0.99 is of order 1e3 for kinks
    assert_close(difference, slope, rtol=1e-6, atol=1e-7)


@over(activation_cases.TRAINABLE)
def test_derivatives_by_the_variances(case):
    pair, diag = compiled(dual_of(case))
    by_pair, by_diag = tangents(dual_of(case))
    q1, q2 = np.array([0.4, 2.0, 0.4, 2.0]), np.array([0.7, 0.5, 0.7, 0.5])
    cov = np.array([-0.3, 0.6, 0.5, 0.0])
    zero, one = np.zeros(4), np.ones(4)
    for fn, by, args, direction in (
        (pair, by_pair, (q1, q2, cov), (one, zero, zero)),
        (pair, by_pair, (q1, q2, cov), (zero, one, zero)),
        (pair, by_pair, (q1, q2, cov), (zero, zero, one)),
        (diag, by_diag, (q1,), (one,)),
    ):
        tangent = by(args, direction)
        up, down = (
            fn(*[a + step * e for a, e in zip(args, direction, strict=True)])
            for step in (1e-5, -1e-5)
        )
        difference = jax.tree.map(
            lambda a, b: (np.asarray(a) - np.asarray(b)) / 2e-5, up, down
        )
        # step^2 of the third derivative, and the rounding of the two over the step
        assert_close(tangent, difference, rtol=1e-7, atol=1e-8)


# q1, q2, correlation: both zero, one zero, equal, opposite, parallel
EDGES = ((0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1), (1, 1, -1), (0.5, 2, 1))


@over(activation_cases.CASES)
def test_derivatives_are_finite_at_the_edges(case):
    by_pair, by_diag = tangents(dual_of(case))
    q1, q2, r = np.array(EDGES, float).T
    cov = r * np.sqrt(q1 * q2)
    with jax.debug_nans(True):
        for which in range(3):
            unit = tuple(np.full(4, float(which == i)) for i in range(3))
            found = in_fours(lambda *at, unit=unit: by_pair(at, unit), q1, q2, cov)
            assert np.all(np.isfinite(np.array(found)))
        found = in_fours(lambda q: by_diag((q,), (np.ones(4),)), q1)
        assert np.all(np.isfinite(np.array(found)))


# --- Price's theorem -------------------------------------------------------------


SMOOTH_CLOSED = [case for case in activation_cases.CASES if case.kind == "closed"]
# q1, q2, correlation; at equality too, where phi is smooth
PRICE_POINTS = (
    (0.4, 0.7, -0.9),
    (1.0, 1.0, 0.0),
    (1.5, 0.1, 0.8),
    (0.9, 0.9, 1.0),
    (0.9, 0.9, -1.0),
)


def price_points():
    q1, q2, r = np.array(PRICE_POINTS).T
    return q1, q2, r * np.sqrt(q1 * q2)


# the others: formulas differentiated, checked by differences below as these are
@over(SMOOTH_CLOSED, weekly={c.name for c in SMOOTH_CLOSED} - {"erf", "gelu", "cos"})
def test_derivatives_by_price_are_those_of_the_closed_form(case):
    # Gaussian means of phi'' and the third slope, and differentiated formulas
    closed = registry.get(case.name)
    series = registry.custom(closed.fn).dual
    args = price_points()
    for fn, at in ((0, args), (1, args[:1])):
        ours, theirs = (in_fours(derived(d)[fn], *at) for d in (series, closed.dual))
        # 256 RULE, 1e-11, as for the series itself, and larger numbers
        assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


# elu: has no third slope, and differentiates its series itself
@over([c for c in activation_cases.CASES if c.kind == "quadrature" and c.name != "elu"])
def test_derivatives_by_price_are_those_of_the_series(case):
    dual = dual_of(case)
    pair, diag = compiled(dual)
    below = [arg[:3] for arg in price_points()]  # equality
    price = in_fours(derived(dual)[0], *below)
    series = in_fours(functools.partial(duals.pair_jvp, pair), *below)
    assert_close(price, series, rtol=1e-9, atol=1e-10)
    price = in_fours(derived(dual)[1], below[0])
    series = in_fours(functools.partial(duals.diag_jvp, diag), below[0])
    assert_close(price, series, rtol=1e-9, atol=1e-10)


@over(activation_cases.TRAINABLE)
def test_derivatives_are_those_of_differences(case):
    pair, diag = (functools.partial(in_fours, fn) for fn in compiled(dual_of(case)))
    q1, q2, cov = (arg[:3] for arg in price_points())
    derivatives, diag_derivatives = derived(dual_of(case))
    got, got_diag = in_fours(derivatives, q1, q2, cov), in_fours(diag_derivatives, q1)
    assert_close(duals.DualPair(*got[:2]), pair(q1, q2, cov), rtol=1e-9)
    assert_close(duals.DualPair(*got_diag[:2]), diag(q1), rtol=1e-9)

    def slope(fn, args, which, h=1e-3):
        def at(step):
            return np.array(fn(*(a + step * (i == which) for i, a in enumerate(args))))

        return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)

    by_1, by_2, by_cov = (slope(pair, (q1, q2, cov), i) for i in range(3))
    expected = [got.value_1, got.value_2, got.slope]
    np.testing.assert_allclose(expected, [by_1[0], by_2[0], by_cov[0]], atol=1e-7)
    expected = [got.slope_1, got.slope_2, got.slope_cov]
    np.testing.assert_allclose(expected, [by_1[1], by_2[1], by_cov[1]], atol=1e-6)
    expected = [got_diag.value_q, got_diag.slope_q]
    np.testing.assert_allclose(expected, slope(diag, (q1,), 0), atol=1e-7)


def test_derivatives_of_relu_by_hand():
    q1, q2, cov = np.array([0.4, 1.0, 2.0]), np.array([0.7, 1.0, 0.1]), 0.3
    got = in_fours(derived(closed_forms.RELU)[0], q1, q2, np.full(3, cov))
    sine = np.sqrt(q1 * q2 - cov**2)
    # E[delta(u) relu(v)]/2, and E[delta(u) delta(v)]
    assert_close(got.value_1, sine / (4 * np.pi * q1))
    assert_close(got.value_2, sine / (4 * np.pi * q2))
    assert_close(got.slope_cov, 1 / (2 * np.pi * sine))
    assert_close(got.slope_1, -cov / (4 * np.pi * q1 * sine))


def test_curvature_against_the_oracle():
    # D_c = E[phi'' phi''], the oracle with phi'' in place of phi
    second = lambda u: -4 / np.pi**0.5 * u * np.exp(-(u**2))
    case = activation_cases.Case("erf''", second, second, "closed")
    q1, q2, r = np.array([(0.4, 0.7, -0.9), (1.0, 1.0, 0.0), (1.5, 0.3, 0.8)]).T
    expected = [
        activation_cases.gaussian_means(case, *at)[0]
        for at in zip(q1, q2, r, strict=True)
    ]
    for dual in (closed_forms.ERF, registry.custom(jax.lax.erf).dual):
        got = in_fours(derived(dual)[0], q1, q2, r * np.sqrt(q1 * q2)).slope_cov
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=ORACLE)


# g' = phi'^2 + phi'' phi at zero, where sqrt(q) has no derivative
@pytest.mark.parametrize(
    ("name", "expected"),
    [("sigmoid", 1 / 16), ("softplus", (1 + math.log(2)) / 4), ("tanh", 1.0)],
)
def test_derivative_at_zero_variance(name, expected):
    got = in_fours(derived(registry.get(name).dual)[1], np.zeros(4))
    assert_close(got.value_q, np.full(4, expected))


@pytest.mark.parametrize(
    "name", ["tanh", pytest.param("elu", marks=pytest.mark.slow), "erf"]
)
def test_reverse_mode_agrees_with_forward_mode(name):
    # neural-tangents#15, cola#120: loops of dynamic length are not transposed
    dual = registry.get(name).dual
    args = tuple(jnp.asarray(v) for v in ([1.0, 0.4], [0.7, 2.0], [0.5, -0.6]))
    both = lambda *at: sum(part.sum() for part in dual.reversible(*at))
    forward = lambda *at: sum(part.sum() for part in dual.pair(*at))
    found = jax.grad(both, argnums=(0, 1, 2))(*args)
    for k, grad in enumerate(found):
        for entry in range(2):
            unit = [jnp.zeros(2)] * 3
            unit[k] = unit[k].at[entry].set(1.0)
            rate = jax.jvp(forward, args, tuple(unit))[1]
            np.testing.assert_allclose(grad[entry], rate, rtol=1e-12)
    np.testing.assert_allclose(both(*args), forward(*args), rtol=1e-15)


@pytest.mark.slow
def test_gradients_of_kernels_by_quadrature():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    arch = theory.Architecture(depth=3, activation="tanh")
    for kernel in (
        lambda z: theory.nngp_ntk(z, z[:2], arch).ntk.sum(),
        lambda z: theory.ntk_gram(z, arch).sum(),
    ):
        along = jax.jvp(kernel, (x,), (jnp.ones_like(x),))[1]
        np.testing.assert_allclose(jax.grad(kernel)(x).sum(), along, rtol=1e-10)
