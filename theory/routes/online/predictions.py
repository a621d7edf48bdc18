"""Outputs of networks trained on a stream, at test points clean or corrupted.

Equations: docs/theory/online.md (O3)-(O8).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.corruption.base import Corruption
from theory.linearised import entry_noise, kernel_rows, mean_kernel
from theory.linearised.entry_noise import Block
from theory.linearised.image_moments import ImageMoments, image_moments
from theory.numerics import blocks
from theory.numerics.edges import matmul
from theory.outputs.covariances import Points
from theory.records import record
from theory.regression import gradient_noise, online
from theory.routes.online.training import Trained, Weights, weights

# Test points per block.
_BLOCK = 256


@record(kw_only=True)
class PointNoise:
    """What the noise of corrupted test points adds, for the parts of its law, (O8).

    Attributes:
        corruption: of the test points.
        strength: their mean variance of a pixel, which the rest is for.
        cov: second moments of the outputs.
        init_var: what one initialisation adds.
        init_slope: the same, to be multiplied by the slope of the weights of parts.
    """

    corruption: Corruption
    strength: Float[Array, ""]
    cov: Float[Array, "3 c c"]
    init_var: Float[Array, "3"]
    init_slope: Float[Array, "3"]


@jax.jit
def point_noise(
    trained: Trained, corruption: Corruption, test: ImageMoments
) -> PointNoise:
    """Returns what the mean noise of the images `test` adds."""
    flow, of, time = trained.flow, trained.history, trained.time
    m = flow.back.shape[0]
    parts = kernel_rows.own_noise(trained.arch, trained.measured, test, features=m)
    out, epoch = online.readout(flow, time), time / trained.epochs
    found = []
    for part in parts:
        cov, kept = gradient_noise.of_random(
            flow, of, matmul(flow.back.T, matmul(part, flow.back))
        )
        none = jnp.zeros_like(part)
        left, moved = (
            online.random_start_left(flow, trained.start, time, *pair)
            for pair in ((part, none), (none, part))
        )
        cov = matmul(out.T, matmul(part, out)) + epoch * cov
        found.append((cov, left + epoch * kept, moved))
    cov, init_var, init_slope = (jnp.stack(each) for each in zip(*found, strict=True))
    strength = test.var.mean()
    return PointNoise(
        corruption=corruption,
        strength=strength,
        cov=cov,
        init_var=init_var,
        init_slope=init_slope,
    )


class Seen(NamedTuple):
    """Test points as the training sees them."""

    block: Block
    weights: Weights


def seen(trained: Trained, own: PointNoise | None, x: Float[Array, "t d"]) -> Seen:
    """Returns kernel rows with landmarks, and the weights that they make."""
    test = image_moments(x, trained.arch, None if own is None else own.corruption)
    rows = kernel_rows.kernel_rows(trained.arch, trained.measured, test)
    return Seen(Block(test, rows), weights(trained, test, rows))


def _shares(
    trained: Trained, own: PointNoise, block: Block
) -> tuple[Float[Array, "3 t"], Float[Array, "3 t"]]:
    """Weights of the parts of the noise of every test point, and their slopes."""
    strength = block.images.var.mean(axis=1) / own.strength

    def at(frame):
        return strength[None, :] * kernel_rows.own_noise_weights(
            trained.measured, frame.scales, block.rows, frame.s
        )

    return jax.jvp(at, (trained.frame,), (trained.frame_slope,))


def _predict_block(trained: Trained, own: PointNoise | None, x: Float[Array, "t d"]):
    """Mean, covariance and init_var at a block of test points."""
    flow, time = trained.flow, trained.time
    epoch, (block, at) = time / trained.epochs, seen(trained, own, x)
    mean = matmul(at.at, online.readout(flow, time))
    cov, kept = gradient_noise.own(flow, trained.history, matmul(at.at, flow.back))
    beyond = entry_noise.own(
        trained.arch, trained.measured.train, block, trained.frame.s
    )
    cov = epoch * (cov + beyond[:, None, None] * trained.noise_of_entries[None])
    init_var = mean_kernel.mean_diag(block.images, trained.arch).nngp
    init_var += online.start_left(flow, trained.start, time, at)
    init_var += epoch * (kept + beyond * trained.noise_of_start)
    if own is not None:
        share, moved = _shares(trained, own, block)
        cov = cov + jnp.einsum("pt,pij->tij", share, own.cov)
        init_var += own.init_var @ share + own.init_slope @ moved
    return mean, cov, init_var


@jax.jit
def predict(
    trained: Trained, own: PointNoise | None, x_test: Float[Array, "n d"]
) -> tuple[Float[Array, "n c"], Float[Array, "n c c"], Float[Array, " n"]]:
    """Returns mean, covariance and `init_var` at test points."""
    one = lambda x: _predict_block(trained, own, x)
    return blocks.map_rows(one, x_test, _BLOCK)


@record(kw_only=True)
class OnlineCross:
    """Covariances between test points, see `theory.outputs.CrossCovariance`."""

    trained: Trained
    own: PointNoise | None
    x_test: Float[Array, "n d"]

    def cov(self, a: Points, b: Points) -> Float[Array, "n_a n_b c c"]:
        """Returns Cov(f_i(x_a), f_j(x_b)) over draws."""
        return _cross(self, jnp.asarray(a), jnp.asarray(b))[0]

    def init_cov(self, a: Points, b: Points) -> Float[Array, "n_a n_b"]:
        """Returns the covariance that one initialisation adds to every output."""
        return _cross(self, jnp.asarray(a), jnp.asarray(b))[1]


@jax.jit
def _cross(of: OnlineCross, a: Array, b: Array) -> tuple[Array, Array]:
    """Covariances of pairs of test points, over draws and of one initialisation."""
    trained, own, flow = of.trained, of.own, of.trained.flow
    epoch = trained.time / trained.epochs
    (one, at_one), (two, at_two) = (
        seen(trained, own, of.x_test[each]) for each in (a, b)
    )
    same = (a[:, None] == b[None, :]).astype(of.x_test.dtype)
    cov, kept = gradient_noise.of_pairs(
        flow,
        trained.history,
        matmul(at_one.at, flow.back),
        matmul(at_two.at, flow.back),
    )
    beyond = entry_noise.of_pairs(
        trained.arch, trained.measured.train, one, two, same, trained.frame.s
    )
    cov = epoch * (
        cov + beyond[:, :, None, None] * trained.noise_of_entries[None, None]
    )
    left = mean_kernel.of_points(one.images, two.images, same, trained.arch).nngp
    left += online.start_left(flow, trained.start, trained.time, at_one, at_two)
    left += epoch * (kept + beyond * trained.noise_of_start)
    if own is not None:
        share, moved = _shares(trained, own, one)
        cov = cov + jnp.einsum("pa,pij,ab->abij", share, own.cov, same)
        left += (own.init_var @ share + own.init_slope @ moved)[:, None] * same
    return cov, left
