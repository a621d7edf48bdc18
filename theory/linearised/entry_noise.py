"""Noise of the kernel entries of test points beyond their linear parts.

Equations: docs/theory/linearised.md (L9).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.linearised import kernel_rows, linearise
from theory.linearised.image_moments import ImageMoments
from theory.linearised.training_kernel import combined


class Block(NamedTuple):
    """Kernel rows of a block of test points, for both kernels."""

    images: ImageMoments
    rows: kernel_rows.KernelRows


def of_pairs(
    arch: Architecture,
    train: ImageMoments,
    block: Block,
    other: Block,
    same: Float[Array, "t1 t2"],
    s: Float[Array, "..."] | float,
) -> Float[Array, "t1 t2"]:
    """Covariance of entries with one training image beyond their linear parts, (L9).

    `same` is one for pairs of a point and itself, which share its own noise too.
    """
    one, two = block.images, other.images
    unit = (arch.w_var / one.mean.shape[1]) ** 2
    noise = linearise.noise_of_k(arch, train, one.mean, two.mean)
    noise = noise + same * (unit * (one.var @ train.var.mean(axis=0)))[:, None]
    (curved, third), (curved_2, third_2) = (
        [combined(part, s) for part in (of.rows.curved, of.rows.third)]
        for of in (block, other)
    )
    return linearise.remainder(
        noise,
        curved[:, None] * curved_2[None, :],
        third[:, None] * third_2[None, :],
    )


def own(
    arch: Architecture,
    train: ImageMoments,
    block: Block,
    s: Float[Array, "..."] | float,
) -> Float[Array, " t"]:
    """`of_pairs` of every test point with itself."""

    def one(point):
        alone = jax.tree.map(lambda leaf: leaf[None], point)
        same = jnp.ones((1, 1), point.images.mean.dtype)
        return of_pairs(arch, train, alone, alone, same, s)[0, 0]

    return jax.vmap(one)(block)
