"""Kernel-sized work in bounded memory: row blocks, symmetric blocks, a memory check.

Block sizes need not divide anything: the last block is moved back so that it fits, and
computes the overlap twice.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from theory.numerics import memory
from theory.numerics.edges import matmul


def starts(n: int, block: int) -> np.ndarray:
    """Returns the first row of each block of size min(block, n) that cover n rows."""
    block = min(block, n)
    return np.minimum(np.arange(math.ceil(n / block)) * block, n - block)


def evenly(n: int, most: int, multiple: int = 16) -> int:
    """Returns rows of the fewest blocks of at most `most` that cover n, nearly alike.

    Multiples of `multiple` where there is room, so that vector instructions are full.
    Else of most + 1 rows the second block would be nearly all repetition.
    """
    most = max(1, most - most % multiple if most > multiple else most)
    alike = math.ceil(n / math.ceil(n / most))
    return min(n, most, math.ceil(alike / multiple) * multiple)


def map_rows(fn: Callable[[PyTree], PyTree], x: PyTree, block: int) -> PyTree:
    """Returns `fn` of the rows of `x`, one block of rows at a time.

    Args:
        fn: maps arrays (b, ...) to any pytree of arrays with b rows; traced once.
        x: the rows, an array or a pytree of arrays of one length.
        block: rows per block.

    Returns:
        The pytree, with n rows.
    """
    n = jax.tree.leaves(x)[0].shape[0]
    block = min(block, n)
    first = starts(n, block)

    def body(i, out):
        at = jnp.asarray(first)[i]
        rows = fn(
            jax.tree.map(lambda part: jax.lax.dynamic_slice_in_dim(part, at, block), x)
        )
        return jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(
                whole, part, at, axis=0
            ),
            out,
            rows,
        )

    shapes = jax.eval_shape(
        fn,
        jax.tree.map(
            lambda part: jax.ShapeDtypeStruct((block, *part.shape[1:]), part.dtype), x
        ),
    )
    out = jax.tree.map(lambda leaf: jnp.zeros((n, *leaf.shape[1:]), leaf.dtype), shapes)
    return jax.lax.fori_loop(0, len(first), body, out)


def _fill(fn, row_starts, column_starts, shape, again):
    """Writes the blocks `fn(i, j)` at the listed starts, and those of `again`."""
    rows, columns = jnp.asarray(row_starts), jnp.asarray(column_starts)
    count = len(row_starts)
    doubting = fn if again is not None else lambda i, j: (fn(i, j), False)

    def write(out, k, part):
        at = rows[k], columns[k]
        return jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice(whole, part, at), out, part
        )

    def body(k, filled):
        out, doubts = filled
        part, doubt = doubting(rows[k], columns[k])
        return write(out, k, part), doubts.at[k].set(doubt)

    shapes, _ = jax.eval_shape(doubting, *[jax.ShapeDtypeStruct((), rows.dtype)] * 2)
    out = jax.tree.map(lambda leaf: jnp.zeros(shape, leaf.dtype), shapes)
    start = out, jnp.zeros(count, bool)
    out, doubts = jax.lax.fori_loop(0, count, body, start)
    if again is None:
        return out
    # A branch in the first loop would copy every block; here the sure ones cost nothing
    (doubted,) = jnp.nonzero(doubts, size=count)
    redo = lambda k, out: write(
        out, doubted[k], again(rows[doubted[k]], columns[doubted[k]])
    )
    return jax.lax.fori_loop(0, doubts.sum(), redo, out)


def fill(
    fn: Callable[[Array, Array], PyTree],
    n1: int,
    n2: int,
    block: tuple[int, int],
    *,
    again: Callable[[Array, Array], PyTree] | None = None,
) -> PyTree:
    """Returns (n1, n2) matrices from their blocks.

    Args:
        fn: `fn(i, j)` is the pytree of blocks at rows i and columns j, of shape
            (min(block[0], n1), min(block[1], n2)); i and j are traced.
        n1: number of rows.
        n2: number of columns.
        block: rows and columns of the blocks.
        again: as `fn`, and then `fn` returns (blocks, doubt): where it is in doubt,
            what this returns is written in place of its blocks. No reverse-mode
            derivatives then: as many turns of a loop as there are doubts.
    """
    rows, columns = starts(n1, block[0]), starts(n2, block[1])
    row, column = np.meshgrid(rows, columns, indexing="ij")
    return _fill(fn, row.ravel(), column.ravel(), (n1, n2), again)


def fill_upper(
    fn: Callable[[Array, Array], PyTree],
    n: int,
    block: tuple[int, int],
    *,
    again: Callable[[Array, Array], PyTree] | None = None,
) -> PyTree:
    """Returns (n, n) matrices from the blocks that reach the diagonal or lie above it.

    Below the diagonal some entries are computed, others zero: `mirror` next.

    Args:
        fn: as in `fill`, with n1 = n2 = n.
        n: size of the matrices.
        block: rows and columns of the blocks.
        again: as in `fill`.
    """
    rows, columns = starts(n, block[0]), starts(n, block[1])
    row, column = np.meshgrid(rows, columns, indexing="ij")
    reaches = column + min(block[1], n) > row
    return _fill(fn, row[reaches], column[reaches], (n, n), again)


def product(
    fn: Callable[[Array, Array], Float[Array, "b1 b2"]],
    v: Float[Array, "n2 m"],
    n1: int,
    block: tuple[int, int],
) -> Float[Array, "n1 m"]:
    """Returns M v of a matrix M (n1, n2) that is given by its blocks.

    They are never held together: memory is one block.

    Args:
        fn: as in `fill`, a single matrix.
        v: what to multiply.
        n1: number of rows of M.
        block: rows and columns of the blocks.
    """
    rows, columns = (
        jnp.asarray(starts(*sizes)) for sizes in zip((n1, len(v)), block, strict=True)
    )
    height, width = min(block[0], n1), min(block[1], len(v))

    def strip(k, out):
        def add(k2, total):
            at = columns[k2]
            part = jax.lax.dynamic_slice_in_dim(v, at, width)
            # the last block is moved back: what it repeats has been counted
            new = at + jnp.arange(width) >= k2 * width
            part = jnp.where(new[:, None], part, 0)
            return total + matmul(fn(rows[k], at), part)

        start = jnp.zeros((height, v.shape[1]), v.dtype)
        total = jax.lax.fori_loop(0, len(columns), add, start)
        return jax.lax.dynamic_update_slice_in_dim(out, total, rows[k], 0)

    out = jnp.zeros((n1, v.shape[1]), v.dtype)
    return jax.lax.fori_loop(0, len(rows), strip, out)


# Rows of the squares that `mirror` turns over on a processor, where two of them stay in
# the first cache. Of 32, 128 and 256 rows N = 2 000 takes 1.1 to 1.3, 1.0 to 1.1 and
# 1.3 to 1.9 times as long.
_MIRRORED = 64


def _mirrored_rows(itemsize: int) -> int:
    """The same on the default device: an accelerator would start n^2/64^2 kernels."""
    if jax.default_backend() == "cpu":
        return _MIRRORED
    return max(_MIRRORED, math.isqrt(memory.block_bytes() // (2 * itemsize)))


def mirror(
    matrix: Float[Array, "n n"], block: int | None = None
) -> Float[Array, "n n"]:
    """Copies what is above the diagonal below it, block by block.

    Symmetric bit for bit if compiled apart from what made the matrix: fused together,
    an entry and its mirror image are computed twice, and may differ in the last digit.

    Args:
        matrix: what `fill_upper` returns.
        block: rows of the squares that are turned over one by one, of a size for the
            default device if None.
    """
    block = _mirrored_rows(matrix.dtype.itemsize) if block is None else block
    first = starts(matrix.shape[0], block)
    upper = np.triu_indices(len(first))
    row, column = (jnp.asarray(first[index]) for index in upper)
    size = min(block, matrix.shape[0])

    def body(k, whole):
        i, j = row[k], column[k]
        part = jax.lax.dynamic_slice(whole, (i, j), (size, size))
        part = jnp.where(i == j, jnp.triu(part) + jnp.triu(part, 1).T, part.T)
        return jax.lax.dynamic_update_slice(whole, part, (j, i))

    return jax.lax.fori_loop(0, len(row), body, matrix)
