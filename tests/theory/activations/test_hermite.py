"""Duals by quadrature and series: where the series stops, and what that costs."""

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
    RULE,
    by_dual,
    compiled,
    dual_of,
    in_fours,
    over,
    relative_errors,
    worst,
)

from theory.activations import hermite, registry


@by_dual
def compiled_error(dual):
    return jax.jit(dual.error)  # of variances (3, 2)


@over([case for case in activation_cases.CASES if case.kind == "quadrature"])
@pytest.mark.parametrize("r", [0.02, 0.4, 0.7])
def test_the_series_stops_no_sooner_than_it_may(case, r):
    # the largest correlation of a block decides how many terms are summed
    errors, _ = relative_errors(case, dual_of(case), [(3.0, 3.0)], (r, -r, 0.0))
    # rounding of rule, series and oracle
    assert worst(errors, 2 * RULE + ORACLE) <= 1


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
