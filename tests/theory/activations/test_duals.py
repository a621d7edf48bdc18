"""Dual activations against quadrature in polar coordinates, over the whole domain."""

import functools
import itertools
import math
from typing import Any

import activation_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from closeness import assert_close

from theory.activations import closed_forms, duals, hermite, registry
from theory.errors import InputError

VARIANCES = ((1e-3, 1e-3), (1.0, 1.0), (3.0, 3.0), (0.3, 3.0))
CORRELATIONS = (0.0, 0.4, -0.4, 0.999, -0.999, 1 - 1e-8, 1e-8 - 1, 1, -1)
BY_NAME = {case.name: case for case in activation_cases.CASES}
EPS = np.finfo(float).eps
# Rounding of a mean of numbers of order one, by a rule or a series of some 256 terms,
# and that of the oracle, whose angles and radii are four times as many.
RULE, ORACLE = 256 * EPS, 1024 * EPS


def over(cases, weekly=()):
    """Parametrises by cases; those named in `weekly` are left out of `make test`."""
    slow = lambda case: pytest.mark.slow if case.name in weekly else ()
    cases = [pytest.param(case, id=case.name, marks=slow(case)) for case in cases]
    return pytest.mark.parametrize("case", cases)


# Where the function is but passed on to what tanh and elu go through as well.
SAME_SERIES = ("sigmoid", "silu", "softplus")


def dual_of(case):
    return registry.get(case.name).dual


def by_dual(fn: Any) -> Any:
    """Caches; duals are hashable, which their protocol does not say."""
    return functools.cache(fn)


@by_dual
def compiled(dual):
    """Compiled once per dual; all calls are of four points, see `in_fours`."""
    return jax.jit(dual.pair), jax.jit(dual.diag)


@by_dual
def derived(dual):
    return jax.jit(dual.derivatives), jax.jit(dual.diag_derivatives)


@by_dual
def tangents(dual):
    """Of `pair` and `diag`: functions of arguments and directions."""
    along = lambda fn: jax.jit(lambda args, ways: jax.jvp(fn, args, ways)[1])
    return along(dual.pair), along(dual.diag)


@by_dual
def compiled_error(dual):
    return jax.jit(dual.error)  # of variances (3, 2)


