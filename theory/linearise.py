"""The kernel of a corrupted training set as mean kernel plus noisy features.

Around its mean, the kernel of one corruption draw is linear in the noise of a training
image, and bilinear in that of two. `measure` collects what this takes: mean kernel,
slopes, curvatures; `rows` makes of it the kernel regression with noisy features that
`theory.equivalent` solves. No n x n array is formed unless all points are sampled.

Everything is kept for both kernels, and used for ntk + s nngp: the derivative in s
gives the variance that one initialisation adds, theory/README.md (L10).

Equations: theory/README.md (L5)-(L9).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from theory import blocks
from theory._numerics import matmul
from theory.corruption import Corruption
from theory.equivalent import Rows
from theory.kernels import KernelPair
from theory.mean_kernel import (
    Images,
    copies_of,
    curvature_at,
    images,
    mean_diag,
    mean_entry,
    pairs,
    slopes,
)
from theory.problem import Architecture
from theory.records import record

# Rows of a block of kernel entries.
_BLOCK = 128


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
    """

    train: Images
    columns: Int[Array, " r"]
    entries: KernelPair
    own: KernelPair
    diag: KernelPair
    slope_k: KernelPair
    slope_q: KernelPair
    curvature: KernelPair


@jax.jit
def measure(
    arch: Architecture,
    noise: Corruption,
    x: Float[Array, "n d"],
    columns: Int[Array, " r"],
) -> Measured:
    """Measures the kernel of the training images `x` on the sampled `columns`.

    Cost: n r (5 d + 8 depth duals); memory n (4 d + 2 r).
    """
    train = images(x, arch, noise)
    n, d = x.shape
    picked = jax.tree.map(lambda leaf: leaf[columns], train)

    def block(part):
        centre, directions = pairs(part, picked, arch)
        entries = mean_entry(centre, directions, arch)
        slope = slopes(centre, arch, 2)
        return entries, jax.tree.map(lambda leaf: leaf.mean(axis=1), slope)

    entries, slope_k = blocks.map_rows(block, train, _BLOCK)
    few = jax.tree.map(lambda leaf: leaf[:600], picked)
    centre, _ = pairs(few, few, arch)
    slope_q = jax.tree.map(
        lambda one, two: ((one + two) / 2).mean(),
        slopes(centre, arch, 0),
        slopes(centre, arch, 1),
    )
    total = train.mean.sum(axis=0)
    products = (total**2).sum() - (train.mean**2).sum()
    mean_cov = arch.b_var + arch.w_var * products / (d * max(n * (n - 1), 1))
    mean_q = train.q.mean()
    return Measured(
        train=train,
        columns=columns,
        entries=entries,
        own=mean_entry(*copies_of(train, arch), arch),
        diag=mean_diag(train, arch),
        slope_k=slope_k,
        slope_q=slope_q,
        curvature=curvature_at(jnp.stack([mean_q, mean_q, mean_cov]), arch),
    )


def combined(pair: KernelPair, s: Float[Array, ""] | float) -> Array:
    """The kernel ntk + s nngp."""
    return pair.ntk + s * pair.nngp


@record(kw_only=True)
class Scales:
    """How rows are scaled: slopes to t_a, noise to sqrt(r_a).

    Attributes:
        slope: t_a, slope of an image's entries over the mean slope.
        row: t_a sqrt(r_a), by which rows, columns and targets are divided.
    """

    slope: Float[Array, " n"]
    row: Float[Array, " n"]


def scales_at(
    measured: Measured, s: Float[Array, ""] | float
) -> tuple[Scales, Float[Array, ""]]:
    """Returns the scales of the rows for ntk + s nngp, and the mean slope T."""
    slope = combined(measured.slope_k, s)
    mean = slope.mean()
    # an activation without linear part has no slope to scale by
    regular = (slope > 0).all() | (slope < 0).all()
    t = jnp.where(regular, slope / jnp.where(regular, mean, 1.0), 1.0)
    strength = measured.train.var.mean(axis=1)
    r = jnp.where(strength.mean() > 0, strength / strength.mean(), 1.0)
    return Scales(slope=t, row=t * jnp.sqrt(r)), mean


class Linear(NamedTuple):
    """The kernel with noisy features, scaled, before landmarks."""

    scales: Scales
    base: Float[Array, " n"]
    features: Float[Array, "n m"]
    weight: Float[Array, "m m"]
    noise: Float[Array, "m m"]
    rest: Float[Array, "n r"]  # mean kernel less base and features, sampled columns
    own_rest: Float[Array, " n"]  # the same of every image and a copy of itself


