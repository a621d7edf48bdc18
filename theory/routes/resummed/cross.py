"""Covariances of the resummed law between test points.

Equations: docs/theory/linearised.md (L8), (L9), docs/theory/regression.md (E5)-(E10).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.linearised import entry_noise, mean_kernel
from theory.linearised.entry_noise import Block
from theory.numerics.edges import matmul
from theory.outputs.covariances import Points, unknown_init_cov
from theory.records import record
from theory.regression import responses
from theory.routes.resummed.own_noise import PointNoise, weights
from theory.routes.resummed.point_rows import block_of, scaled, trained_of
from theory.routes.resummed.predictions import left_of, of_own
from theory.routes.resummed.solved import Side, Solved


@record(kw_only=True)
class ResummedCross:
    """Covariances between test points, see `theory.outputs.CrossCovariance`."""

    solved: Solved
    own: PointNoise | None
    x_test: Float[Array, "n d"]

    def cov(self, a: Points, b: Points) -> Float[Array, "n_a n_b c c"]:
        """Returns Cov(f_i(x_a), f_j(x_b)) over draws."""
        return _cross_cov(self.solved, self.own, *self._found(a, b))

    def init_cov(self, a: Points, b: Points) -> Float[Array, "n_a n_b"]:
        """Returns the covariance that one initialisation adds to every output."""
        if not self.solved.directions or self.solved.shared is not None:
            raise unknown_init_cov()
        return _cross_init_cov(self.solved, self.own, *self._found(a, b))

    def _found(self, a: Points, b: Points) -> tuple[Block, Block, Array]:
        """Kernel rows of both, and which pairs are a point and itself."""
        first, second = jnp.asarray(a), jnp.asarray(b)
        at = functools.partial(_block_at, self.solved, self.own, self.x_test)
        one = at(first)
        two = one if a is b else at(second)
        same = first[:, None] == second[None, :]
        return one, two, same.astype(self.x_test.dtype)


@jax.jit
def _block_at(solved, own, x_test, points) -> Block:
    return block_of(solved, own, x_test[points])


def _beyond(solved: Solved, found: tuple[Block, Block], same: Array, side: Side):
    """(L9) of pairs."""
    train = solved.measured.train
    return entry_noise.of_pairs(solved.arch, train, *found, same, side.s)


@jax.jit
def _cross_cov(
    solved: Solved, own: PointNoise | None, first: Block, second: Block, same: Array
) -> Array:
    side, found = solved.centre, (first, second)
    how, trained = trained_of(solved)
    one, two = (how.respond(trained, *scaled(solved, block, side)) for block in found)
    cov, moments = how.cross_covariance(trained, one, two), how.independent(trained)
    noise = _beyond(solved, found, same, side)
    cov = cov + jnp.einsum("ab,ij->abij", noise, moments)
    if own is None:
        return cov
    # a test point's own noise is independent of that of all others
    share = weights(own, solved, first.images, first.rows, side)
    return cov + jnp.einsum("pa,pij,ab->abij", share, own.moments, same)


@jax.jit
def _cross_init_cov(
    solved: Solved, own: PointNoise | None, first: Block, second: Block, same: Array
) -> Array:
    (at,), found = solved.directions, (first, second)

    def norm(side):
        rows = [scaled(solved, block, side) for block in found]
        noise = side.solution.tau * _beyond(solved, found, same, side)
        return responses.bilinear(side.solution, *rows) + noise

    slope = at.of(norm, solved.centre)
    if at.kernel is not None:
        one, two = (
            responses.respond(
                solved.centre.solution, *scaled(solved, block, solved.centre)
            ).rows
            for block in found
        )
        slope -= matmul(matmul(one, at.kernel), two.T)
    if own is not None:
        slope += of_own(solved, own, first, 0)[:, None] * same
    prior = mean_kernel.of_points(first.images, second.images, same, solved.arch)
    (left,) = left_of(solved, prior, [slope])
    return left