def in_fours(fn, *columns):
    """`fn` of columns of numbers, four at a time: one size, hence one program."""
    n = len(columns[0])
    columns = [np.resize(column, -(-n // 4) * 4).reshape(-1, 4) for column in columns]
    found = [fn(*map(jnp.asarray, four)) for four in zip(*columns, strict=True)]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:n], *found)


def scales(case, q1, q2):
    """sqrt(g(q1) g(q2)): what bounds the dual, by Cauchy and Schwarz."""
    one, two = (activation_cases.gaussian_means(case, q, q, 1.0) for q in (q1, q2))
    return [math.sqrt(a * b) or 1.0 for a, b in zip(one, two, strict=True)]


def relative_errors(case, dual, variances, correlations):
    """(2, points): errors of value and slope over `scales`, and the points."""
    points = [(*q, r) for q, r in itertools.product(variances, correlations)]
    q1, q2, r = np.array(points, float).T
    pair = in_fours(compiled(dual)[0], q1, q2, r * np.sqrt(q1 * q2))
    errors = [
        np.abs(np.array(activation_cases.gaussian_means(case, *point)) - [value, slope])
        / scales(case, *point[:2])
        for point, value, slope in zip(points, *pair, strict=True)
    ]
    return np.array(errors).T, r


def worst(errors, allowed):
    """The largest error over what is allowed at its point."""
    return (np.asarray(errors) / allowed).max()


# --- the oracle ----------------------------------------------------------------


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


# --- the registry --------------------------------------------------------------


def test_the_table_is_the_whole_registry():
    names = {*BY_NAME, *activation_cases.ALIASES}
    assert names == set(registry.names())
    for alias, name in activation_cases.ALIASES.items():
        one, other = registry.get(alias), registry.get(name)
        assert (one.fn, one.dual) == (other.fn, other.dual)


@over(activation_cases.CASES)
def test_functions_and_slopes(case):
    u = np.linspace(-6, 6, 40)  # an even number: not at zero, where kinks are
    fn = registry.get(case.name).fn
    value, slope = jax.jit(lambda u, ones: jax.jvp(fn, (u,), (ones,)))(u, 1 + 0 * u)
    assert_close(value, case.phi(u))
    assert_close(slope, case.slope(u))


@over(activation_cases.CASES)
def test_classification(case):
    activation = registry.get(case.name)
    assert activation.closed_form == (case.kind != "quadrature")
    assert activation.trainable == case.trainable
    assert isinstance(activation.dual, duals.Dual)
    assert registry.get(activation) is activation


def test_unknown_names_and_degrees():
    with pytest.raises(
        InputError, match="unknown activation 'rellu': did you mean 're"
    ):
        registry.get("rellu")
    with pytest.raises(InputError, match=r"must be 1, 2, 3 or 4, got 5"):
        registry.monomial(5)


# --- values --------------------------------------------------------------------


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
    errors, _ = relative_errors(case, dual, [(10.0, 10.0), (1.0, 10.0)], (-0.9, 0.5))
    # tanh: its series of 256 terms, 1e-5 at |r| = 1, at |r| = 0.9
    assert worst(errors, 2e-9 if case.name == "tanh" else 1e-10) <= 1


@over([case for case in activation_cases.CASES if case.kind == "quadrature"])
@pytest.mark.parametrize("r", [0.02, 0.4, 0.7])
def test_the_series_stops_no_sooner_than_it_may(case, r):
    # the largest correlation of a block decides how many terms are summed
    errors, _ = relative_errors(case, dual_of(case), [(3.0, 3.0)], (r, -r, 0.0))
    # rounding of rule, series and oracle
    assert worst(errors, 2 * RULE + ORACLE) <= 1


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


# --- derivatives ---------------------------------------------------------------


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


# --- Price's theorem -----------------------------------------------------------

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


# --- truncation ----------------------------------------------------------------


@over([case for case in activation_cases.CASES if case.kind == "quadrature"])
@pytest.mark.parametrize("terms", [24, 256])
def test_error_bounds_the_truncation(case, terms):
    known = dual_of(case)
    dual = hermite.Quadrature(known.fn, terms, known.curvature_jump)
    variances = [(0.3, 0.3), (3.0, 3.0), (0.3, 3.0)]
    correlations = (0.5, -0.5, 0.9, -0.9, 0.999, -0.999, 1.0, -1.0)
    errors, _ = relative_errors(case, dual, variances, correlations)
    # the larger of the two, as theory.kernels.truncation.truncation_error takes it
    bound = np.asarray(compiled_error(dual)(np.array(variances))).max(axis=1)
    bound = np.repeat(bound, len(correlations))
    rounding = 2 * RULE + ORACLE
    assert worst(errors, 1.001 * bound + rounding) <= 1
    # and no idle bound: correlation one attains it
    assert worst(bound.max(), 1.001 * errors.max() + rounding) <= 1


def test_no_truncation_error_of_closed_forms():
    q = jnp.array([0.3, 10.0])
    for case in activation_cases.CASES:
        if case.kind != "quadrature":
            np.testing.assert_array_equal(dual_of(case).error(q), 0)


def test_documented_errors():
    # the docstring of Quadrature, within a factor of two
    documented = np.array([2e-13, 1e-10, 1e-5])
    error = compiled_error(dual_of(BY_NAME["tanh"]))
    measured = np.asarray(error(np.resize([1.0, 3.0, 10.0], (3, 2)))).ravel()[:3]
    assert np.all(measured <= 2 * documented + RULE), measured
    assert np.all(measured >= documented / 2 - RULE), measured


# --- activations of the user ---------------------------------------------------


@pytest.mark.parametrize("name", ["erf", "gelu", "sin"])
def test_quadrature_is_the_closed_form(name):
    closed = registry.get(name)
    series = registry.custom(closed.fn).dual
    q1, q2 = np.array([0.4, 1.0, 1.5]), np.array([0.7, 1.0, 0.1])
    cov = np.array([-0.9, 1.0, 0.5]) * np.sqrt(q1 * q2)
    for fn, at in ((0, (q1, q2, cov)), (1, (q1,))):
        ours, theirs = (in_fours(compiled(d)[fn], *at) for d in (series, closed.dual))
        # 1e-11: rounding of the rule, 1e-13, times 256 terms at r = 1
        assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_custom_function():
    fn = lambda u: u * jnp.tanh(jax.nn.softplus(u))  # mish
    activation = registry.custom(fn, name="mish")
    soft = lambda u: np.logaddexp(u, 0)
    case = activation_cases.Case(
        "mish",
        lambda u: u * np.tanh(soft(u)),
        lambda u: (
            np.tanh(soft(u))
            + u * activation_cases._sech_squared(soft(u)) * scipy.special.expit(u)
        ),
        "quadrature",
    )
    assert (activation.name, activation.closed_form) == ("mish", False)
    errors, _ = relative_errors(case, activation.dual, [(0.5, 1.5)], CORRELATIONS)
    assert errors.max() < 1e-10
    assert registry.custom(jnp.tanh).name == "tanh"


def test_curvature_jump_is_worth_giving():
    # u_+^3 + u: phi'' continuous; u_+^2/2: jump 1, whose series is all in closed form
    ramp = lambda u: jnp.maximum(u, 0) ** 2 / 2
    case = activation_cases.Case(
        "ramp",
        lambda u: np.maximum(u, 0) ** 2 / 2,
        lambda u: np.maximum(u, 0),
        "quadrature",
    )
    plain, exact = (
        relative_errors(
            case,
            registry.custom(ramp, name="ramp", curvature_jump=jump).dual,
            [(1.0, 1.0), (0.2, 3.0)],
            CORRELATIONS,
        )[0].max()
        for jump in (0.0, 1.0)
    )
    assert exact < 1e-10 < 1e-5 < plain


@pytest.mark.parametrize("negative_slope", [0.0, 0.2, 1.0, -1.0])
def test_leaky_relu(negative_slope):
    case = activation_cases.Case(
        "leaky",
        lambda u: np.where(u > 0, u, negative_slope * u),
        lambda u: np.where(u > 0, 1.0, negative_slope),
        "kinked",
    )
    activation = registry.leaky_relu(negative_slope)
    assert activation.name == f"leaky_relu({negative_slope:g})"
    errors, _ = relative_errors(
        case, activation.dual, [(0.5, 2.0)], (0.0, 0.6, -0.6, 0.999, -0.999)
    )
    assert errors.max() < 1e-10


def test_monomial_one_is_the_identity():
    args = [0.4], [2.0], [0.5]
    one, other = registry.monomial(1).dual, registry.get("identity").dual
    assert_close(*(in_fours(compiled(dual)[0], *args) for dual in (one, other)))
