"""Products at full precision; square roots, angles and correlations at their edges.

Arguments that rounding pushes out of the domain are brought back; the double `where`
keeps the derivative finite where the function itself is.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Accelerators multiply float32 at less than its precision unless told.
matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


# (arctan(t)/t - 1)/t^2 as a polynomial in t^2 on |t| <= tan(pi/8), interpolated at
# Chebyshev nodes in 80-bit arithmetic: wrong by 7e-18 (float64), 2.4e-9 of arctan(t).
_ARCTAN = {
    jnp.dtype("float64"): (
        -0.3333333333333333,
        0.1999999999999552,
        -0.1428571428466675,
        0.11111111015271968,
        -0.09090904578706642,
        0.07692183203203166,
        -0.06664511606847141,
        0.05858150182895704,
        -0.05085455849427279,
        0.03923182111156985,
        -0.01917707148339935,
    ),
    jnp.dtype("float32"): (
        -0.3333333176116852,
        0.19999540483648964,
        -0.14263955597984637,
        0.10743731490791063,
        -0.06451928208121695,
    ),
}
_TAN_PI_8 = math.tan(math.pi / 8)


def _first_quadrant(y: Float[Array, "..."], x: Float[Array, "..."]) -> Array:
    """The angle of (x, y) for x, y >= 0, of equal shapes; not both zero."""
    coefficients = _ARCTAN[jnp.result_type(y, x)]
    low, high = jnp.minimum(y, x), jnp.maximum(y, x)
    # angles beyond pi/8 are taken from pi/4; one division for both cases
    beyond = low > _TAN_PI_8 * high
    t = jnp.where(beyond, low - high, low) / jnp.where(beyond, low + high, high)
    square = t * t
    series = jnp.full_like(t, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        series = series * square + coefficient
    angle = jnp.where(beyond, math.pi / 4, 0.0) + (t + t * (square * series))
    return jnp.where(y > x, math.pi / 2 - angle, angle)


@jax.custom_jvp
def arctan2(y: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns the angle of (x, y) in [-pi, pi], of equal shapes; not both zero.

    Within 4 units in the last place of `numpy.arctan2`, and branch-free, which
    compilers turn into vector instructions: they call the C library's function one
    entry at a time. The sign of a zero does not count.
    """
    angle = _first_quadrant(jnp.abs(y), jnp.abs(x))
    angle = jnp.where(x < 0, math.pi - angle, angle)
    return jnp.where(y < 0, -angle, angle)


@arctan2.defjvp
def _arctan2_jvp(primals, tangents):
    (y, x), (dy, dx) = primals, tangents
    # not by x^2 + y^2, which leaves the range where the angle does not
    scale = jnp.maximum(jnp.abs(x), jnp.abs(y))
    x, y = x / scale, y / scale
    return arctan2(*primals), (x * (dy / scale) - y * (dx / scale)) / (x**2 + y**2)


@jax.custom_jvp
def half_angle(far: Float[Array, "..."], near: Float[Array, "..."]) -> Array:
    """Returns 2 atan(far/near) for far, near >= 0, pi/2 where both vanish.

    The angle of two vectors of lengths a and b from far^2 = ab - a.b and near^2 =
    ab + a.b, which keeps all digits where they are parallel and where opposite; to a
    zero vector it is pi/2.
    """
    nowhere = (far == 0) & (near == 0)
    one = lambda part: jnp.where(nowhere, 1.0, part)
    return 2 * _first_quadrant(one(far), one(near))


@half_angle.defjvp
def _half_angle_jvp(primals, tangents):
    (far, near), (d_far, d_near) = primals, tangents
    scale = jnp.maximum(far, near)
    inside = scale > 0
    scale = jnp.where(inside, scale, 1.0)
    one, two = far / scale, near / scale
    change = (two * (d_far / scale) - one * (d_near / scale)) * 2
    square = jnp.where(inside, one**2 + two**2, 1.0)
    return half_angle(far, near), change / square


def safe_sqrt(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns sqrt(max(x, 0)), with derivative 0 where x <= 0."""
    inside = x > 0
    return jnp.where(inside, jnp.sqrt(jnp.where(inside, x, 1.0)), 0.0)


def safe_atan2(
    sine: Float[Array, "..."], cosine: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Returns atan2(sine, cosine), pi/2 where both vanish (angle to a zero vector)."""
    somewhere = (sine != 0) | (cosine != 0)
    return arctan2(jnp.where(somewhere, sine, 1.0), jnp.where(somewhere, cosine, 0.0))


def correlation(
    q1: Float[Array, "..."], q2: Float[Array, "..."], cov: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Returns cov/sqrt(q1 q2) in [-1, 1], zero where a variance vanishes."""
    scale = safe_sqrt(q1) * safe_sqrt(q2)
    inside = scale > 0
    return jnp.clip(
        jnp.where(inside, cov, 0.0) / jnp.where(inside, scale, 1.0), -1.0, 1.0
    )


def ratio(part: Array, whole: Array) -> Array:
    """part/whole, zero where `whole` vanishes."""
    inside = whole > 0
    return jnp.where(inside, part, 0.0) / jnp.where(inside, whole, 1.0)
