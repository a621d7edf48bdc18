"""Dual activations against quadrature in polar coordinates, over the whole domain."""

import functools
import itertools
import math

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from theory import activations, duals, hermite
from theory.errors import InputError

VARIANCES = ((1e-3, 1e-3), (1.0, 1.0), (3.0, 3.0), (0.3, 3.0))
CORRELATIONS = (0.0, 0.4, -0.4, 0.999, -0.999, 1 - 1e-8, 1e-8 - 1, 1, -1)
BY_NAME = {case.name: case for case in helpers.CASES}
over = lambda cases: pytest.mark.parametrize("case", cases, ids=helpers.ids(cases))


def dual_of(case):
    return activations.get(case.name).dual


@functools.cache
def compiled(case):
    """Compiled once per case and shape; tests share both."""
    dual = dual_of(case)
    return jax.jit(dual.pair), jax.jit(dual.diag)


def scales(case, q1, q2):
    """sqrt(g(q1) g(q2)): what bounds the dual, by Cauchy and Schwarz."""
    one, two = (helpers.gaussian_means(case, q, q, 1.0) for q in (q1, q2))
    return [math.sqrt(a * b) or 1.0 for a, b in zip(one, two, strict=True)]


def relative_errors(case, dual, variances, correlations):
    """(2, points): errors of value and slope over `scales`, and the points."""
    points = [(*q, r) for q, r in itertools.product(variances, correlations)]
    q1, q2, r = jnp.array(points).T
    pair = jax.jit(dual.pair)(q1, q2, r * jnp.sqrt(q1 * q2))
    errors = [
        np.abs(np.array(helpers.gaussian_means(case, *point)) - [value, slope])
        / scales(case, *point[:2])
        for point, value, slope in zip(points, *pair, strict=True)
    ]
    return np.array(errors).T, np.asarray(r)


# --- the oracle ----------------------------------------------------------------


@pytest.mark.parametrize("r", CORRELATIONS)
def test_oracle_against_exact_moments(r):
    # E[uv] = c, E[u^2 v^2] = q1 q2 + 2c^2, and Sheppard's formula for the step
    q1, q2 = 0.7, 2.5
    c = r * math.sqrt(q1 * q2)
    product, one = helpers.gaussian_means(BY_NAME["identity"], q1, q2, r)
    np.testing.assert_allclose((product, one), (c, 1), atol=1e-13)
    square, slope = helpers.gaussian_means(BY_NAME["monomial2"], q1, q2, r)
    np.testing.assert_allclose((square, slope), (q1 * q2 + 2 * c**2, 4 * c), atol=1e-13)
    step, _ = helpers.gaussian_means(BY_NAME["step"], q1, q2, r)
    np.testing.assert_allclose(
        step, 0.25 + math.asin(r) / (2 * math.pi), rtol=0, atol=1e-13
    )


# --- the registry --------------------------------------------------------------


def test_the_table_is_the_whole_registry():
    names = {*BY_NAME, *helpers.ALIASES}
    assert names == set(activations.names())
    for alias, name in helpers.ALIASES.items():
        one, other = activations.get(alias), activations.get(name)
        assert (one.fn, one.dual) == (other.fn, other.dual)


@over(helpers.CASES)
def test_functions_and_slopes(case):
    u = jnp.linspace(-6, 6, 40)  # an even number: not at zero, where kinks are
    value, slope = jax.jvp(activations.get(case.name).fn, (u,), (jnp.ones_like(u),))
    helpers.assert_close(value, case.phi(np.asarray(u)))
    helpers.assert_close(slope, case.slope(np.asarray(u)))


@over(helpers.CASES)
def test_classification(case):
    activation = activations.get(case.name)
    assert activation.closed_form == (case.kind != "quadrature")
    assert activation.trainable == case.trainable
    assert isinstance(activation.dual, duals.Dual)
    assert activations.get(activation) is activation


def test_unknown_names_and_degrees():
    with pytest.raises(
        InputError, match="unknown activation 'rellu': did you mean 're"
    ):
        activations.get("rellu")
    with pytest.raises(InputError, match=r"must be 1, 2, 3 or 4, got 5"):
        activations.monomial(5)


# --- values --------------------------------------------------------------------


