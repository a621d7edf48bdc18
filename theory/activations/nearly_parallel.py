"""Closed forms that keep their digits where points are nearly parallel, tiny or huge.

They take the gap sqrt(q1 q2) - cov beside the covariance: see `Dual.near`; and say
where the formulas of `closed_forms` are as good: `Dual.sure`.
"""

import math

import jax
import jax.numpy as jnp

from theory.activations.duals import DualPair, NearPair, opposite_gap
from theory.numerics.edges import arctan2, half_angle, safe_sqrt

# Pairs at an angle of less than .044 are not sure: sin(angle)^2 and more is this.
_PARALLEL = 2.0**-9


def kinked_sure(q1, q2, cov):
    """Where sin(angle)^2 has its digits, and q1 q2 is in the range of the dtype."""
    limits = jnp.finfo(jnp.result_type(cov))
    least = (1 - _PARALLEL) * limits.tiny / limits.eps
    whole = q1 * q2  # where it is infinite, it is not above its share
    return whole - jnp.maximum(cov**2, least) > _PARALLEL * whole


def lifted_sure(factor, q1, q2, cov):
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


def erf(q1, q2, cov, gap):
    """Returns the dual of erf."""
    r, sine, scale = _lifted(2, q1, q2, cov, gap)
    slope = 4 / math.pi * (scale / sine)
    return NearPair(DualPair(2 / math.pi * arctan2(r, sine), slope), None)


def _near_angle(q1, q2, cov, gap):
    """The angle of two vectors, and sqrt(q1 q2) times its sine."""
    far, near = safe_sqrt(gap), safe_sqrt(opposite_gap(q1, q2, cov))
    return jax.lax.optimization_barrier(half_angle(far, near)), far * near


def relu(q1, q2, cov, gap):
    """Returns the dual of relu, and the gap of its values."""
    angle, sine = _near_angle(q1, q2, cov, gap)
    slope = (math.pi - angle) / (2 * math.pi)
    value = sine / (2 * math.pi) + slope * cov
    value_gap = gap / 2 - (sine - angle * cov) / (2 * math.pi)
    return NearPair(DualPair(value, slope), value_gap)


def mixed(negative_slope, cov, value, slope):
    """Returns the dual of a u + (1 - a) relu(u) from that of relu."""
    # E[u relu(v)] = cov/2
    weight = (1 - negative_slope) ** 2
    return DualPair(
        negative_slope * cov + weight * value, negative_slope + weight * slope
    )


def leaky_relu(negative_slope, q1, q2, cov, gap):
    """Returns the dual of leaky relu, and the gap of its values."""
    (value, slope), value_gap = relu(q1, q2, cov, gap)
    pair = mixed(negative_slope, cov, value, slope)
    gap = negative_slope * gap + (1 - negative_slope) ** 2 * value_gap
    return NearPair(pair, gap)


def step(q1, q2, cov, gap):
    """Returns the dual of the step, and the gap of its values."""
    value_gap = _near_angle(q1, q2, cov, gap)[0] / (2 * math.pi)
    value = 0.5 - value_gap
    return NearPair(DualPair(value, jnp.zeros_like(value)), value_gap)


def gelu(q1, q2, cov, gap):
    """Returns the dual of gelu; the gap of its values is left to subtraction."""
    r, sine, scale = _lifted(1, q1, q2, cov, gap)
    both_positive = 0.25 + arctan2(r, sine) / (2 * math.pi)
    density = scale / sine / (2 * math.pi)
    one, two = cov / (1 + q1) * density, cov / (1 + q2) * density
    # (q1 q2 - cov^2) density, whose factors leave the range of the dtype
    spread = gap * density * opposite_gap(q1, q2, cov)
    value = q1 / (1 + q1) * (q2 * density + spread) + cov * (both_positive + two)
    slope = both_positive + one + two + r * scale / sine**2 * density
    return NearPair(DualPair(value, slope), None)


def gaussian(q1, q2, cov, gap):
    """Returns the dual of exp(-u^2)."""
    r, sine, scale = _lifted(2, q1, q2, cov, gap)
    value = scale / sine
    return NearPair(DualPair(value, 2 * r / sine * value**2), None)
