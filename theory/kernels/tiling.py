"""The engine of the kernels: blocks of entries, filled in, multiplied, or split.

A block is one product in the first layer, and the whole recursion of its entries.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array

from theory.kernels.nearly_parallel import first_layer_gap, propagate_surely
from theory.kernels.propagation import (
    KernelPair,
    first_layer_covariance,
    first_layer_variance,
    propagate_diag,
)
from theory.numerics import blocks, devices

# Rows and columns per block. On a processor small enough to leave little below the
# diagonal and to stay in the cache, large enough for a product at 3/4 of the speed of
# large matrices. Twice as wide, N = 1 000 takes 15 to 25 % longer; N = 4 000 cannot
# tell sizes apart. An accelerator needs more entries at once: 8 million, not tuned.
BLOCKS = {"cpu": (256, 512)}
_ELSEWHERE = (2048, 4096)


def block() -> tuple[int, int]:
    """Rows and columns per block, on the default device."""
    return BLOCKS.get(jax.default_backend(), _ELSEWHERE)


def kept(pair: KernelPair, kinds: tuple[str, ...]) -> dict[str, Array]:
    """The kernels named in `kinds`."""
    return {kind: getattr(pair, kind) for kind in kinds}


def tile(x1, x2, arch, kinds, rows=None, *, own=False):
    """The function (i, j) -> kernels of the block of x1 at i with that of x2 at j.

    `rows` says which points of x2 those of x1 are: their entries are exact then. With
    `own` they are the same, row by row, and the entries of a point with itself are
    anything.
    """

    height, width = block()

    def part(x, start, block):
        return jax.lax.dynamic_slice_in_dim(x, start, min(block, x.shape[0]))

    def at(i, j):
        at_rows, at_columns = part(x1, i, height), part(x2, j, width)
        q1, q2 = (first_layer_variance(x, arch) for x in (at_rows, at_columns))
        cov = first_layer_covariance(at_rows, at_columns, arch)
        numbers = part(rows, i, height) if rows is not None else i + jnp.arange(len(q1))
        twins = numbers[:, None] == j + jnp.arange(len(q2))[None, :]
        if own or rows is not None:
            cov = jnp.where(twins, 0.0, cov)  # not parallel, as they would be
        gap = lambda: first_layer_gap(at_rows, at_columns, arch)
        pair = propagate_surely(q1[:, None], q2[None, :], cov, arch, gap)
        if rows is not None:
            diag = propagate_diag(q1, arch)
            exact = lambda entry, diag: jnp.where(twins, diag[:, None], entry)
            pair = jax.tree.map(exact, pair, diag)
        return kept(pair, kinds)

    return at


def entries(x1, rows, x2, arch, *, kinds):
    """All entries of the kernels named, (n1, n2), for `run`."""
    at = tile(x1, x2, arch, kinds, rows)
    return blocks.fill(at, x1.shape[0], x2.shape[0], block())


def times(x1, rows, x2, arch, v, *, kinds):
    """The kernel times v, (n1, m), for `run`."""
    at = tile(x1, x2, arch, kinds, rows)
    return blocks.product(lambda i, j: at(i, j)[kinds[0]], v, x1.shape[0], block())


@functools.partial(jax.jit, static_argnames=("fn", "kinds", "mesh"))
def run(fn, x1, rows, *rest, kinds, mesh):
    """`fn`, which has a row for each of x1, over the devices of a mesh if given."""
    fn = functools.partial(fn, kinds=kinds)
    if mesh is not None:
        fn = devices.over_devices(fn, mesh, 2, len(rest))
    return fn(x1, rows, *rest)