@over(helpers.CASES)
def test_against_the_oracle(case):
    errors, r = relative_errors(case, dual_of(case), VARIANCES, CORRELATIONS)
    tolerance = np.full_like(r, 1e-10)
    if case.kind == "kinked":
        # sqrt(q1 q2 - c^2) at an exact correlation of one is sqrt(rounding)
        tolerance[np.abs(r) > 1 - 1e-6] = 1e-7
    if case.name == "tanh":
        tolerance[:] = 1e-9  # poles at i pi/2: 1e-10 at q = 3
    if case.name == "elu":
        tolerance[:] = 1e-6  # a jump of phi'': what the registry promises at q <= 3
    assert np.all(errors <= tolerance), (errors.max(axis=1), r[errors.argmax(axis=1)])


@over(helpers.CASES)
def test_against_the_oracle_at_large_variance(case):
    dual = dual_of(case)
    errors, _ = relative_errors(case, dual, [(10.0, 10.0), (1.0, 10.0)], (-0.9, 0.5))
    # tanh: its series of 256 terms, 1e-5 at |r| = 1, at |r| = 0.9
    tolerance = 2e-9 if case.name == "tanh" else 1e-10
    assert np.all(errors <= tolerance), errors.max(axis=1)


@over([case for case in helpers.CASES if case.kind == "quadrature"])
@pytest.mark.parametrize("r", [0.02, 0.4, 0.7])
def test_the_series_stops_no_sooner_than_it_may(case, r):
    # the largest correlation of a block decides how many terms are summed
    errors, _ = relative_errors(case, dual_of(case), [(3.0, 3.0)], (r, -r, 0.0))
    assert np.all(errors <= 1e-12), errors.max(axis=1)


# step: no limit at zero variance agrees with phi(0)
@over(helpers.TRAINABLE)
def test_zero_variance(case):
    others = (0.0, 1e-3, 0.3, 1.3)
    value, slope = compiled(case)[0](jnp.zeros(4), jnp.array(others), jnp.zeros(4))
    means = np.array([helpers.gaussian_means(case, 0.0, q, 0.0) for q in others]).T
    helpers.assert_close(np.asarray(value), means[0])
    if case.kind == "kinked":  # phi' jumps at u = 0: anything between its values
        assert np.all((slope >= 0) & (slope <= 1))
    else:
        helpers.assert_close(np.asarray(slope), means[1])


@over(helpers.CASES)
def test_diagonal(case):
    q = jnp.array([1e-3, 0.3, 1.0, 3.0])
    means = np.array([helpers.gaussian_means(case, x, x, 1.0) for x in np.asarray(q)])
    helpers.assert_close(np.array(compiled(case)[1](q)), means.T)


@over(helpers.CASES)
def test_symmetric_and_broadcasting(case):
    pair = compiled(case)[0]
    q1, q2 = jnp.array([[0.4], [0.0]]), jnp.array([[0.7, 0.1]])
    cov = 0.3 * jnp.sqrt(q1 * q2)
    block = pair(q1, q2, cov)
    assert [part.shape for part in block] == [(2, 2), (2, 2)]
    transposed = duals.DualPair(*[part.T for part in block])
    helpers.assert_close(pair(q2.T, q1.T, cov.T), transposed)


@over(helpers.CASES)
def test_rounding_beyond_the_domain(case):
    # |cov| above sqrt(q1 q2) by rounding: as at the edge, never NaN
    pair = compiled(case)[0]
    q = jnp.array([0.7, 3.0, 0.7, 3.0])
    edge = q * jnp.array([1.0, 1.0, -1.0, -1.0])
    # kinks: the square root of the rounding
    loose = 1e-7 if case.kind == "kinked" else 1e-10
    helpers.assert_close(
        pair(q, q, edge * (1 + 1e-15)), pair(q, q, edge), rtol=loose, atol=loose
    )


@pytest.mark.parametrize("name", ["erf", "gelu", "gaussian"])
def test_rounding_at_large_variance(name):
    # q^2 - cov^2 is all rounding, and larger than q
    q = jnp.full(2, 1e10, jnp.float32)
    cov = q * jnp.array([1.0, -1.0], jnp.float32) * (1 + 1e-6)
    assert np.isfinite(np.array(activations.get(name).dual.pair(q, q, cov))).all()


