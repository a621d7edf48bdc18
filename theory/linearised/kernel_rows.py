"""Kernel rows of test points in the linearised kernel, and their own noise.

Equations: docs/theory/linearised.md (L8) and docs/theory/regression.md (E9).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.kernels.propagation import KernelPair, propagate
from theory.linearised import entry_tables
from theory.linearised.entry_tables import EntryTables, Linear
from theory.linearised.features import Scales
from theory.linearised.image_moments import ImageMoments
from theory.linearised.mean_kernel import (
    averaged,
    curves,
    mean_kernel,
    pairs,
    slopes,
    tilted,
)
from theory.linearised.training_kernel import TrainingKernel, combined
from theory.numerics.edges import matmul, ratio
from theory.records import record


@record(kw_only=True)
class KernelRows:
    """Kernel rows of test points, for both kernels, before scaling.

    Attributes:
        entries: mean kernel with the training images.
        slope_k: dH/dk with each of the sampled training images.
        slope_q: dH/dq of the training image with each of them.
        slope_own: dH/dq of the test point with each of them.
        curved: second derivative of H in k, at the mean k of the row.
        third: third derivative there.
        beyond: of interpolated entries of the tangent kernel, what `linear` leaves.
        linear: see `entry_tables.Rows`.
    """

    entries: KernelPair
    slope_k: KernelPair
    slope_q: KernelPair
    slope_own: KernelPair
    curved: KernelPair
    third: KernelPair
    beyond: Float[Array, "t n"] | None = None
    linear: Linear | None = None


def kernel_rows(
    arch: Architecture,
    measured: TrainingKernel,
    test: ImageMoments,
    tables: EntryTables | None = None,
) -> KernelRows:
    """Returns the kernel rows of the images `test`, to be called block by block.

    Args:
        arch: the architecture.
        measured: of the training images.
        test: the points.
        tables: of `tabulate` for clean points, None for entry by entry.
    """
    picked = jax.tree.map(lambda leaf: leaf[measured.sample], measured.train)
    of = pairs(test, picked, arch)
    slope_own, slope_q, slope_k = averaged(slopes(tilted(arch)), of)
    train, d = measured.train, test.mean.shape[1]
    k = arch.b_var + arch.w_var / d * (test.mean @ train.mean.mean(axis=0))
    typical = (test.q, train.q.mean(), k)
    curved, third = curves(functools.partial(propagate, arch=arch), typical)
    if tables is None:
        entries = mean_kernel(test, measured.train, arch)
        beyond = linear = None
    else:
        entries, beyond, linear = entry_tables.rows(tables, arch, test)
    return KernelRows(
        entries=entries,
        beyond=beyond,
        linear=linear,
        slope_k=slope_k,
        slope_q=slope_q,
        slope_own=slope_own,
        curved=curved,
        third=third,
    )


def _mean_slope(of: KernelPair, measured: TrainingKernel, scales: Scales, s):
    """Mean over the sampled training images of `of` over t_a, for test points."""
    t = scales.slope[measured.sample]
    return (combined(of, s).astype(t.dtype) / t[None, :]).mean(axis=1)


def scaled(
    arch: Architecture,
    measured: TrainingKernel,
    scales: Scales,
    test: ImageMoments,
    of: KernelRows,
    s: Float[Array, "..."] | float,
    *,
    features: int,
    copies: Float[Array, ""] | float = 1.0,
) -> tuple[Float[Array, "t n"], Float[Array, "t m"]]:
    """Returns scaled rows g of the test points and weights w of the noise in them."""
    d = test.mean.shape[1]
    along_k = _mean_slope(of.slope_k, measured, scales, s)[:, None]
    along_q = _mean_slope(of.slope_q, measured, scales, s)[:, None]
    sampled = jax.tree.map(lambda entries: entries[:, measured.sample], of.entries)
    level = _mean_slope(sampled, measured, scales, s)[:, None]
    w = jnp.concatenate([arch.w_var / d * along_k * test.mean, along_q, level], axis=1)
    root = jnp.sqrt(jnp.asarray(copies, w.dtype))
    entries = combined(of.entries, jnp.asarray(s, of.entries.ntk.dtype))
    g = entries * (root / scales.row).astype(entries.dtype)[None, :]
    return g, jnp.pad(w, ((0, 0), (0, features - d - 2)))


def apart(
    arch: Architecture,
    measured: TrainingKernel,
    scales: Scales,
    test: ImageMoments,
    of: KernelRows,
    *,
    features: int,
    copies: Float[Array, ""],
) -> tuple[Float[Array, "t n"], Float[Array, "t m"]]:
    """Returns the rows g of `scaled` at s = 0, of interpolated entries, as two parts.

    g = beyond + along mean^T with the mean features: beyond, in the precision of the
    tables, and along.
    """
    assert of.beyond is not None
    assert of.linear is not None
    x, train = test.mean, measured.train
    unit = arch.w_var / x.shape[1]
    pixels = unit * ratio(of.linear.cosine, entry_tables.length_of(arch, x))
    # features have pixels less those of the mean image
    centre = pixels * (x @ train.mean.mean(axis=0))
    others = jnp.stack([of.linear.variance, of.linear.constant + centre], axis=1)
    along = jnp.concatenate([pixels[:, None] * x, others], axis=1)
    precision = of.beyond.dtype
    low = lambda part: part.astype(precision)
    beyond = of.beyond + low(centre)[:, None] * low(scales.slope - 1)[None, :]
    beyond *= low(jnp.sqrt(copies) / scales.row)[None, :]
    return beyond, jnp.pad(along, ((0, 0), (0, features - x.shape[1] - 2)))


class OwnNoise(NamedTuple):
    """How the noise of test points enters their kernel rows, as weights of features.

    A test point's noise makes its row vary by w.phi_a, with covariance of w
    strength (T*^2 kk + T* S* kq + S*^2 qq), S* the slope in its own q.
    """

    kk: Float[Array, "m m"]
    kq: Float[Array, "m m"]
    qq: Float[Array, "m m"]


def own_noise(
    arch: Architecture, measured: TrainingKernel, test: ImageMoments, *, features: int
) -> OwnNoise:
    """Returns the covariances of (L8) for the mean noise of the images `test`."""
    d, c_w = test.mean.shape[1], arch.w_var
    centre = measured.tilt.centre[0]
    # pixels act on the pixel features, and through their mean image on the constant
    through = jnp.zeros((features, d), centre.dtype)
    through = through.at[jnp.arange(d), jnp.arange(d)].set(c_w / d)
    through = through.at[d + 1].set(c_w / d * centre)
    constant = jnp.zeros(features, centre.dtype).at[d + 1].set(1.0)
    var, cov_square = test.var.mean(axis=0), test.cov_square.mean(axis=0)
    cross = matmul(through, c_w / d * cov_square)[:, None] * constant[None, :]
    return OwnNoise(
        kk=matmul(through * var[None, :], through.T),
        kq=cross + cross.T,
        qq=test.q_var.mean() * constant[:, None] * constant[None, :],
    )


def own_noise_weights(
    measured: TrainingKernel,
    scales: Scales,
    of: KernelRows,
    s: Float[Array, "..."] | float,
) -> Float[Array, "3 t"]:
    """Returns T*^2, T* S* and S*^2 of every test point, the weights of `OwnNoise`."""
    along_k = _mean_slope(of.slope_k, measured, scales, s)
    along_own = _mean_slope(of.slope_own, measured, scales, s)
    return jnp.stack([along_k**2, along_k * along_own, along_own**2])
