"""Predictions of the resummed law at test points, and the covariances between them.

Kernel rows are made block by block and used for both kernels: at s = 0 for mean and
covariance, their derivative in s for the variance of one initialisation.

Equations: docs/theory/linearised.md (L8), docs/theory/one_network.md (L10),
docs/theory/regression.md (E5)-(E10), (E14).
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels import propagation
from theory.kernels.propagation import KernelPair
from theory.linearised import kernel_rows, linearise, mean_kernel
from theory.linearised.entry_tables import EntryTables
from theory.linearised.image_moments import ImageMoments, image_moments
from theory.linearised.tabulate import tabulate
from theory.linearised.training_kernel import combined
from theory.numerics import blocks
from theory.numerics.edges import matmul
from theory.outputs.covariances import Points, unknown_init_cov
from theory.records import record
from theory.regression import flow, responses
from theory.routes.resummed.own_noise import PointNoise, weights
from theory.routes.resummed.solved import Side, Solved

# Test points per block.
_BLOCK = 256


class _Block(NamedTuple):
    """Kernel rows of a block of test points, for both kernels."""

    images: ImageMoments
    rows: kernel_rows.KernelRows


def _block(
    solved: Solved,
    noise: PointNoise | None,
    x: Float[Array, "t d"],
    tables: EntryTables | None = None,
) -> _Block:
    test = image_moments(x, solved.arch, None if noise is None else noise.corruption)
    rows = lambda arch: kernel_rows.kernel_rows(arch, solved.measured, test, tables)
    return _Block(test, solved.kernels(rows))


def _scaled(solved: Solved, block: _Block, side: Side) -> tuple[Array, Array]:
    """Rows g and weights w of the block in the regression of one side."""
    g, w = kernel_rows.scaled(
        solved.arch,
        solved.measured,
        side.scales,
        block.images,
        block.rows,
        side.s,
        features=side.solution.lam.shape[0],
        copies=solved.copies,
    )
    return g if side.rotation is None else matmul(g, side.rotation), w


def rows_at(solved: Solved, x: Float[Array, "t d"], side: Side) -> tuple[Array, Array]:
    """Returns kernel rows g of clean points, and weights w of the noise in them."""
    return _scaled(solved, _block(solved, None, x), side)


def _entry_noise(
    solved: Solved, block: _Block, other: _Block, same: Array, side: Side
) -> Float[Array, "t1 t2"]:
    """Covariance of entries of test points beyond their linear parts, (L9).

    `same` is one for pairs of a point and itself, which share its own noise too.
    """
    one, two, train = block.images, other.images, solved.measured.train
    unit = (solved.arch.w_var / one.mean.shape[1]) ** 2
    noise = linearise.noise_of_k(solved.arch, train, one.mean, two.mean)
    noise = noise + same * (unit * (one.var @ train.var.mean(axis=0)))[:, None]
    (curved, third), (curved_2, third_2) = (
        [combined(part, side.s) for part in (of.rows.curved, of.rows.third)]
        for of in (block, other)
    )
    return linearise.remainder(
        noise,
        curved[:, None] * curved_2[None, :],
        third[:, None] * third_2[None, :],
    )


def _own_entry_noise(solved: Solved, block: _Block, side: Side) -> Float[Array, " t"]:
    """`_entry_noise` of every test point with itself."""

    def one(point):
        alone = jax.tree.map(lambda leaf: leaf[None], point)
        same = jnp.ones((1, 1), solved.copies.dtype)
        return _entry_noise(solved, alone, alone, same, side)[0, 0]

    return jax.vmap(one)(block)


def _trained(solved: Solved) -> tuple[Any, Any]:
    """The regression trained to the end or for a time, and the module that knows it."""
    if solved.flow is None:
        return responses, solved.centre.solution
    return flow, solved.flow


def _predict_block(
    solved: Solved,
    own: PointNoise | None,
    tables: EntryTables | None,
    x: Float[Array, "t d"],
):
    """Mean, covariance and init_var at a block of test points."""
    block, centre = _block(solved, own, x, tables), solved.centre
    how, trained = _trained(solved)
    response = how.respond(trained, *_scaled(solved, block, centre))
    cov, moments = how.covariance(trained, response), how.independent(trained)
    noise = _own_entry_noise(solved, block, centre)
    cov = cov + jnp.einsum("t,ij->tij", noise, moments)
    if own is not None:
        share = weights(own, solved, block.images, block.rows, centre)
        cov = cov + jnp.einsum("pt,pij->tij", share, own.moments)
    if not solved.directions:
        return response.mean, cov, None, None
    # (L10) variance of one initialisation: prior less the derivative of the norm in s
    slopes = [
        _norm_slope(solved, own, block, number, response)
        for number in range(len(solved.directions))
    ]
    prior = solved.kernels(lambda arch: mean_kernel.mean_diag(block.images, arch))
    left = _left(solved, prior, slopes)
    init_var = sum(
        each.weight * part for each, part in zip(solved.directions, left, strict=True)
    )
    if solved.shared is None:
        return response.mean, cov, init_var, None
    by_targets = solved.shared.by_targets
    hidden = jnp.stack(left[: len(by_targets)])  # the last may be the constant
    kernel_cov = jnp.einsum("lt,lij->tij", hidden, by_targets)
    return response.mean, cov, init_var, kernel_cov


def _norm_slope(
    solved: Solved,
    own: PointNoise | None,
    block: _Block,
    number: int,
    response: responses.Responses,
) -> Float[Array, " t"]:
    """Derivative along a direction of the mean of (row) kernel^{-1} (row)^T."""
    at, centre = solved.directions[number], solved.centre
    rows = lambda side: _scaled(solved, block, side)
    slope = responses.quadratic_slope(
        centre.solution,
        at.slope.solution,
        response,
        rows(centre)[1],
        at.of(rows, centre),
        still=0 if centre.rotation is not None else block.images.mean.shape[1],
    )
    if at.kernel is not None:
        slope -= (matmul(response.rows, at.kernel) * response.rows).sum(axis=1)
    entries = lambda side: side.solution.tau * _own_entry_noise(solved, block, side)
    slope = slope + at.of(entries, centre)
    return slope if own is None else slope + _of_own(solved, own, block, number)


def _of_own(
    solved: Solved, own: PointNoise, block: _Block, number: int
) -> Float[Array, " t"]:
    """Derivative of what test points' own noise adds to the norm."""
    at, centre = solved.directions[number], solved.centre
    share = lambda side: weights(own, solved, block.images, block.rows, side)
    moved = own.norms @ at.of(share, centre)
    return moved + own.norm_slopes[number] @ share(centre)


