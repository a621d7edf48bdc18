"""The engine of the kernels: blocks of entries, filled in, multiplied, or split.

A block is one product in the first layer, and the whole recursion of its entries.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from theory.kernels.nearly_parallel import (
    first_layer_gap,
    has_doubts,
    propagate_doubting,
    propagate_near,
)
from theory.kernels.propagation import (
    KernelPair,
    first_layer_covariance,
    first_layer_variance,
    propagate_diag,
)
from theory.numerics import blocks, devices, memory

# Arrays of a block in use at once, of both kernels and of the dual.
_HELD = 4


def block(n1: int, n2: int, itemsize: int, *, own: bool = False) -> tuple[int, int]:
    """Returns rows and columns per block of a kernel, on the default device.

    Twice as many columns as rows, as many as `memory.block_bytes` holds: 256 x 512 in
    float64 where caches hold 4 MB. Of points with themselves blocks of h rows compute
    h/n of the matrix for nothing, and small ones cost a hand-over of threads each: h =
    6 sqrt(n) is best there on two cores, not less than half of the above, where
    products slow down.

    Args:
        n1: rows of the kernel.
        n2: columns.
        itemsize: bytes of a number.
        own: whether half of the blocks is enough, of points with themselves.
    """
    rows = max(1, math.isqrt(memory.block_bytes() // (2 * _HELD * itemsize)))
    if own:
        rows = min(rows, max(rows // 2, round(6 * n1**0.5)))
    return blocks.evenly(n1, rows), blocks.evenly(n2, 2 * rows)


def kept(pair: KernelPair, kinds: tuple[str, ...]) -> dict[str, Array]:
    """The kernels named in `kinds`."""
    return {kind: getattr(pair, kind) for kind in kinds}


class Tile(NamedTuple):
    """The blocks of a kernel: functions (i, j) -> kernels, of x1 at i with x2 at j.

    Attributes:
        doubting: fast, and with it whether digits of any entry are lost;
        again: all digits, at several times the cost, or None if none are ever lost;
        surely: all digits: `again` where that is needed. With derivatives.
        block: their rows and columns.
    """

    doubting: Callable[[Array, Array], tuple[dict[str, Array], Bool[Array, ""]]]
    again: Callable[[Array, Array], dict[str, Array]] | None
    surely: Callable[[Array, Array], dict[str, Array]]
    block: tuple[int, int]


def tile(x1, x2, arch, kinds, rows=None, *, own=False) -> Tile:
    """The blocks of the kernels of two sets of points.

    `rows` says which points of x2 those of x1 are: their entries are exact then. With
    `own` they are the same, row by row, and the entries of a point with itself are
    anything.
    """

    height, width = size = block(len(x1), len(x2), x1.dtype.itemsize, own=own)

    def part(x, start, block):
        return jax.lax.dynamic_slice_in_dim(x, start, min(block, x.shape[0]))

    def first_layer(i, j):
        at_rows, at_columns = part(x1, i, height), part(x2, j, width)
        q1, q2 = (first_layer_variance(x, arch) for x in (at_rows, at_columns))
        cov = first_layer_covariance(at_rows, at_columns, arch)
        numbers = part(rows, i, height) if rows is not None else i + jnp.arange(len(q1))
        twins = numbers[:, None] == j + jnp.arange(len(q2))[None, :]
        if own or rows is not None:
            cov = jnp.where(twins, 0.0, cov)  # not parallel, as they would be
        return (q1[:, None], q2[None, :], cov), twins

    def finish(pair, first, twins):
        if rows is not None:
            diag = propagate_diag(first[0][:, 0], arch)
            exact = lambda entry, diag: jnp.where(twins, diag[:, None], entry)
            pair = jax.tree.map(exact, pair, diag)
        return kept(pair, kinds)

    def doubting(i, j):
        first, twins = first_layer(i, j)
        pair, doubt = propagate_doubting(*first, arch)
        return finish(pair, first, twins), doubt

    def again(i, j):
        first, twins = first_layer(i, j)
        gap = first_layer_gap(part(x1, i, height), part(x2, j, width), arch)
        return finish(propagate_near(*first, arch, gap), first, twins)

    def surely(i, j):
        found, doubt = doubting(i, j)
        if not has_doubts(arch):
            return found
        return jax.lax.cond(doubt, lambda: again(i, j), lambda: found)

    return Tile(doubting, again if has_doubts(arch) else None, surely, size)


def _differentiable(fn):
    """fn(*given, kinds=, surely=False), with the derivatives of surely=True.

    The loop over blocks in doubt is as long as the data say, and reverse mode cannot
    turn it back; a program that branches at every block it can.
    """

    @functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
    def found(given, kinds):
        return fn(*given, kinds=kinds, surely=False)

    @found.defjvp
    def _(kinds, given, changes):
        return jax.jvp(lambda at: fn(*at, kinds=kinds, surely=True), given, changes)

    return functools.wraps(fn)(lambda *given, kinds: found(given, kinds))


def _fill(at: Tile, fill, *sizes, surely):
    if surely or at.again is None:
        return fill(at.surely, *sizes, at.block)
    return fill(at.doubting, *sizes, at.block, again=at.again)


@_differentiable
def entries(x1, rows, x2, arch, *, kinds, surely):
    """All entries of the kernels named, (n1, n2), for `run`."""
    at = tile(x1, x2, arch, kinds, rows)
    return _fill(at, blocks.fill, len(x1), len(x2), surely=surely)


@_differentiable
def upper_entries(x, arch, *, kinds, surely):
    """Those of a set of points with itself, right above the diagonal alone."""
    at = tile(x, x, arch, kinds, own=True)
    return _fill(at, blocks.fill_upper, len(x), surely=surely)


def times(x1, rows, x2, arch, v, *, kinds):
    """The kernel times v, (n1, m), for `run`."""
    at = tile(x1, x2, arch, kinds, rows)
    of = lambda i, j: at.surely(i, j)[kinds[0]]
    return blocks.product(of, v, len(x1), at.block)


@functools.partial(jax.jit, static_argnames=("fn", "kinds", "mesh"))
def run(fn, x1, rows, *rest, kinds, mesh):
    """`fn`, which has a row for each of x1, over the devices of a mesh if given."""
    fn = functools.partial(fn, kinds=kinds)
    if mesh is not None:
        fn = devices.over_devices(fn, mesh, 2, len(rest))
    return fn(x1, rows, *rest)