def linear(
    arch: Architecture,
    measured: Measured,
    s: Float[Array, ""] | float,
    ridge: Float[Array, ""] | float,
) -> Linear:
    """Returns the kernel ntk + s nngp with its noisy features, (L5)-(L7)."""
    train, columns = measured.train, measured.columns
    d, c_w, dtype = train.mean.shape[1], arch.w_var, train.mean.dtype
    scales, slope_k = scales_at(measured, s)
    t, scale = scales.slope, scales.row
    centre = train.mean.mean(axis=0)

    # (L5) features: pixels, first-layer variance, constant
    deviation = (train.q - train.q.mean()) / t
    features = (
        jnp.concatenate(
            [train.mean - centre[None, :], deviation[:, None], 1 / t[:, None]], axis=1
        )
        * (t / scale)[:, None]
    )
    # (L6) covariance of their noise
    pixels = jnp.arange(d)
    cross = c_w / d * train.cov_square.mean(axis=0)
    noise = jnp.zeros((d + 2, d + 2), dtype)
    noise = noise.at[pixels, pixels].set(train.var.mean(axis=0))
    noise = noise.at[:d, d].set(cross).at[d, :d].set(cross)
    noise = noise.at[d, d].set(train.q_var.mean())
    # (L7) W, by blocks
    h = combined(measured.curvature, s)
    h_kk, h_kq, h_qq = h[2, 2], (h[0, 2] + h[1, 2]) / 2, h[0, 1]
    slope_q = combined(measured.slope_q, s)
    along = c_w / d * centre
    weight = jnp.zeros((d + 2, d + 2), dtype)
    weight = weight.at[:d, :d].set(h_kk * along[:, None] * along[None, :])
    weight = weight.at[pixels, pixels].add(slope_k * c_w / d)
    weight = weight.at[:d, d].set(h_kq * along).at[d, :d].set(h_kq * along)
    weight = weight.at[:d, d + 1].set(slope_k * along)
    weight = weight.at[d + 1, :d].set(slope_k * along)
    weight = weight.at[d, d].set(h_qq)
    weight = weight.at[d, d + 1].set(slope_q).at[d + 1, d].set(slope_q)
    # the constant takes up the mean of what the other features leave
    entries = combined(measured.entries, s) / (scale[:, None] * scale[columns][None, :])
    rest = entries - matmul(matmul(features, weight), features[columns].T)
    constant = features[:, -1]
    level = (constant @ (rest @ constant[columns])) / (
        (constant**2).sum() * (constant[columns] ** 2).sum()
    )
    weight = weight.at[d + 1, d + 1].set(level)
    own = combined(measured.own, s)
    return Linear(
        scales=scales,
        base=(combined(measured.diag, s) + ridge - own) / scale**2
        - (weight * noise).sum(),
        features=features,
        weight=weight,
        noise=noise,
        rest=rest - level * constant[:, None] * constant[columns][None, :],
        own_rest=own / scale**2 - (matmul(features, weight) * features).sum(axis=1),
    )


@jax.jit
def rows(
    arch: Architecture,
    measured: Measured,
    y: Float[Array, "n c"],
    basis: Float[Array, "r k"] | None = None,
    *,
    s: Float[Array, ""] | float = 0.0,
    ridge: Float[Array, ""] | float = 0.0,
    copies: Float[Array, ""] | float = 1.0,
) -> tuple[Rows, Scales]:
    """Returns the kernel regression with noisy features, and how its rows are scaled.

    Args:
        arch: the architecture.
        measured: of `measure`.
        y: targets.
        basis: of `theory.landmarks`: what base and features leave of the mean kernel
            enters through the landmarks; None drops it.
        s: of the kernel ntk + s nngp.
        ridge: added to the diagonal of the kernel.
        copies: independently corrupted copies of every image.
    """
    part = linear(arch, measured, s, ridge)
    features, weight, noise = part.features, part.weight, part.noise
    base = part.base
    if basis is not None:
        extra = matmul(part.rest, basis)
        # signs at s = 0; the same combinations at any s keep it smooth
        joined = matmul(basis.T, extra[measured.columns])
        unused = (jnp.abs(basis).sum(axis=0) == 0).astype(y.dtype)
        joined = jnp.linalg.inv((joined + joined.T) / 2 + jnp.diag(unused))
        joined = (joined + joined.T) / 2
        # what landmarks miss stays in the diagonal: own entries are exact
        base = base + part.own_rest - (matmul(extra, joined) * extra).sum(axis=1)
        features = jnp.concatenate([features, extra], axis=1)
        weight = jax.scipy.linalg.block_diag(weight, joined)
        noise = jnp.pad(noise, ((0, basis.shape[1]), (0, basis.shape[1])))
    root = jnp.sqrt(jnp.asarray(copies, y.dtype))
    return Rows(
        base=base,
        mean=root * features,
        weight=weight,
        noise=noise,
        y=root * y / part.scales.row[:, None],
        idle=base,
        idle_count=root**2 - 1,
    ), part.scales


@jax.jit
def diagnose(
    arch: Architecture, measured: Measured, rows: Rows, omega: Float[Array, ""]
) -> dict[str, Float[Array, ""]]:
    """Returns how far the linearised kernel can be trusted, (L9).

    `linearisation_ratio`: spectral radius of what is left out, of second order in the
    noise of two images, over base + omega. `norm_spread`: relative standard deviation
    of the first-layer variance, largest over images. `regular`: whether the slopes of
    all images have one sign.
    """
    train = measured.train
    n, d = train.mean.shape
    entry_var = (arch.w_var / d) ** 2 * (train.var.mean(axis=0) ** 2).sum()
    scales, _ = scales_at(measured, 0.0)
    floor = ((rows.base + omega) * scales.row**2).mean()
    # products of two pixels of noise are again noisy features: Marchenko-Pastur
    remainder = jnp.abs(measured.curvature.ntk[2, 2]) * entry_var
    remainder *= (2 * n) ** 0.5 + n / d
    slope = measured.slope_k.ntk
    return {
        "linearisation_ratio": remainder / floor,
        "norm_spread": (jnp.sqrt(train.q_var) / train.q).max(),
        "regular": (slope > 0).all() | (slope < 0).all(),
    }
