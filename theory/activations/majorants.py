"""Bounds on Gaussian means of an activation over ranges of variances and correlations.

What a Taylor remainder of a kernel entry needs: docs/theory/stability.md (R1)-(R5). Of
centred (u, v) with variances in two intervals and a correlation of at most r in size,
upper bounds on E[phi phi] and E[phi' phi'] and all their derivatives in (q1, q2, cov)
up to the second. Price's theorem makes each of them a mean E[phi^(i)(u) phi^(j)(v)].

In NumPy, with x64 enabled: a bound must outlive rounding. Gaussian means are
quadrature, whose error, 1e-12 for smooth functions, the slack of the certificate
covers.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from theory.activations import closed_forms, hermite
from theory.activations.registry import Activation
from theory.errors import InputError

# Intervals of variances are cut into so many: the bound of each is wrong by a factor of
# the root of the ratio of its ends.
_PARTS = 48
_TERMS = 256  # of the quadrature
_ORDERS = 6  # phi and five derivatives
# How closely integration by parts must hold: a kink leaves a tenth and more.
_BY_PARTS = 1e-6


class Interval(NamedTuple):
    """Ends of a range of variances, 0 < low <= high."""

    low: float
    high: float


class Jet(NamedTuple):
    """Bounds on the size of a function of (q1, q2, cov) and of its derivatives."""

    value: float
    grad: Float[np.ndarray, "3"]
    hess: Float[np.ndarray, "3 3"]


class DiagJet(NamedTuple):
    """The range of a function of one variance, and bounds on its two derivatives."""

    range: Interval
    first: float
    second: float


def _jet(value, one, two, cov, pairs) -> Jet:
    """Of `pairs` 11, 12, 22, 1c, 2c, cc."""
    one_one, one_two, two_two, one_cov, two_cov, cov_cov = pairs
    hess = [
        [one_one, one_two, one_cov],
        [one_two, two_two, two_cov],
        [one_cov, two_cov, cov_cov],
    ]
    return Jet(value, np.array([one, two, cov]), np.array(hess))


def _nodes_of(parts: Float[np.ndarray, " k"]):
    """Points sqrt(q) z, (k, nodes), and their weights."""
    nodes, weights, _ = hermite.hermite_rule(_TERMS)
    return np.sqrt(parts)[:, None] * nodes[None, :], weights


@functools.partial(jax.jit, static_argnums=0)
def _slopes(fn, u):
    """Phi and its derivatives, (orders, ...)."""
    found = []
    for _ in range(_ORDERS):
        found.append(fn(u))
        fn = functools.partial(hermite.slope_of, fn)
    return jnp.stack(found)


def _derivatives(phi: Activation, u: np.ndarray) -> np.ndarray:
    return np.asarray(_slopes(phi.fn, jnp.asarray(u)))


def check(phi: Activation) -> None:
    """Raises `InputError` unless its derivatives have bounds. Host only.

    Smooth functions integrate by parts, E[phi^(i+1)] sqrt(q) = E[z phi^(i)], and with a
    further z; what a kink hides from differentiation, fails one of the two.
    """
    if closed_forms.negative_slope(phi.dual) is not None:
        return
    u, weights = _nodes_of(_cuts(Interval(1.0, 1.0)))  # of the usual shape
    found, z = _derivatives(phi, u)[:, 0], u[0]
    for order in range(_ORDERS - 1):
        low, high = found[order], found[order + 1]
        scale = max(np.sqrt(weights @ (low**2 + high**2)), 1e-300)
        once = weights @ (z * low - high)
        twice = weights @ ((z**2 - 1) * low - z * high)
        if not max(abs(once), abs(twice)) < _BY_PARTS * scale:
            raise InputError(
                "`activation` must be smooth, relu or leaky relu, for a bound on the "
                f"curvature of its kernel, got {phi.name}, whose derivative "
                f"{order + 1} is no function: pass `measured=True`."
            )


def _cuts(of: Interval) -> np.ndarray:
    return np.geomspace(of.low, of.high, _PARTS + 1)


def _ranges(values: np.ndarray, cuts: np.ndarray, weights: np.ndarray):
    """Ranges of E[psi(sqrt(q) z)] on each part, for psi (..., cuts, nodes), (R2).

    For psi >= 0 a mean at q is at most sqrt(high/q) times that at `high` and at least
    sqrt(low/q) times that at `low`: so much can the density differ.
    """
    above, below = np.maximum(values, 0) @ weights, np.maximum(-values, 0) @ weights
    root = np.sqrt(cuts[1:] / cuts[:-1])
    upper = root * above[..., 1:] - below[..., :-1] / root
    lower = above[..., :-1] / root - root * below[..., 1:]
    return lower, upper


class Side(NamedTuple):
    """Of phi's derivatives at one of the two points: bounds over its variances.

    Attributes:
        mean: on |E phi^(i)|.
        odd: on the root of the mean square of the odd part.
        even: of the even part.
        low: the smallest variance.
        high: the largest.
    """

    mean: Float[np.ndarray, "6"]
    odd: Float[np.ndarray, "6"]
    even: Float[np.ndarray, "6"]
    low: float
    high: float


def side(phi: Activation, of: Interval) -> Side:
    """Returns the bounds of a point whose variance lies in an interval."""
    if closed_forms.negative_slope(phi.dual) is not None:
        none = np.full(_ORDERS, np.inf)
        return Side(none, none, none, *of)
    cuts = _cuts(of)
    u, weights = _nodes_of(cuts)
    found = _derivatives(phi, u)
    mirrored = found[..., ::-1]  # the nodes are symmetric
    even, odd = (found + mirrored) / 2, (found - mirrored) / 2
    lower, upper = _ranges(even, cuts, weights)
    mean = np.maximum(np.abs(lower), np.abs(upper)).max(axis=-1)
    squares = (
        np.sqrt(_ranges(x**2, cuts, weights)[1].max(axis=-1)) for x in (odd, even)
    )
    return Side(mean, *squares, *of)


def pair_bounds(phi: Activation, one: Side, two: Side, r: float) -> tuple[Jet, Jet]:
    """Returns bounds on E[phi phi], E[phi' phi'] and their derivatives, (R1), (R3).

    Args:
        phi: the activation, which passes `check`.
        one: the first point.
        two: the second.
        r: largest size of their correlation, at most 1.
    """
    if (slope := closed_forms.negative_slope(phi.dual)) is not None:
        return _of_rectifier(slope, one, two, r)

    def mean(i, j):
        return (
            one.mean[i] * two.mean[j]
            + r * one.odd[i] * two.odd[j]
            + r**2 * one.even[i] * two.even[j]
        )

    def jet(m):
        pairs = ((4, 0), (2, 2), (0, 4), (3, 1), (1, 3), (2, 2))
        quarter, half = (1 / 4,) * 3, (1 / 2, 1 / 2, 1)
        return _jet(
            mean(m, m),
            mean(m + 2, m) / 2,
            mean(m, m + 2) / 2,
            mean(m + 1, m + 1),
            [
                f * mean(m + i, m + j)
                for f, (i, j) in zip(quarter + half, pairs, strict=True)
            ],
        )

    return jet(0), jet(1)


def _of_rectifier(slope, one, two, r) -> tuple[Jet, Jet]:
    """(R4): F = sqrt(q1 q2) J(cov/sqrt(q1 q2)) with derivatives that grow with |r|."""
    sine, weight = math.sqrt(max(1 - r * r, 0)), (1 - slope) ** 2 / (2 * math.pi)
    if not sine:
        none = Jet(np.inf, np.full(3, np.inf), np.full((3, 3), np.inf))
        return none, none
    first = slope + weight * (math.pi - math.acos(r))
    second, third = weight / sine, weight * r / sine**3
    value = slope * r + weight * (sine + (math.pi - math.acos(r)) * r)
    rest = weight  # of J - r J', which is weight sqrt(1 - r^2)
    low, other = one.low, two.low
    root, ratio = math.sqrt(low * other), math.sqrt(two.high / low)
    back = math.sqrt(one.high / other)
    curved = rest + r**2 * second
    along = second + r * third
    f = _jet(
        math.sqrt(one.high * two.high) * value,
        ratio * rest / 2,
        back * rest / 2,
        first,
        [
            ratio * curved / (4 * low),
            curved / (4 * root),
            back * curved / (4 * other),
            r * second / (2 * low),
            r * second / (2 * other),
            second / root,
        ],
    )
    d = _jet(
        first,
        r * second / (2 * low),
        r * second / (2 * other),
        second / root,
        [
            r * (2 * second + along) / (4 * low**2),
            r * along / (4 * low * other),
            r * (2 * second + along) / (4 * other**2),
            along / (2 * low * root),
            along / (2 * other * root),
            third / root**2,
        ],
    )
    return f, d


def diag_bounds(phi: Activation, of: Interval) -> tuple[DiagJet, DiagJet]:
    """Returns E[phi^2] and E[phi'^2] over an interval of variances, (R5)."""
    if (slope := closed_forms.negative_slope(phi.dual)) is not None:
        half = (1 + slope**2) / 2
        value = Interval(half * of.low, half * of.high)
        return DiagJet(value, half, 0.0), DiagJet(Interval(half, half), 0.0, 0.0)
    cuts = _cuts(of)
    u, weights = _nodes_of(cuts)
    found = _derivatives(phi, u)

    def jet(m):
        by = lambda n: sum(
            math.comb(n, k) * found[m + k] * found[m + n - k] for k in range(n + 1)
        )
        lower, upper = _ranges(found[m] ** 2, cuts, weights)
        sizes = [
            max(np.abs(part).max() for part in _ranges(by(n), cuts, weights))
            / 2 ** (n // 2)
            for n in (2, 4)
        ]
        return DiagJet(Interval(lower.min(), upper.max()), *sizes)

    return jet(0), jet(1)
