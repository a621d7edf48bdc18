"""Bounds on the second derivatives of kernel entries over the range that data occupy.

An entry is a function H(q1, q2, k) of three numbers of the first layer, on the diagonal
a function h(q) of one: docs/theory/kernels.md (7). Linearised in them it leaves a
remainder that their second derivatives bound: docs/theory/stability.md (R6)-(R7). The
chain rule through the layers, with bounds on the sizes in place of all numbers.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from theory.activations import closed_forms, majorants
from theory.activations.majorants import Interval, Jet
from theory.kernels import propagation
from theory.kernels.architecture import Architecture


def _layers(arch: Architecture) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in propagation.layer_rates(arch)]


class _Variance(NamedTuple):
    """A variance of a layer: its range, and sizes of derivatives in the first's."""

    range: Interval
    first: float
    second: float


def _next_variance(arch: Architecture, at: _Variance) -> _Variance:
    (value, first, second), _ = majorants.diag_bounds(arch.phi, at.range)
    w, b = float(arch.w_var), float(arch.b_var)
    return _Variance(
        Interval(b + w * value.low, b + w * value.high),
        w * first * at.first,
        w * (second * at.first**2 + first * at.second),
    )


def _chained(outer: Jet, one: _Variance, two: _Variance, cov: Jet) -> Jet:
    """A function of the layer's numbers, as one of the first layer's."""
    inner = np.stack([[one.first, 0, 0], [0, two.first, 0], cov.grad])
    hess = inner.T @ outer.hess @ inner + outer.grad[2] * cov.hess
    hess[0, 0] += outer.grad[0] * one.second
    hess[1, 1] += outer.grad[1] * two.second
    return Jet(outer.value, inner.T @ outer.grad, hess)


def _product(one: Jet, two: Jet) -> Jet:
    mixed = np.outer(one.grad, two.grad)
    return Jet(
        one.value * two.value,
        one.value * two.grad + two.value * one.grad,
        one.value * two.hess + two.value * one.hess + mixed + mixed.T,
    )


def _sum(constant: float, *terms: tuple[float, Jet]) -> Jet:
    return Jet(
        constant + sum(w * t.value for w, t in terms),
        sum(w * t.grad for w, t in terms) + np.zeros(3),
        sum(w * t.hess for w, t in terms) + np.zeros((3, 3)),
    )


def pair_curvature(
    arch: Architecture, q1: Interval, q2: Interval, cov: float
) -> Float[np.ndarray, "3 3"]:
    """Returns bounds on the second derivatives of H in (q1, q2, k), (R6).

    Infinite where there is none: rectifiers at correlation 1. Host only; tens of
    milliseconds a layer.

    Args:
        arch: the architecture.
        q1: range of the variances of the first points.
        q2: of the second.
        cov: largest size of a covariance k.
    """
    (a, b), *rates = _layers(arch)
    w, b_var, phi = float(arch.w_var), float(arch.b_var), arch.phi
    along = np.array([0.0, 0.0, 1.0])
    k = Jet(cov, along, np.zeros((3, 3)))
    ntk = Jet(a * (cov + b_var) + b, a * along, np.zeros((3, 3)))
    one, two = _Variance(q1, 1.0, 0.0), _Variance(q2, 1.0, 0.0)
    for a, b in rates:
        r = k.value / np.sqrt(one.range.low * two.range.low)
        if r >= 1 and closed_forms.negative_slope(phi.dual) is not None:
            return np.full((3, 3), np.inf)
        r = min(r, 1.0)
        sides = (majorants.side(phi, each.range) for each in (one, two))
        value, slope = (
            _chained(outer, one, two, k)
            for outer in majorants.pair_bounds(phi, *sides, r)
        )
        ntk = _sum(b, (a * w, value), (w, _product(slope, ntk)))
        k = _sum(b_var, (w, value))
        one, two = _next_variance(arch, one), _next_variance(arch, two)
    return ntk.hess


def diag_curvature(arch: Architecture, q: Interval) -> float:
    """Returns a bound on |h''| over a range of variances, (R7). Host only."""
    (a, b), *rates = _layers(arch)
    w, b_var = float(arch.w_var), float(arch.b_var)
    at = _Variance(q, 1.0, 0.0)
    ntk, first, second = a * (q.high - b_var) + b, a, 0.0
    for a, b in rates:
        value, slope = majorants.diag_bounds(arch.phi, at.range)
        value_1, slope_1 = value.first * at.first, slope.first * at.first
        value_2, slope_2 = (
            each.second * at.first**2 + each.first * at.second
            for each in (value, slope)
        )
        high = slope.range.high
        second = w * (a * value_2 + slope_2 * ntk + 2 * slope_1 * first + high * second)
        first = w * (a * value_1 + slope_1 * ntk + high * first)
        ntk = b + w * (a * value.range.high + high * ntk)
        at = _next_variance(arch, at)
    return second
