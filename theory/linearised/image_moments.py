"""Corrupted images, as the kernel sees them: by moments of their pixels.

A row of the kernel of one draw grows and shrinks as a whole with its corrupted image. A
prediction does not change if rows, columns and targets are divided by the same numbers,
and so every image is divided by the exponential of its `Tilt`: what is left is closer
to linear in the noise.

Equations: docs/theory/linearised.md (L1), (L2), (L5).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.corruption.base import Corruption
from theory.kernels.architecture import Architecture
from theory.numerics.edges import ratio
from theory.records import record, static


@record(kw_only=True)
class Tilt:
    """Logarithm of the scale of a row: by_q (q - mean q) + by_k C_w m.(noise)/d.

    Attributes:
        by_q, by_k: relative change of the slope H_k with q, and with k.
        centre: m, mean image of the training set.
        cov: covariance of C_w m.(noise)/d with q.
    """

    by_q: Float[Array, " n"]
    by_k: Float[Array, " n"]
    centre: Float[Array, "n d"]
    cov: Float[Array, " n"]

    def along(self, q_var: Float[Array, " n"]) -> Float[Array, " n"]:
        """Its slope in q, of what goes with q included."""
        return self.by_q + self.by_k * ratio(self.cov, q_var)


@record(kw_only=True)
class ImageMoments:
    """Corrupted images, by moments of their pixels and of their first-layer variance.

    Attributes:
        mean: M, mean pixels.
        var: V, variance of each pixel.
        cov_square: C12, covariance of a pixel with its square.
        q: mean of the first-layer variance.
        q_var: its variance.
        tilt: of its rows; None for test images, which need none.
        clean: whether the images are known to have no noise; static.
    """

    mean: Float[Array, "n d"]
    var: Float[Array, "n d"]
    cov_square: Float[Array, "n d"]
    q: Float[Array, " n"]
    q_var: Float[Array, " n"]
    tilt: Tilt | None = None
    clean: bool = static(default=False)


def image_moments(
    x: Float[Array, "n d"], arch: Architecture, corruption: Corruption | None
) -> ImageMoments:
    """Returns the moments of the images `x` under `corruption`, None for clean ones."""
    c_w = arch.w_var
    if corruption is None:
        q = arch.b_var + c_w * (x**2).mean(axis=1)
        zero = jnp.zeros_like(x)
        return ImageMoments(
            mean=x,
            var=zero,
            cov_square=zero,
            q=q,
            q_var=jnp.zeros_like(q),
            clean=True,
        )
    pixel = corruption.moments(x)
    # a variance that is rounding of the second moment, of either sign, is none
    floor = 16 * jnp.finfo(x.dtype).eps
    noisy = pixel.var > floor * (pixel.mean**2 + pixel.var)
    var, cov_square, var_square = (
        jnp.where(noisy, part, 0.0)
        for part in (pixel.var, pixel.cov_square, pixel.var_square)
    )
    q = arch.b_var + c_w * (pixel.mean**2 + var).mean(axis=1)
    return ImageMoments(
        mean=pixel.mean,
        var=var,
        cov_square=cov_square,
        q=q,
        # zero for noise of one absolute value
        q_var=c_w**2 * jnp.maximum(var_square.mean(axis=1), 0.0) / x.shape[1],
    )
