"""Dual activations in closed form."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.activations import nearly_parallel
from theory.activations.duals import (
    DiagDerivatives,
    DualDerivatives,
    DualPair,
    NearPair,
    diag_jvp,
    pair_jvp,
)
from theory.numerics.edges import arctan2, safe_atan2, safe_sqrt


@dataclasses.dataclass(frozen=True)
class ClosedForm:
    """A dual given by formulas: `pair(q1, q2, cov)` and `diag(q)`.

    `sure` and `near`, where there are any: see `Dual`.
    """

    pair: Callable[..., DualPair]
    diag: Callable[..., DualPair]
    near: Callable[..., NearPair] | None = None
    sure: Callable[..., Array] | None = None

    @property
    def reversible(self) -> Callable[..., DualPair]:
        """See `Dual.reversible`."""
        return self.pair

    def derivatives(
        self,
        q1: Float[Array, "..."],
        q2: Float[Array, "..."],
        cov: Float[Array, "..."],
    ) -> DualDerivatives:
        """See `Dual.derivatives`."""
        return pair_jvp(self.pair, q1, q2, cov)

    def diag_derivatives(self, q: Float[Array, "..."]) -> DiagDerivatives:
        """See `Dual.diag_derivatives`."""
        return diag_jvp(self.diag, q)

    def error(self, q: Float[Array, "..."]) -> Float[Array, "..."]:
        """See `Dual.error`."""
        return jnp.zeros_like(q)


@dataclasses.dataclass(frozen=True)
class Bound:
    """A function with its first argument; unlike partials equal to another like it."""

    function: Callable[..., Any]
    first: Any

    def __call__(self, *args):
        """Returns the function of both."""
        return self.function(self.first, *args)


def _diag_of(pair, q):
    return pair(q, q, q)


def _diag_of_near(near, q):
    return near(q, q, q, jnp.zeros_like(q)).pair


def _from_pair(pair: Callable[..., DualPair]) -> ClosedForm:
    """A closed form that is regular at u = v."""
    return ClosedForm(pair, Bound(_diag_of, pair))


def _determinant(q1, q2, cov):
    """Returns q1 q2 - cov^2, zero where rounding makes it negative.

    Its derivative is that of the formula even there: regular duals have one at u = v.
    """
    det = q1 * q2 - cov**2
    return det + jax.lax.stop_gradient(jnp.maximum(det, 0.0) - det)


def _identity(q1, q2, cov):
    shape = jnp.broadcast_shapes(jnp.shape(q1), jnp.shape(q2), jnp.shape(cov))
    cov = jnp.broadcast_to(cov, shape)
    return DualPair(cov, jnp.ones_like(cov))


def _erf(q1, q2, cov):
    # (1+2q1)(1+2q2) - 4cov^2, expanded so that it does not cancel at large q
    root = jnp.sqrt(1 + 2 * (q1 + q2) + 4 * _determinant(q1, q2, cov))
    return DualPair(2 / math.pi * arctan2(2 * cov, root), 4 / math.pi / root)


def _erf_diag(q):
    root = jnp.sqrt(1 + 4 * q)
    return DualPair(2 / math.pi * arctan2(2 * q, root), 4 / math.pi / root)


def _relu(q1, q2, cov):
    sine = safe_sqrt(q1 * q2 - cov**2)  # sqrt(q1 q2) sin(angle)
    # both results hold the angle: compilers would compute it for each of them
    angle = jax.lax.optimization_barrier(safe_atan2(sine, cov))
    slope = (math.pi - angle) / (2 * math.pi)
    return DualPair(sine / (2 * math.pi) + slope * cov, slope)


def _relu_diag(q):
    return DualPair(q / 2, jnp.full_like(q, 0.5))


def _leaky_relu_pair(negative_slope, q1, q2, cov):
    return nearly_parallel.mixed(negative_slope, cov, *_relu(q1, q2, cov))


def _leaky_relu_diag(negative_slope, q):
    mean_square = (1 + negative_slope**2) / 2
    return DualPair(mean_square * q, jnp.full_like(q, mean_square))


def _step(q1, q2, cov):
    sine = safe_sqrt(q1 * q2 - cov**2)
    value = (math.pi - safe_atan2(sine, cov)) / (2 * math.pi)
    return DualPair(value, jnp.zeros_like(value))


def _step_diag(q):
    return DualPair(jnp.full_like(q, 0.5), jnp.zeros_like(q))


def _sin_and_cos(q1, q2, cov):
    mean = (q1 + q2) / 2
    plus, minus = jnp.exp(cov - mean), jnp.exp(-cov - mean)
    return (plus - minus) / 2, (plus + minus) / 2


def _sin(q1, q2, cov):
    return DualPair(*_sin_and_cos(q1, q2, cov))


def _cos(q1, q2, cov):
    return DualPair(*_sin_and_cos(q1, q2, cov)[::-1])


def _sin_less_sin3(q1, q2, cov):
    value = slope = jnp.zeros_like(q1)
    for one, two in itertools.product((1.0, 3.0), repeat=2):
        sign = 1.0 if one == two else -1.0
        sin, cos = _sin_and_cos(one**2 * q1, two**2 * q2, one * two * cov)
        value, slope = value + sign * sin, slope + sign * one * two * cos
    return DualPair(value, slope)


def _gelu(q1, q2, cov):
    # Stein's lemma on u Phi(u), v Phi(v); density = E[pdf(u) pdf(v)]
    spread = _determinant(q1, q2, cov)
    det = 1 + q1 + q2 + spread
    root = jnp.sqrt(det)
    density = 1 / (2 * math.pi * root)
    both_positive = 0.25 + arctan2(cov, root) / (2 * math.pi)
    one, two = cov / (1 + q1) * density, cov / (1 + q2) * density
    value = q1 / (1 + q1) * (q2 + spread) * density + cov * (both_positive + two)
    slope = both_positive + one + two + cov / det * density
    return DualPair(value, slope)


def _exp(q1, q2, cov):
    value = jnp.exp((q1 + q2) / 2 + cov)
    return DualPair(value, value)


def _gaussian(q1, q2, cov):
    det = 1 + 2 * (q1 + q2) + 4 * _determinant(q1, q2, cov)
    value = 1 / jnp.sqrt(det)
    return DualPair(value, 4 * cov * value / det)


def _monomial(degree, q1, q2, cov):
    def moment(n):
        # E[u^n v^n] = sum over the pairs that join u to v (Isserlis)
        return sum(
            math.comb(n, j) ** 2
            * math.factorial(j)
            * (math.prod(range(n - j - 1, 0, -2))) ** 2
            * (q1 * q2) ** ((n - j) // 2)
            * cov**j
            for j in range(n % 2, n + 1, 2)
        ) * jnp.ones_like(cov)

    return DualPair(moment(degree), degree**2 * moment(degree - 1))


def ramp(q1, q2, cov):
    """Returns the pair of u_+^2/2, whose slope is relu (Cho & Saul 2009, order 2)."""
    sine = safe_sqrt(q1 * q2 - cov**2)
    angle = math.pi - safe_atan2(sine, cov)
    value = (3 * sine * cov + angle * (q1 * q2 + 2 * cov**2)) / (8 * math.pi)
    return DualPair(value, _relu(q1, q2, cov).value)


IDENTITY = _from_pair(_identity)
ERF = ClosedForm(
    _erf,
    _erf_diag,
    nearly_parallel.erf,
    Bound(nearly_parallel.lifted_sure, 2),
)
RELU = ClosedForm(_relu, _relu_diag, nearly_parallel.relu, nearly_parallel.kinked_sure)
STEP = ClosedForm(_step, _step_diag, nearly_parallel.step, nearly_parallel.kinked_sure)
SIN = _from_pair(_sin)
COS = _from_pair(_cos)
SIN_LESS_SIN3 = _from_pair(_sin_less_sin3)
GELU = ClosedForm(
    _gelu,
    Bound(_diag_of_near, nearly_parallel.gelu),
    nearly_parallel.gelu,
    Bound(nearly_parallel.lifted_sure, 1),
)
EXP = _from_pair(_exp)
GAUSSIAN = ClosedForm(
    _gaussian,
    Bound(_diag_of_near, nearly_parallel.gaussian),
    nearly_parallel.gaussian,
    Bound(nearly_parallel.lifted_sure, 2),
)


def leaky_relu(negative_slope: float) -> ClosedForm:
    """Returns the dual of max(u, 0) + negative_slope min(u, 0)."""
    return ClosedForm(
        Bound(_leaky_relu_pair, negative_slope),
        Bound(_leaky_relu_diag, negative_slope),
        Bound(nearly_parallel.leaky_relu, negative_slope),
        nearly_parallel.kinked_sure,
    )


def negative_slope(dual: Any) -> float | None:
    """Returns the slope below zero of a (leaky) rectifier, None of other duals."""
    if dual == RELU:
        return 0.0
    pair = getattr(dual, "pair", None)
    leaky = isinstance(pair, Bound) and pair.function is _leaky_relu_pair
    return float(pair.first) if leaky else None


def monomial(degree: int) -> ClosedForm:
    """Returns the dual of u^degree, degree >= 1."""
    return _from_pair(Bound(_monomial, degree))
