"""Kernel rows of test points in the solved regression, and their noise.

Equations: docs/theory/linearised.md (L8)-(L9).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.linearised import kernel_rows, linearise
from theory.linearised.entry_tables import EntryTables
from theory.linearised.image_moments import ImageMoments, image_moments
from theory.linearised.training_kernel import combined
from theory.numerics.edges import matmul
from theory.regression import flow, responses
from theory.routes.resummed.own_noise import PointNoise
from theory.routes.resummed.solved import Side, Solved


class Block(NamedTuple):
    """Kernel rows of a block of test points, for both kernels."""

    images: ImageMoments
    rows: kernel_rows.KernelRows


def block_of(
    solved: Solved,
    noise: PointNoise | None,
    x: Float[Array, "t d"],
    tables: EntryTables | None = None,
) -> Block:
    """Returns the kernel rows of points; `noise` is their own, None if clean."""
    test = image_moments(x, solved.arch, None if noise is None else noise.corruption)
    rows = lambda arch: kernel_rows.kernel_rows(arch, solved.measured, test, tables)
    return Block(test, solved.kernels(rows))


def scaled(solved: Solved, block: Block, side: Side) -> tuple[Array, Array]:
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
    return scaled(solved, block_of(solved, None, x), side)


def entry_noise(
    solved: Solved, block: Block, other: Block, same: Array, side: Side
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


def own_entry_noise(solved: Solved, block: Block, side: Side) -> Float[Array, " t"]:
    """`_entry_noise` of every test point with itself."""

    def one(point):
        alone = jax.tree.map(lambda leaf: leaf[None], point)
        same = jnp.ones((1, 1), solved.copies.dtype)
        return entry_noise(solved, alone, alone, same, side)[0, 0]

    return jax.vmap(one)(block)


def trained_of(solved: Solved) -> tuple[Any, Any]:
    """The regression trained to the end or for a time, and the module that knows it."""
    if solved.flow is None:
        return responses, solved.centre.solution
    return flow, solved.flow


def respond(solved: Solved, block: Block, mean: Array | None):
    """Mean and duals at a block; `mean` features in the precision of its entries."""
    how, trained = trained_of(solved)
    g, w = scaled(solved, block, solved.centre)
    if mean is None:
        return how.respond(trained, g, w)
    beyond, along = kernel_rows.apart(
        solved.arch,
        solved.measured,
        solved.centre.scales,
        block.images,
        block.rows,
        features=w.shape[1],
        copies=solved.copies,
    )
    return responses.respond(trained, beyond, w, responses.Apart(along, mean))
