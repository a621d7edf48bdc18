"""Kernel-sized work in bounded memory: row blocks, symmetric blocks, a memory check.

Block sizes need not divide anything: the last block is moved back so that it fits, and
computes the overlap twice.
"""

import math
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from theory.errors import InputError


def available_bytes() -> int | None:
    """Returns the memory free on the default device, None where nothing tells."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def check_memory(needed: int, what: str, way_out: str) -> None:
    """Raises `InputError` if `needed` bytes do not fit, before anything is allocated.

    Args:
        needed: bytes.
        what: what takes them, as the subject of a sentence.
        way_out: what the user can do instead.
    """
    free = available_bytes()
    if free is not None and needed > free:
        raise InputError(
            f"{what} needs {needed / 2**30:.3g} GiB and {free / 2**30:.3g} GiB are "
            f"free: {way_out}."
        )


def starts(n: int, block: int) -> np.ndarray:
    """Returns the first row of each block of size min(block, n) that cover n rows."""
    block = min(block, n)
    return np.minimum(np.arange(math.ceil(n / block)) * block, n - block)


def map_rows(
    fn: Callable[[Float[Array, "b ..."]], PyTree], x: Float[Array, "n ..."], block: int
) -> PyTree:
    """Returns `fn` of the rows of `x`, one block of rows at a time.

    Args:
        fn: maps (b, ...) to any pytree of arrays with b rows; traced once.
        x: the rows.
        block: rows per block.

    Returns:
        The pytree, with n rows.
    """
    block = min(block, x.shape[0])
    first = starts(x.shape[0], block)

    def body(i, out):
        at = jnp.asarray(first)[i]
        rows = fn(jax.lax.dynamic_slice_in_dim(x, at, block))
        return jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(
                whole, part, at, axis=0
            ),
            out,
            rows,
        )

    shapes = jax.eval_shape(fn, jax.ShapeDtypeStruct((block, *x.shape[1:]), x.dtype))
    out = jax.tree.map(
        lambda leaf: jnp.zeros((x.shape[0], *leaf.shape[1:]), leaf.dtype), shapes
    )
    return jax.lax.fori_loop(0, len(first), body, out)


def _fill(fn, row_starts, column_starts, shape, *, mirror):
    """Writes the blocks `fn(i, j)` at the listed starts, and their mirror images."""
    rows, columns = jnp.asarray(row_starts), jnp.asarray(column_starts)

    def body(k, out):
        i, j = rows[k], columns[k]

        def place(whole, part):
            if mirror:
                # A product of a block with itself is symmetric up to rounding only.
                upper = jnp.triu(part) + jnp.triu(part, 1).T
                part = jnp.where(i == j, upper, part)
                whole = jax.lax.dynamic_update_slice(whole, part.T, (j, i))
            return jax.lax.dynamic_update_slice(whole, part, (i, j))

        return jax.tree.map(place, out, fn(i, j))

    shapes = jax.eval_shape(fn, *[jax.ShapeDtypeStruct((), rows.dtype)] * 2)
    out = jax.tree.map(lambda leaf: jnp.zeros(shape, leaf.dtype), shapes)
    return jax.lax.fori_loop(0, len(row_starts), body, out)


def fill(fn: Callable[[Array, Array], PyTree], n1: int, n2: int, block: int) -> PyTree:
    """Returns (n1, n2) matrices from their blocks.

    Args:
        fn: `fn(i, j)` is the pytree of blocks at rows i and columns j, of shape
            (min(block, n1), min(block, n2)); i and j are traced.
        n1: number of rows.
        n2: number of columns.
        block: size of the blocks.
    """
    row, column = np.meshgrid(starts(n1, block), starts(n2, block), indexing="ij")
    return _fill(fn, row.ravel(), column.ravel(), (n1, n2), mirror=False)


def fill_symmetric(fn: Callable[[Array, Array], PyTree], n: int, block: int) -> PyTree:
    """Returns symmetric (n, n) matrices from the blocks on and above the diagonal.

    Symmetric bit for bit: the last block on the diagonal, which may overlap the one
    before, is written last and whole.

    Args:
        fn: `fn(i, j)` is the pytree of (b, b) blocks at rows i and columns j, with
            b = min(block, n); i and j are traced.
        n: size of the matrices.
        block: size of the blocks.
    """
    first = starts(n, block)
    row, column = np.triu_indices(len(first))
    return _fill(fn, first[row], first[column], (n, n), mirror=True)
