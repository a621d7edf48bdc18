"""Dual activations in closed form."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.activations.duals import (
    DiagDerivatives,
    DualDerivatives,
    DualPair,
    NearPair,
    diag_jvp,
    opposite_gap,
    pair_jvp,
)
from theory.numerics.edges import arctan2, half_angle, safe_atan2, safe_sqrt


@dataclasses.dataclass(frozen=True)
class ClosedForm:
    """A dual given by formulas: `pair(q1, q2, cov)` and `diag(q)`.

    `sure` and `near`, where there are any: see `Dual`.
    """

    pair: Callable[..., DualPair]
    diag: Callable[..., DualPair]
    near: Callable[..., NearPair] | None = None
    sure: Callable[..., Array] | None = None

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


def _from_pair(pair: Callable[..., DualPair]) -> ClosedForm:
    """A closed form that is regular at u = v."""
    return ClosedForm(pair, lambda q: pair(q, q, q))


def _determinant(q1, q2, cov):
    """Returns q1 q2 - cov^2, zero where rounding makes it negative.

    Its derivative is that of the formula even there: regular duals have one at u = v.
    """
    det = q1 * q2 - cov**2
    return det + jax.lax.stop_gradient(jnp.maximum(det, 0.0) - det)


def _on_diag(near: Callable[..., NearPair]) -> Callable[..., DualPair]:
    return lambda q: near(q, q, q, jnp.zeros_like(q)).pair


# Pairs at an angle of less than .044 are not sure: sin(angle)^2 and more is this.
_PARALLEL = 2.0**-9


def _kinked_sure(q1, q2, cov):
    """Where sin(angle)^2 has its digits, and q1 q2 is in the range of the dtype."""
    whole = q1 * q2
    least = jnp.finfo(jnp.result_type(cov)).tiny / jnp.finfo(jnp.result_type(cov)).eps
    return (whole - cov**2 > _PARALLEL * whole) & (whole > least)


def _lifted_sure(factor, q1, q2, cov):
    """The same for the vectors (u, 1), whose variances are 1 + factor q."""
    whole = (factor * q1) * (factor * q2)
    return 1 + factor * (q1 + q2) + (whole - (factor * cov) ** 2) > _PARALLEL * whole


def _unit(q):
    """Of every point, 1/sqrt(1 + q) and 1 - sqrt(q/(1 + q)).

    Cosines of (u, 1) and (v, 1) come from these without leaving the range of the dtype,
    however large the variances; parallel points keep their digits.
    """
    inverse = 1 / jnp.sqrt(1 + q)
    return inverse, inverse**2 / (1 + safe_sqrt(q) * inverse)


def _lifted(factor, q1, q2, cov, gap):
    """Of r = cov/sqrt((1 + q1)(1 + q2)): r, sqrt(1 - r^2) and the factor of cov."""
    q1, q2, cov, gap = (factor * part for part in (q1, q2, cov, gap))
    (inverse_1, rest_1), (inverse_2, rest_2) = _unit(q1), _unit(q2)
    scale = inverse_1 * inverse_2
    rest = rest_1 + rest_2 * (1 - rest_1)
    less = rest + gap * scale  # 1 - r
    more = rest + opposite_gap(q1, q2, cov) * scale  # 1 + r
    return cov * scale, jnp.sqrt(less * more), scale


def _identity(q1, q2, cov):
    shape = jnp.broadcast_shapes(jnp.shape(q1), jnp.shape(q2), jnp.shape(cov))
    cov = jnp.broadcast_to(cov, shape)
    return DualPair(cov, jnp.ones_like(cov))


def _erf(q1, q2, cov):
    # (1+2q1)(1+2q2) - 4cov^2, expanded so that it does not cancel at large q
    root = jnp.sqrt(1 + 2 * (q1 + q2) + 4 * _determinant(q1, q2, cov))
    return DualPair(2 / math.pi * arctan2(2 * cov, root), 4 / math.pi / root)


def _erf_near(q1, q2, cov, gap):
    r, sine, scale = _lifted(2, q1, q2, cov, gap)
    slope = 4 / math.pi * (scale / sine)
    return NearPair(DualPair(2 / math.pi * arctan2(r, sine), slope), None)


def _erf_diag(q):
    root = jnp.sqrt(1 + 4 * q)
    return DualPair(2 / math.pi * arctan2(2 * q, root), 4 / math.pi / root)


def _relu(q1, q2, cov):
    sine = safe_sqrt(q1 * q2 - cov**2)  # sqrt(q1 q2) sin(angle)
    # both results hold the angle: compilers would compute it for each of them
    angle = jax.lax.optimization_barrier(safe_atan2(sine, cov))
    slope = (math.pi - angle) / (2 * math.pi)
    return DualPair(sine / (2 * math.pi) + slope * cov, slope)


def _relu_near(q1, q2, cov, gap):
    far, near = safe_sqrt(gap), safe_sqrt(opposite_gap(q1, q2, cov))
    angle = jax.lax.optimization_barrier(half_angle(far, near))
    sine = far * near  # sqrt(q1 q2) sin(angle)
    slope = (math.pi - angle) / (2 * math.pi)
    value = sine / (2 * math.pi) + slope * cov
    value_gap = gap / 2 - (sine - angle * cov) / (2 * math.pi)
    return NearPair(DualPair(value, slope), value_gap)


def _relu_diag(q):
    return DualPair(q / 2, jnp.full_like(q, 0.5))


def _leaky_relu(negative_slope, q1, q2, cov):
    # phi = a u + (1-a) relu(u), and E[u relu(v)] = cov/2
    value, slope = _relu(q1, q2, cov)
    weight = (1 - negative_slope) ** 2
    return DualPair(
        negative_slope * cov + weight * value, negative_slope + weight * slope
    )


def _leaky_relu_near(negative_slope, q1, q2, cov, gap):
    (value, slope), value_gap = _relu_near(q1, q2, cov, gap)
    weight = (1 - negative_slope) ** 2
    pair = DualPair(
        negative_slope * cov + weight * value, negative_slope + weight * slope
    )
    return NearPair(pair, negative_slope * gap + weight * value_gap)


def _leaky_relu_diag(negative_slope, q):
    mean_square = (1 + negative_slope**2) / 2
    return DualPair(mean_square * q, jnp.full_like(q, mean_square))


def _step(q1, q2, cov):
    sine = safe_sqrt(q1 * q2 - cov**2)
    value = (math.pi - safe_atan2(sine, cov)) / (2 * math.pi)
    return DualPair(value, jnp.zeros_like(value))


def _step_near(q1, q2, cov, gap):
    far, near = safe_sqrt(gap), safe_sqrt(opposite_gap(q1, q2, cov))
    value_gap = half_angle(far, near) / (2 * math.pi)
    value = 0.5 - value_gap
    return NearPair(DualPair(value, jnp.zeros_like(value)), value_gap)


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


def _gelu_near(q1, q2, cov, gap):
    r, sine, scale = _lifted(1, q1, q2, cov, gap)
    both_positive = 0.25 + arctan2(r, sine) / (2 * math.pi)
    density = scale / sine / (2 * math.pi)
    one, two = cov / (1 + q1) * density, cov / (1 + q2) * density
    # (q1 q2 - cov^2) density, whose factors leave the range of the dtype
    spread = gap * density * opposite_gap(q1, q2, cov)
    value = q1 / (1 + q1) * (q2 * density + spread) + cov * (both_positive + two)
    slope = both_positive + one + two + r * scale / sine**2 * density
    return NearPair(DualPair(value, slope), None)


def _exp(q1, q2, cov):
    value = jnp.exp((q1 + q2) / 2 + cov)
    return DualPair(value, value)


def _gaussian(q1, q2, cov):
    det = 1 + 2 * (q1 + q2) + 4 * _determinant(q1, q2, cov)
    value = 1 / jnp.sqrt(det)
    return DualPair(value, 4 * cov * value / det)


def _gaussian_near(q1, q2, cov, gap):
    r, sine, scale = _lifted(2, q1, q2, cov, gap)
    value = scale / sine
    return NearPair(DualPair(value, 2 * r / sine * value**2), None)


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
ERF = ClosedForm(_erf, _erf_diag, _erf_near, functools.partial(_lifted_sure, 2))
RELU = ClosedForm(_relu, _relu_diag, _relu_near, _kinked_sure)
STEP = ClosedForm(_step, _step_diag, _step_near, _kinked_sure)
SIN = _from_pair(_sin)
COS = _from_pair(_cos)
GELU = ClosedForm(
    _gelu, _on_diag(_gelu_near), _gelu_near, functools.partial(_lifted_sure, 1)
)
EXP = _from_pair(_exp)
GAUSSIAN = ClosedForm(
    _gaussian,
    _on_diag(_gaussian_near),
    _gaussian_near,
    functools.partial(_lifted_sure, 2),
)


def leaky_relu(negative_slope: float) -> ClosedForm:
    """Returns the dual of max(u, 0) + negative_slope min(u, 0)."""
    return ClosedForm(
        functools.partial(_leaky_relu, negative_slope),
        functools.partial(_leaky_relu_diag, negative_slope),
        functools.partial(_leaky_relu_near, negative_slope),
        _kinked_sure,
    )


def monomial(degree: int) -> ClosedForm:
    """Returns the dual of u^degree, degree >= 1."""
    return _from_pair(functools.partial(_monomial, degree))