@over(helpers.CASES)
def test_dtype_is_kept(case):
    pair, diag = compiled(case)
    q1, q2 = jnp.array([0.4, 1.0, 2.0, 0.0]), jnp.array([0.7, 1.0, 0.1, 1.0])
    args = q1, q2, jnp.array([-0.9, 0.2, 0.8, 0.0]) * jnp.sqrt(q1 * q2)
    single = [arg.astype(jnp.float32) for arg in args]
    for low, high in ((pair(*single), pair(*args)), (diag(single[0]), diag(q1))):
        rounded = duals.DualPair(*[part.astype(jnp.float32) for part in high])
        helpers.assert_close(low, rounded)
    assert jax.eval_shape(dual_of(case).error, single[0]).dtype == jnp.float32


# --- derivatives ---------------------------------------------------------------


@over(helpers.TRAINABLE)
def test_slope_is_the_derivative_by_the_covariance(case):
    pair = compiled(case)[0]
    q1, q2 = jnp.array([0.4, 1.0, 2.0, 0.9]), jnp.array([0.7, 1.0, 0.1, 0.9])
    args = q1, q2, jnp.array([-0.9, 0.0, 0.8, 0.99]) * jnp.sqrt(q1 * q2)
    zero, one = jnp.zeros(4), jnp.ones(4)
    slope = pair(*args).slope
    _, tangent = jax.jvp(pair, args, (zero, zero, one))
    loose = {"elu": 1e-8, "tanh": 1e-9}.get(case.name, 1e-10)  # truncation
    helpers.assert_close(tangent.value, slope, rtol=loose, atol=loose)
    up, down = (pair(*args[:2], args[2] + step).value for step in (1e-5, -1e-5))
    # step^2 times the third derivative, which at r = 0.99 is of order 1e3 for kinks
    helpers.assert_close((up - down) / 2e-5, slope, rtol=1e-6, atol=1e-7)


@over(helpers.TRAINABLE)
def test_derivatives_by_the_variances(case):
    pair, diag = compiled(case)
    q1, q2 = jnp.array([0.4, 2.0, 0.4, 2.0]), jnp.array([0.7, 0.5, 0.7, 0.5])
    cov = jnp.array([-0.3, 0.6, 0.5, 0.0])
    zero, one = jnp.zeros(4), jnp.ones(4)
    for fn, args, direction in (
        (pair, (q1, q2, cov), (one, zero, zero)),
        (pair, (q1, q2, cov), (zero, one, zero)),
        (pair, (q1, q2, cov), (zero, zero, one)),
        (diag, (q1,), (one,)),
    ):
        _, tangent = jax.jvp(fn, args, direction)
        up, down = (
            fn(*[a + step * e for a, e in zip(args, direction, strict=True)])
            for step in (1e-5, -1e-5)
        )
        difference = jax.tree.map(lambda a, b: (a - b) / 2e-5, up, down)
        helpers.assert_close(tangent, difference, rtol=1e-7, atol=1e-8)


# q1, q2, correlation: both zero, one zero, equal, opposite, parallel
EDGES = ((0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1), (1, 1, -1), (0.5, 2, 1))


@over(helpers.CASES)
def test_derivatives_are_finite_at_the_edges(case):
    dual = dual_of(case)
    q1, q2, r = jnp.array(EDGES).T
    args = q1, q2, r * jnp.sqrt(q1 * q2)
    with jax.debug_nans(True):
        for which in range(3):
            unit = tuple(jnp.full_like(q1, which == i) for i in range(3))
            assert np.all(np.isfinite(np.array(jax.jvp(dual.pair, args, unit))))
        results = jax.jvp(dual.diag, (q1,), (jnp.ones_like(q1),))
        assert np.all(np.isfinite(np.array(results)))


# --- Price's theorem -----------------------------------------------------------

SMOOTH_CLOSED = [case for case in helpers.CASES if case.kind == "closed"]
# q1, q2, correlation; at equality too, where phi is smooth
PRICE_POINTS = (
    (0.4, 0.7, -0.9),
    (1.0, 1.0, 0.0),
    (1.5, 0.1, 0.8),
    (0.9, 0.9, 1.0),
    (0.9, 0.9, -1.0),
)


def price_points():
    q1, q2, r = jnp.array(PRICE_POINTS).T
    return q1, q2, r * jnp.sqrt(q1 * q2)


