"""Kernel rows of test points in the solved regression.

Equations: docs/theory/linearised.md (L8).
"""

from typing import Any

from jaxtyping import Array, Float

from theory.linearised import kernel_rows
from theory.linearised.entry_noise import Block
from theory.linearised.entry_tables import EntryTables
from theory.linearised.image_moments import image_moments
from theory.numerics.edges import matmul
from theory.regression import flow, responses
from theory.routes.resummed.own_noise import PointNoise
from theory.routes.resummed.solved import Side, Solved


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
