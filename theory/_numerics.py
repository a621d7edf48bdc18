"""Products at full precision; square roots, angles and correlations at their edges.

Arguments that rounding pushes out of the domain are brought back; the double `where`
keeps the derivative finite where the function itself is.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Accelerators multiply float32 at less than its precision unless told.
matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def safe_sqrt(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns sqrt(max(x, 0)), with derivative 0 where x <= 0."""
    inside = x > 0
    return jnp.where(inside, jnp.sqrt(jnp.where(inside, x, 1.0)), 0.0)


def safe_atan2(
    sine: Float[Array, "..."], cosine: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Returns atan2(sine, cosine), pi/2 where both vanish (angle to a zero vector)."""
    somewhere = (sine != 0) | (cosine != 0)
    return jnp.arctan2(
        jnp.where(somewhere, sine, 1.0), jnp.where(somewhere, cosine, 0.0)
    )


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