def _left(solved: Solved, prior: KernelPair, slopes: list[Array]) -> list[Array]:
    """What training leaves of the kernel of every direction, (L10).

    Args:
        solved: the training.
        prior: kernels of the points.
        slopes: derivatives of the mean of (row) kernel^{-1} (row)^T along each of
            `solved.directions`.
    """
    return [
        each.of_start(prior) - slope
        for each, slope in zip(solved.directions, slopes, strict=True)
    ]


def tables_for(
    solved: Solved, own: PointNoise | None, x_test: Float[Array, "n d"]
) -> EntryTables | None:
    """Returns what kernel rows of many points are interpolated from, None for few."""
    if own is not None or solved.shared is not None:
        return None
    return tabulate(solved.arch, solved.measured.train, x_test)


@jax.jit
def predict(
    solved: Solved,
    own: PointNoise | None,
    tables: EntryTables | None,
    x_test: Float[Array, "n d"],
) -> tuple[
    Float[Array, "n c"],
    Float[Array, "n c c"],
    Float[Array, " n"] | None,
    Float[Array, "n c c"] | None,
]:
    """Returns mean, covariance, `init_var` and `kernel_cov` at test points.

    The latter two None without directions, and `kernel_cov` at infinite width.
    """
    one = lambda x: _predict_block(solved, own, tables, x)
    return blocks.map_rows(one, x_test, _BLOCK)


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

    def _found(self, a: Points, b: Points) -> tuple[_Block, _Block, Array]:
        """Kernel rows of both, and which pairs are a point and itself."""
        first, second = jnp.asarray(a), jnp.asarray(b)
        at = functools.partial(_block_at, self.solved, self.own, self.x_test)
        one = at(first)
        two = one if a is b else at(second)
        same = first[:, None] == second[None, :]
        return one, two, same.astype(self.x_test.dtype)


@jax.jit
def _block_at(solved, own, x_test, points) -> _Block:
    return _block(solved, own, x_test[points])


@jax.jit
def _cross_cov(
    solved: Solved, own: PointNoise | None, first: _Block, second: _Block, same: Array
) -> Array:
    side, found = solved.centre, (first, second)
    how, trained = _trained(solved)
    one, two = (how.respond(trained, *_scaled(solved, block, side)) for block in found)
    cov, moments = how.cross_covariance(trained, one, two), how.independent(trained)
    noise = _entry_noise(solved, *found, same, side)
    cov = cov + jnp.einsum("ab,ij->abij", noise, moments)
    if own is None:
        return cov
    # a test point's own noise is independent of that of all others
    share = weights(own, solved, first.images, first.rows, side)
    return cov + jnp.einsum("pa,pij,ab->abij", share, own.moments, same)


@jax.jit
def _cross_init_cov(
    solved: Solved, own: PointNoise | None, first: _Block, second: _Block, same: Array
) -> Array:
    (at,), found = solved.directions, (first, second)

    def norm(side):
        rows = [_scaled(solved, block, side) for block in found]
        noise = side.solution.tau * _entry_noise(solved, *found, same, side)
        return responses.bilinear(side.solution, *rows) + noise

    slope = at.of(norm, solved.centre)
    if at.kernel is not None:
        one, two = (
            responses.respond(
                solved.centre.solution, *_scaled(solved, block, solved.centre)
            ).rows
            for block in found
        )
        slope -= matmul(matmul(one, at.kernel), two.T)
    if own is not None:
        slope += _of_own(solved, own, first, 0)[:, None] * same
    one, two = first.images, second.images
    if own is None:
        q1, q2 = one.q[:, None], two.q[None, :]
        cov = propagation.first_layer_covariance(one.mean, two.mean, solved.arch)
        prior = propagation.propagate(q1, q2, cov, solved.arch)
    else:
        prior = mean_kernel.mean_kernel(one, two, solved.arch)
    diagonal = mean_kernel.mean_diag(one, solved.arch)
    nngp = jnp.where(same > 0, diagonal.nngp[:, None], prior.nngp)
    (left,) = _left(solved, dataclasses.replace(prior, nngp=nngp), [slope])
    return left
