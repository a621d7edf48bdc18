"""What the linearised kernel of corrupted training images is made of.

Mean entries with the sampled images, slopes and curvatures, for both kernels; used for
ntk + s nngp, whose derivative in s gives the variance that one initialisation adds,
theory/README.md (L10). No n x n array is formed unless all images are sampled.

Equations: theory/README.md (L1)-(L7).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from theory import blocks
from theory.corruption import Corruption
from theory.kernels import KernelPair
from theory.mean_kernel import (
    Images,
    Pairs,
    averaged,
    copies_of,
    images,
    mean_diag,
    mean_entry,
    pairs,
    ratio,
    slope,
    tilted,
)
from theory.problem import Architecture
from theory.records import record

# Rows of a block of kernel entries; images for means over pairs, and for the tilt.
_BLOCK, _SAMPLE, _FEW = 128, 600, 100


@record(kw_only=True)
class Measured:
    """What the linearised kernel of a training set is made of, for both kernels.

    Attributes:
        train: the images.
        columns: numbers of the sampled images: landmarks, and sample of the means.
        entries: mean kernel of all images with the sampled ones, theirs with
            themselves being those of independent copies.
        own: mean kernel of every image with an independent copy of itself.
        diag: mean kernel of every image with itself.
        slope_k: mean over the sample of dH/dk, for every image.
        slope_q: mean of (dH/dq1 + dH/dq2)/2 over pairs of the sample.
        curvature: second derivatives of H in (q1, q2, k) at the mean point.
        third: third derivative of H in k there.
    """

    train: Images
    columns: Int[Array, " r"]
    entries: KernelPair
    own: KernelPair
    diag: KernelPair
    slope_k: KernelPair
    slope_q: KernelPair
    curvature: KernelPair
    third: KernelPair


def _with_tilt(train: Images, few: Images, arch: Architecture) -> Images:
    """The images with their tilts, zero if slopes have both signs (L5).

    The relative change of H_k with q, k going with q as it does on average.
    """
    of = pairs(train, few, arch)
    centre = tuple(jnp.broadcast_arrays(*of.centre))
    sd, _, along = (
        jnp.broadcast_to(part, centre[2].shape) for part in of.directions[0]
    )
    direction = (jnp.ones_like(sd), jnp.zeros_like(sd), ratio(along, sd))
    value, change = jax.jvp(
        lambda *at: slope(tilted(of, arch), 2)(*at).ntk, centre, direction
    )
    value, change = value.mean(axis=1), change.mean(axis=1)
    regular = (value > 0).all() | (value < 0).all()
    tilt = jnp.where(regular, change / jnp.where(regular, value, 1.0), 0.0)
    return dataclasses.replace(train, tilt=tilt)


@jax.jit
def measure(
    arch: Architecture,
    noise: Corruption,
    x: Float[Array, "n d"],
    columns: Int[Array, " r"],
) -> Measured:
    """Measures the kernel of the training images `x` on the sampled `columns`.

    Cost: n r (5 d + 8 depth duals) and the slopes of 600 x 600 pairs; memory n (4 d +
    2 r).
    """
    n, d = x.shape
    train = images(x, arch, noise)
    few = jax.tree.map(lambda leaf: leaf[columns[:_FEW]], train)
    train = _with_tilt(train, few, arch)
    picked = jax.tree.map(lambda leaf: leaf[columns], train)

    def block(part):
        of = pairs(part, picked, arch)
        found = slope(tilted(of, arch), 2)(*of.centre)
        return mean_entry(of, arch), jax.tree.map(lambda k: k.mean(axis=1), found)

    entries, slope_k = blocks.map_rows(block, train, _BLOCK)
    few = jax.tree.map(lambda leaf: leaf[:_SAMPLE], picked)
    of = pairs(few, few, arch)
    mean_k, mean_q, other_q = (
        jax.tree.map(jnp.mean, averaged(slope(tilted(of, arch), axis), of))
        for axis in (2, 0, 1)
    )
    # the mean of a slope is not the slope at the mean: what it has beyond is alike for
    # all images, and matters where there are many images per pixel
    at_centre = jax.tree.map(jnp.mean, slope(tilted(of, arch), 2)(*of.centre))
    beyond = jax.tree.map(jnp.subtract, mean_k, at_centre)
    total = train.mean.sum(axis=0)
    products = (total**2).sum() - (train.mean**2).sum()
    mean_cov = arch.b_var + arch.w_var * products / float(d * max(n * (n - 1), 1))
    q, tilt = train.q.mean(), train.tilt.mean()
    typical = Pairs((q, q, mean_cov), [], (tilt, tilt))
    entry = tilted(typical, arch)
    curvature = jax.jacfwd(jax.jacfwd(lambda at: entry(*at)))(jnp.stack(typical.centre))
    return Measured(
        train=train,
        columns=columns,
        entries=entries,
        own=mean_entry(copies_of(train, arch), arch),
        diag=mean_diag(train, arch),
        slope_k=jax.tree.map(jnp.add, slope_k, beyond),
        slope_q=jax.tree.map(lambda one, two: (one + two) / 2, mean_q, other_q),
        curvature=curvature,
        third=slope(slope(slope(entry, 2), 2), 2)(*typical.centre),
    )


def combined(pair: KernelPair, s: Float[Array, ""] | float) -> Array:
    """The kernel ntk + s nngp."""
    return pair.ntk + s * pair.nngp
