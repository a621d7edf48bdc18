"""The kernel of a corrupted training set as mean kernel plus noisy features.

Around its mean, the kernel of one corruption draw is linear in the noise of a training
image, and bilinear in that of two; what lies beyond enters as independent noise of the
entries. `rows` makes of the measured kernel the regression with noisy features that
`theory.regression.equivalent` solves.

Equations: docs/theory/linearised.md (L5)-(L9).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.linearised.features import Features, Scales, features_of, noise_of
from theory.linearised.image_moments import ImageMoments
from theory.linearised.training_kernel import TrainingKernel, combined, of_one_sign
from theory.numerics.edges import matmul, ratio
from theory.regression.equivalent import Rows


def scales_at(
    measured: TrainingKernel, s: Float[Array, "..."] | float
) -> tuple[Scales, Float[Array, ""]]:
    """Returns the scales of the rows for ntk + s nngp, and the mean slope T."""
    slope = combined(measured.slope_k, s)
    mean = slope.mean()
    regular = of_one_sign(slope)
    t = jnp.where(regular, slope / jnp.where(regular, mean, 1.0), 1.0)
    strength = measured.train.var.mean(axis=1)
    r = jnp.where(strength.mean() > 0, strength / strength.mean(), 1.0)
    return Scales(slope=t, root=jnp.sqrt(r)), mean


def remainder(
    noise: Float[Array, "..."], curved: Float[Array, "..."], third: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Covariance of what two kernel entries have beyond their linear parts, (L9).

    Args:
        noise: covariance of their k.
        curved: product of their second derivatives in k.
        third: product of their third derivatives.
    """
    return noise**2 * curved / 2 + noise**3 * third / 6


def noise_of_k(
    arch: Architecture,
    train: ImageMoments,
    one: Float[Array, "t1 d"],
    two: Float[Array, "t2 d"],
) -> Float[Array, "t1 t2"]:
    """Covariance of the k of two test images with one training image, (L9).

    Of what q of the training image leaves of them; a mean over training images.
    """
    unit = (arch.w_var / one.shape[1]) ** 2
    var, cov_square = train.var.mean(axis=0), train.cov_square.mean(axis=0)
    with_q, other_with_q = (unit * matmul(x, cov_square) for x in (one, two))
    return unit * matmul(one * var[None, :], two.T) - ratio(
        with_q[:, None] * other_with_q[None, :], train.q_var.mean()
    )


def _noise_of_pairs(arch: Architecture, train: ImageMoments) -> Float[Array, ""]:
    """Variance of what q1 and q2 leave of k, for a typical pair of training images."""
    mean, var = train.mean.mean(axis=0), train.var.mean(axis=0)
    unit = (arch.w_var / mean.shape[0]) ** 2
    with_q = unit * mean @ train.cov_square.mean(axis=0)
    square = (train.mean**2).mean(axis=0)
    found = unit * ((2 * square + var) * var).sum()
    return found - 2 * ratio(with_q**2, train.q_var.mean())


class Linear(NamedTuple):
    """The kernel with noisy features, scaled, before landmarks."""

    scales: Scales
    base: Float[Array, " n"]
    features: Features
    noise: Float[Array, "m m"]
    entry_noise: Float[Array, ""]
    rest: Float[Array, "n r"]  # mean kernel less base and features, sampled columns
    own_rest: Float[Array, " n"]  # the same of every image and a copy of itself


def linear(
    arch: Architecture,
    measured: TrainingKernel,
    s: Float[Array, "..."] | float,
    ridge: Float[Array, ""] | float,
) -> Linear:
    """Returns the kernel ntk + s nngp with its noisy features, (L5)-(L7)."""
    train, columns = measured.train, measured.columns
    scales, slope_k = scales_at(measured, s)
    scale = scales.row
    features = features_of(arch, measured, scales, slope_k, s)
    noise = noise_of(arch, train, measured.tilt)
    # the constant takes up the mean of what the other features leave
    entries = combined(measured.entries, s) / (scale[:, None] * scale[columns][None, :])
    rest = entries - features.kernel(columns)
    constant = features.others[:, -1]
    level = (constant @ (rest @ constant[columns])) / (
        (constant**2).sum() * (constant[columns] ** 2).sum()
    )
    of_others = features.of_others.at[-1, -1].set(level)
    features = features._replace(of_others=of_others)
    own = combined(measured.own, s)
    return Linear(
        scales=scales,
        base=(combined(measured.diag, s) + ridge - own) / scale**2
        - (features.weight() * noise).sum(),
        features=features,
        noise=noise,
        entry_noise=remainder(
            _noise_of_pairs(arch, train),
            combined(measured.curved, s) ** 2,
            combined(measured.third, s) ** 2,
        ),
        rest=rest - level * constant[:, None] * constant[columns][None, :],
        own_rest=own / scale**2 - features.own(),
    )


@jax.jit
def rows(
    arch: Architecture,
    measured: TrainingKernel,
    y: Float[Array, "n c"],
    basis: Float[Array, "r k"] | None = None,
    *,
    s: Float[Array, "..."] | float = 0.0,
    ridge: Float[Array, ""] | float = 0.0,
    copies: Float[Array, ""] | float = 1.0,
) -> tuple[Rows, Scales]:
    """Returns the kernel regression with noisy features, and how its rows are scaled.

    Args:
        arch: the architecture.
        measured: of `measure`.
        y: targets.
        basis: of `theory.linearised.landmarks`: what base and features leave of the
            mean kernel enters through the landmarks; None drops it.
        s: of the kernel ntk + s nngp.
        ridge: added to the diagonal of the kernel.
        copies: independently corrupted copies of every image.
    """
    part = linear(arch, measured, s, ridge)
    weight, noise = part.features.weight(), part.noise
    features = part.features.values()
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
    # mean of the exponential of -tilt
    tilt = measured.tilt.along(measured.train.q_var)
    typical = jnp.exp(tilt**2 * measured.train.q_var / 2)
    return Rows(
        base=base,
        mean=root * features,
        weight=weight,
        noise=noise,
        y=root * y * (typical / part.scales.row)[:, None],
        idle=base,
        idle_count=root**2 - 1,
        entry_noise=part.entry_noise,
    ), part.scales


@jax.jit
def diagnose(
    arch: Architecture, measured: TrainingKernel, rows: Rows, omega: Float[Array, ""]
) -> dict[str, Float[Array, ""]]:
    """Returns how far the linearised kernel can be trusted, (L9).

    `linearisation_ratio`: spectral radius of what is not linear in the noise of the
    images, over base + omega. `norm_spread`: relative standard deviation
    of the first-layer variance, largest over images. `regular`: whether the slopes of
    all images have one sign.
    """
    train = measured.train
    n, d = train.mean.shape
    # independent noise of the entries, and what they share: products of two pixels of
    # noise are again noisy features (Marchenko-Pastur)
    shared = jnp.abs(measured.curved.ntk) * _noise_of_pairs(arch, train)
    left = 2 * jnp.sqrt(n * rows.entry_noise) + shared * n / d
    return {
        "linearisation_ratio": left / (rows.base + omega).mean(),
        "norm_spread": (jnp.sqrt(train.q_var) / train.q).max(),
        "regular": of_one_sign(measured.slope_k.ntk),
    }