@over(SMOOTH_CLOSED)
def test_derivatives_by_price_are_those_of_the_closed_form(case):
    # Gaussian means of phi'' and the third slope, and differentiated formulas
    closed = activations.get(case.name)
    series = activations.custom(closed.fn).dual
    args = price_points()
    # 1e-11: as for the series itself, and larger numbers
    for ours, theirs in (
        (series.derivatives(*args), closed.dual.derivatives(*args)),
        (series.diag_derivatives(args[0]), closed.dual.diag_derivatives(args[0])),
    ):
        helpers.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


# elu: has no third slope, and differentiates its series itself
@over([c for c in helpers.CASES if c.kind == "quadrature" and c.name != "elu"])
def test_derivatives_by_price_are_those_of_the_series(case):
    dual = dual_of(case)
    q1, q2, cov = (arg[:3] for arg in price_points())  # below equality
    price = jax.jit(dual.derivatives)(q1, q2, cov)
    series = jax.jit(functools.partial(duals.pair_jvp, dual.pair))(q1, q2, cov)
    helpers.assert_close(price, series, rtol=1e-9, atol=1e-10)
    diag = dual.diag_derivatives(q1)
    helpers.assert_close(diag, duals.diag_jvp(dual.diag, q1), rtol=1e-9, atol=1e-10)


@over(helpers.TRAINABLE)
def test_derivatives_are_those_of_differences(case):
    dual = dual_of(case)
    pair, diag = compiled(case)
    q1, q2, cov = (arg[:3] for arg in price_points())
    got, got_diag = jax.jit(dual.derivatives)(q1, q2, cov), dual.diag_derivatives(q1)
    helpers.assert_close(duals.DualPair(*got[:2]), pair(q1, q2, cov), rtol=1e-9)
    helpers.assert_close(duals.DualPair(*got_diag[:2]), diag(q1), rtol=1e-9)

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
    q1, q2, cov = jnp.array([0.4, 1.0, 2.0]), jnp.array([0.7, 1.0, 0.1]), 0.3
    got = activations.get("relu").dual.derivatives(q1, q2, jnp.full(3, cov))
    sine = np.sqrt(q1 * q2 - cov**2)
    # E[delta(u) relu(v)]/2, and E[delta(u) delta(v)]
    helpers.assert_close(np.asarray(got.value_1), np.asarray(sine / (4 * np.pi * q1)))
    helpers.assert_close(np.asarray(got.value_2), np.asarray(sine / (4 * np.pi * q2)))
    helpers.assert_close(np.asarray(got.slope_cov), np.asarray(1 / (2 * np.pi * sine)))
    by_q1 = -cov / (4 * np.pi * q1 * sine)
    helpers.assert_close(np.asarray(got.slope_1), np.asarray(by_q1))


def test_curvature_against_the_oracle():
    # D_c = E[phi'' phi''], the oracle with phi'' in place of phi
    second = lambda u: -4 / np.pi**0.5 * u * np.exp(-(u**2))
    case = helpers.Case("erf''", second, second, "closed")
    for q1, q2, r in ((0.4, 0.7, -0.9), (1.0, 1.0, 0.0), (1.5, 0.3, 0.8)):
        expected, _ = helpers.gaussian_means(case, q1, q2, r)
        args = [jnp.array(x) for x in (q1, q2, r * math.sqrt(q1 * q2))]
        for dual in (duals.ERF, activations.custom(jax.lax.erf).dual):
            got = dual.derivatives(*args).slope_cov
            np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "tanh"])
def test_derivative_at_zero_variance(name):
    # g' = phi'^2 + phi'' phi at zero, where sqrt(q) has no derivative
    fn = activations.get(name).fn
    zero = jnp.zeros(())
    first = jax.grad(fn)(zero)
    second = jax.grad(jax.grad(fn))(zero)
    got = activations.get(name).dual.diag_derivatives(zero)
    helpers.assert_close(got.value_q, first**2 + second * fn(zero))


# --- truncation ----------------------------------------------------------------


@over([case for case in helpers.CASES if case.kind == "quadrature"])
@pytest.mark.parametrize("terms", [24, 256])
def test_error_bounds_the_truncation(case, terms):
    known = dual_of(case)
    dual = hermite.Quadrature(known.fn, terms, known.curvature_jump)
    variances = [(0.3, 0.3), (3.0, 3.0), (0.3, 3.0)]
    correlations = (0.5, -0.5, 0.9, -0.9, 0.999, -0.999, 1.0, -1.0)
    errors, _ = relative_errors(case, dual, variances, correlations)
    # the larger of the two, as theory.propagation.truncation_error takes it
    bound = [float(dual.error(jnp.array(pair)).max()) for pair in variances]
    bound = np.repeat(bound, len(correlations))
    # 1e-12: rounding of the rule and of the oracle
    assert np.all(errors <= 1.001 * bound + 1e-12), (errors / bound).max()
    # and no idle bound: correlation one attains it
    assert bound.max() <= 1.001 * errors.max() + 1e-12, (bound.max(), errors.max())


