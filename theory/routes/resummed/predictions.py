"""Predictions of the resummed law at test points.

Kernel rows are made block by block and used for both kernels: at s = 0 for mean and
covariance, their derivative in s for the variance of one initialisation.

Equations: docs/theory/linearised.md (L8), docs/theory/one_network.md (L10),
docs/theory/regression.md (E5)-(E10), (E14).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels.propagation import KernelPair
from theory.linearised import entry_noise, mean_kernel
from theory.linearised.entry_noise import Block
from theory.linearised.entry_tables import EntryTables
from theory.linearised.tabulate import tabulate
from theory.numerics import blocks
from theory.numerics.edges import matmul
from theory.regression import responses
from theory.routes.resummed.own_noise import PointNoise, weights
from theory.routes.resummed.point_rows import (
    block_of,
    respond,
    scaled,
    trained_of,
)
from theory.routes.resummed.solved import Side, Solved

# Test points per block.
_BLOCK = 256


def _beyond(solved: Solved, block: Block, side: Side) -> Float[Array, " t"]:
    """(L9) of every test point with itself."""
    return entry_noise.own(solved.arch, solved.measured.train, block, side.s)


def _predict_block(
    solved: Solved,
    own: PointNoise | None,
    tables: EntryTables | None,
    mean: Float[Array, "n m"] | None,
    x: Float[Array, "t d"],
):
    """Mean, covariance and init_var at a block of test points."""
    block, centre = block_of(solved, own, x, tables), solved.centre
    how, trained = trained_of(solved)
    response = respond(solved, block, mean)
    cov, moments = how.covariance(trained, response), how.independent(trained)
    noise = _beyond(solved, block, centre)
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
    left = left_of(solved, prior, slopes)
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
    block: Block,
    number: int,
    response: responses.Responses,
) -> Float[Array, " t"]:
    """Derivative along a direction of the mean of (row) kernel^{-1} (row)^T."""
    at, centre = solved.directions[number], solved.centre
    rows = lambda side: scaled(solved, block, side)
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
    entries = lambda side: side.solution.tau * _beyond(solved, block, side)
    slope = slope + at.of(entries, centre)
    return slope if own is None else slope + of_own(solved, own, block, number)


def of_own(
    solved: Solved, own: PointNoise, block: Block, number: int
) -> Float[Array, " t"]:
    """Derivative of what test points' own noise adds to the norm."""
    at, centre = solved.directions[number], solved.centre
    share = lambda side: weights(own, solved, block.images, block.rows, side)
    moved = own.norms @ at.of(share, centre)
    return moved + own.norm_slopes[number] @ share(centre)


def left_of(solved: Solved, prior: KernelPair, slopes: list[Array]) -> list[Array]:
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
    plain = solved.shared is None and solved.flow is None
    if own is not None or not plain or solved.centre.rotation is not None:
        return None
    slope = solved.centre.scales.slope
    return tabulate(solved.arch, solved.measured.train, slope, x_test)


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
    mean = None
    if tables is not None:  # once, and not for every block
        mean = solved.centre.solution.rows.mean.astype(tables.entries[0].dtype)
    one = lambda x: _predict_block(solved, own, tables, mean, x)
    return blocks.map_rows(one, x_test, _BLOCK)
