"""Noisy features of corrupted images, their weights and the covariance of their noise.

Equations: docs/theory/linearised.md (L5)-(L7).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.linearised.image_moments import ImageMoments, Tilt
from theory.linearised.training_kernel import TrainingKernel, combined
from theory.numerics.edges import matmul
from theory.records import record


@record(kw_only=True)
class Scales:
    """How rows are scaled: slopes to t_a, noise to sqrt(r_a).

    Attributes:
        slope: t_a, slope of an image's entries over the mean slope.
        root: sqrt(r_a).
    """

    slope: Float[Array, " n"]
    root: Float[Array, " n"]

    @property
    def row(self) -> Float[Array, " n"]:
        """By which rows, columns and targets are divided."""
        return self.slope * self.root


class Features(NamedTuple):
    """Features of every image, (L5), and W, (L7): pixels apart, which no s moves.

    Attributes:
        pixels: less those of the mean image, over the root of the strength.
        others: along the mean image, first-layer variance, constant.
        of_pixels: what W has on the diagonal of the pixels.
        of_others: W of the others.
        along: the direction of the mean image.
    """

    pixels: Float[Array, "n d"]
    others: Float[Array, "n 3"]
    of_pixels: Float[Array, ""]
    of_others: Float[Array, "3 3"]
    along: Float[Array, " d"]

    def values(self) -> Float[Array, "n m"]:
        """Returns features of every image: pixels, first-layer variance, constant."""
        return jnp.concatenate([self.pixels, self.others[:, 1:]], axis=1)

    def weight(self) -> Float[Array, "m m"]:
        """Returns W."""
        d = len(self.along)
        outer = jnp.zeros((d + 2, 3), self.along.dtype)
        outer = outer.at[:d, 0].set(self.along).at[d, 1].set(1.0).at[d + 1, 2].set(1.0)
        weight = matmul(matmul(outer, self.of_others), outer.T)
        return weight.at[jnp.arange(d), jnp.arange(d)].add(self.of_pixels)

    def kernel(self, columns: Array) -> Float[Array, "n r"]:
        """Returns features W features^T for some columns, n r d multiply-adds."""
        pixels = matmul(self.pixels, self.pixels[columns].T)
        others = matmul(matmul(self.others, self.of_others), self.others[columns].T)
        return self.of_pixels * pixels + others

    def own(self) -> Float[Array, " n"]:
        """Returns the same of every image with itself."""
        others = (matmul(self.others, self.of_others) * self.others).sum(axis=1)
        return self.of_pixels * (self.pixels**2).sum(axis=1) + others


def along(arch: Architecture, train: ImageMoments) -> Float[Array, " d"]:
    """Returns the direction of the mean image, by which pixels change a covariance."""
    return arch.w_var / train.mean.shape[1] * train.mean.mean(axis=0)


def features_of(
    arch: Architecture,
    measured: TrainingKernel,
    scales: Scales,
    slope_k: Float[Array, ""],
    s: Float[Array, "..."] | float,
) -> Features:
    """Returns the features, and W by blocks but for the constant's own entry."""
    train, direction = measured.train, along(arch, measured.train)
    # t_a over t_a sqrt(r_a), the same at any s
    pixels = (train.mean - train.mean.mean(axis=0)[None, :]) / scales.root[:, None]
    deviation = (train.q - train.q.mean()) / scales.row
    h = combined(measured.curvature, s)
    h_kk, h_kq, h_qq = h[2, 2], (h[0, 2] + h[1, 2]) / 2, h[0, 1]
    slope_q, zero = combined(measured.slope_q, s), jnp.zeros_like(h_kk)
    return Features(
        pixels=pixels,
        others=jnp.stack(
            [matmul(pixels, direction), deviation, 1 / scales.row], axis=1
        ),
        of_pixels=slope_k * arch.w_var / train.mean.shape[1],
        of_others=jnp.array(
            [[h_kk, h_kq, slope_k], [h_kq, h_qq, slope_q], [slope_k, slope_q, zero]]
        ),
        along=direction,
    )


def noise_of(
    arch: Architecture, train: ImageMoments, tilt: Tilt
) -> Float[Array, "m m"]:
    """Returns the covariance of the noise of the features, (L6)."""
    d = train.mean.shape[1]
    pixels = jnp.arange(d)
    cross = arch.w_var / d * train.cov_square.mean(axis=0)
    noise = jnp.zeros((d + 2, d + 2), train.mean.dtype)
    noise = noise.at[pixels, pixels].set(train.var.mean(axis=0))
    noise = noise.at[:d, d].set(cross).at[d, :d].set(cross)
    noise = noise.at[d, d].set(train.q_var.mean())
    # the constant has the noise of the tilt, linear in that of pixels and q
    by_pixels = tilt.by_k.mean() * along(arch, train)
    by = jnp.concatenate([by_pixels, tilt.by_q.mean()[None]])
    on_tilt = -matmul(noise[:-1, :-1], by)
    noise = noise.at[-1, :-1].set(on_tilt).at[:-1, -1].set(on_tilt)
    return noise.at[-1, -1].set(-(on_tilt @ by))
