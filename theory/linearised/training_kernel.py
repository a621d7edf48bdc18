"""What the linearised kernel of corrupted training images is made of.

Mean entries with the sampled images, slopes and curvatures, for both kernels; used for
ntk + s nngp, whose derivative in s gives the variance that one initialisation adds,
docs/theory/one_network.md (L10). No n x n array is formed unless all images are
sampled.

Equations: docs/theory/linearised.md (L1)-(L7).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from theory.kernels.architecture import Architecture
from theory.kernels.propagation import KernelPair
from theory.linearised.image_moments import ImageMoments, Tilt, image_moments
from theory.linearised.mean_kernel import (
    averaged,
    copies_of,
    curves,
    mean_diag,
    mean_entry,
    pairs,
    slope,
    slopes,
    tilted,
    typical,
)
from theory.numerics import blocks
from theory.numerics.edges import matmul
from theory.records import record

# Rows of a block of kernel entries; images for means over pairs, and for the tilt.
_BLOCK, _SAMPLE, _FEW = 128, 600, 100


@record(kw_only=True)
class TrainingKernel:
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
        curvature: means of the second derivatives of H in (q1, q2, k).
        curved, third: second and third derivative of H in k at the mean point.
    """

    train: ImageMoments
    columns: Int[Array, " r"]
    entries: KernelPair
    own: KernelPair
    diag: KernelPair
    slope_k: KernelPair
    slope_q: KernelPair
    curvature: KernelPair
    curved: KernelPair
    third: KernelPair

    @property
    def sample(self) -> Int[Array, " s"]:
        """The columns that means over pairs are taken over."""
        return _spread(self.columns, _SAMPLE)

    def sampled(self) -> "TrainingKernel":
        """The same of the sampled images alone; means over all images stay."""
        at = lambda tree: jax.tree.map(lambda leaf: leaf[self.columns], tree)
        return dataclasses.replace(
            self,
            train=at(self.train),
            columns=jnp.arange(len(self.columns)),
            entries=at(self.entries),
            own=at(self.own),
            diag=at(self.diag),
            slope_k=at(self.slope_k),
        )

    @property
    def tilt(self) -> Tilt:
        """Of the training images."""
        assert self.train.tilt is not None
        return self.train.tilt


def _spread(rows: Array, most: int) -> Array:
    """At most so many of the rows, from all over: images may be sorted by class."""
    return rows[:: -(-len(rows) // most)]


def of_one_sign(slope: Float[Array, " n"]) -> Bool[Array, ""]:
    """Whether there is a slope to scale by: an activation may have no linear part."""
    return (slope > 0).all() | (slope < 0).all()


def _with_tilt(
    train: ImageMoments, few: ImageMoments, arch: Architecture
) -> ImageMoments:
    """The images with their tilts, zero if slopes have both signs (L5)."""
    centre = pairs(train, few, arch).centre
    slope_k = slope(tilted(arch), 2)
    value = slope_k(*centre).ntk.mean(axis=1)
    regular = of_one_sign(value)
    by_q, by_k = (
        jnp.where(
            regular,
            slope(slope_k, axis)(*centre).ntk.mean(axis=1)
            / jnp.where(regular, value, 1.0),
            0.0,
        )
        for axis in (0, 2)
    )
    mean = train.mean.mean(axis=0)
    unit = (arch.w_var / mean.shape[0]) ** 2
    tilt = Tilt(
        by_q=by_q,
        by_k=by_k,
        centre=jnp.broadcast_to(mean, train.mean.shape),
        cov=unit * matmul(train.cov_square, mean),
    )
    return dataclasses.replace(train, tilt=tilt)


moments = jax.jit(image_moments)


def measure(
    arch: Architecture, train: ImageMoments, columns: Int[Array, " r"]
) -> TrainingKernel:
    """Measures the kernel of training images on the sampled `columns`.

    Cost: n r (5 d + 8 depth duals) and the slopes of 600 x 600 pairs at 6 points each;
    memory n (4 d + 2 r).

    Args:
        arch: the architecture.
        train: `moments` of the images; their tilts are measured if they have none.
        columns: numbers of the sampled ones.
    """
    tilt, found = _measure(arch, train, columns)
    train = dataclasses.replace(train, tilt=tilt)
    return TrainingKernel(train=train, columns=columns, **found)


@jax.jit  # one program for all corruptions: it sees moments alone
def _measure(
    arch: Architecture, train: ImageMoments, columns: Int[Array, " r"]
) -> tuple[Tilt, dict[str, KernelPair]]:
    """The tilts of the images, and the other fields of `TrainingKernel`."""
    if train.tilt is None:
        few = jax.tree.map(lambda leaf: leaf[_spread(columns, _FEW)], train)
        train = _with_tilt(train, few, arch)
    picked = jax.tree.map(lambda leaf: leaf[columns], train)

    entry = tilted(arch)
    slope_k = slope(entry, 2)

    def block(part):
        of = pairs(part, picked, arch)
        found = jax.tree.map(lambda k: k.mean(axis=1), slope_k(*of.centre))
        return mean_entry(of, arch), found

    entries, each_k = blocks.map_rows(block, train, _BLOCK)
    few = jax.tree.map(lambda leaf: _spread(leaf, _SAMPLE), picked)
    of = pairs(few, few, arch)
    *by_q, by_k = averaged(slopes(entry), of)
    # the mean of a slope is not the slope at the mean: what it has beyond is alike for
    # all images, and matters where there are many images per pixel
    beyond = jax.tree.map(
        lambda mean, centre: mean.mean() - centre.mean(), by_k, slope_k(*of.centre)
    )
    one = typical(train, arch)
    hessian = jax.jacfwd(jax.jacfwd(lambda at: entry(*at)))
    curved, third = curves(entry, one.centre)
    assert train.tilt is not None
    return train.tilt, dict(
        entries=entries,
        own=mean_entry(copies_of(train, arch), arch),
        diag=mean_diag(train, arch),
        slope_k=jax.tree.map(jnp.add, each_k, beyond),
        slope_q=jax.tree.map(lambda a, b: (a + b).mean() / 2, *by_q),
        curvature=averaged(lambda *at: hessian(jnp.stack(at)), one),
        curved=curved,
        third=third,
    )


def combined(pair: KernelPair, s: Float[Array, "..."] | float) -> Array:
    """The kernel ntk + s nngp.

    Where nngp holds several kernels, along a last axis, s has an entry for each.
    """
    return pair.ntk + jnp.tensordot(pair.nngp, s, axes=jnp.ndim(s))