def test_no_truncation_error_of_closed_forms():
    q = jnp.array([0.3, 10.0])
    for case in helpers.CASES:
        if case.kind != "quadrature":
            helpers.assert_close(dual_of(case).error(q), jnp.zeros(2))


def test_documented_errors():
    # the docstring of Quadrature, within a factor of two
    measured = dual_of(BY_NAME["tanh"]).error(jnp.array([1.0, 3.0, 10.0]))
    ratio = np.asarray(measured) / [2e-13, 1e-10, 1e-5]
    assert np.all((ratio > 0.5) & (ratio < 2)), ratio


# --- activations of the user ---------------------------------------------------


@pytest.mark.parametrize("name", ["erf", "gelu", "sin"])
def test_quadrature_is_the_closed_form(name):
    closed = activations.get(name)
    series = activations.custom(closed.fn).dual
    q1, q2 = jnp.array([0.4, 1.0, 1.5]), jnp.array([0.7, 1.0, 0.1])
    cov = jnp.array([-0.9, 1.0, 0.5]) * jnp.sqrt(q1 * q2)
    # 1e-11: rounding of the rule, 1e-13, times 256 terms at r = 1
    for ours, theirs in (
        (series.pair(q1, q2, cov), closed.dual.pair(q1, q2, cov)),
        (series.diag(q1), closed.dual.diag(q1)),
    ):
        helpers.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_custom_function():
    fn = lambda u: u * jnp.tanh(jax.nn.softplus(u))  # mish
    activation = activations.custom(fn, name="mish")
    soft = lambda u: np.logaddexp(u, 0)
    case = helpers.Case(
        "mish",
        lambda u: u * np.tanh(soft(u)),
        lambda u: (
            np.tanh(soft(u))
            + u * helpers._sech_squared(soft(u)) * scipy.special.expit(u)
        ),
        "quadrature",
    )
    assert (activation.name, activation.closed_form) == ("mish", False)
    errors, _ = relative_errors(case, activation.dual, [(0.5, 1.5)], CORRELATIONS)
    assert errors.max() < 1e-10
    assert activations.custom(jnp.tanh).name == "tanh"


def test_curvature_jump_is_worth_giving():
    # u_+^3 + u: phi'' continuous; u_+^2/2: jump 1, whose series is all in closed form
    ramp = lambda u: jnp.maximum(u, 0) ** 2 / 2
    case = helpers.Case(
        "ramp",
        lambda u: np.maximum(u, 0) ** 2 / 2,
        lambda u: np.maximum(u, 0),
        "quadrature",
    )
    plain, exact = (
        relative_errors(
            case,
            activations.custom(ramp, name="ramp", curvature_jump=jump).dual,
            [(1.0, 1.0), (0.2, 3.0)],
            CORRELATIONS,
        )[0].max()
        for jump in (0.0, 1.0)
    )
    assert exact < 1e-10 < 1e-5 < plain


@pytest.mark.parametrize("negative_slope", [0.0, 0.2, 1.0, -1.0])
def test_leaky_relu(negative_slope):
    case = helpers.Case(
        "leaky",
        lambda u: np.where(u > 0, u, negative_slope * u),
        lambda u: np.where(u > 0, 1.0, negative_slope),
        "kinked",
    )
    activation = activations.leaky_relu(negative_slope)
    assert activation.name == f"leaky_relu({negative_slope:g})"
    errors, _ = relative_errors(
        case, activation.dual, [(0.5, 2.0)], (0.0, 0.6, -0.6, 0.999, -0.999)
    )
    assert errors.max() < 1e-10


def test_monomial_one_is_the_identity():
    args = jnp.array([0.4]), jnp.array([2.0]), jnp.array([0.5])
    helpers.assert_close(
        activations.monomial(1).dual.pair(*args),
        activations.get("identity").dual.pair(*args),
    )
