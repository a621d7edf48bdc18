"""Duals, compiled once, and their errors against quadrature in polar coordinates."""

import functools
import itertools
import math
from typing import Any

import activation_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory.activations import registry

CORRELATIONS = (0.0, 0.4, -0.4, 0.999, -0.999, 1 - 1e-8, 1e-8 - 1, 1, -1)
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
