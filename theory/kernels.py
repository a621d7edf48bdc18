"""NNGP and NTK of multilayer perceptrons of any depth, between sets of points.

The recursion of an entry is `propagation`; here it is fed block by block.

References: Neal 1996; Lee et al. 2018, arXiv:1711.00165; Jacot et al. 2018,
arXiv:1806.07572.
"""

import functools

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from theory import blocks
from theory.errors import InputError
from theory.problem import Architecture
from theory.propagation import (
    KernelPair,
    check_ntk,
    first_layer_covariance,
    first_layer_variance,
    propagate,
    propagate_diag,
)

# Rows and columns per block: small enough to leave little below the diagonal and to
# stay in the cache, large enough for a product at 3/4 of the speed of large matrices.
# Twice as wide, N = 1 000 takes 15 to 25 % longer; N = 4 000 cannot tell sizes apart.
_BLOCK = (256, 512)
_BOTH = ("nngp", "ntk")


def _check(arch: Architecture, *xs: Array, ntk: bool = True) -> None:
    """Host checks of the public entries; shapes are known under tracing too."""
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arch)):
        arch.check()
    if ntk:
        check_ntk(arch)
    for x in xs:
        if x.ndim != 2 or 0 in x.shape or x.shape[1] != xs[0].shape[1]:
            raise InputError(
                "points must be arrays (n, d) with n, d >= 1 and equal d, got "
                f"{' and '.join(str(x.shape) for x in xs)}."
            )


def _check_memory(*xs: Array, kernels: int = 2) -> None:
    """Raises `InputError` if so many kernels of the points do not fit. Host only."""
    n1, n2 = xs[0].shape[0], xs[-1].shape[0]
    blocks.check_memory(
        kernels * n1 * n2 * xs[0].dtype.itemsize,
        f"a kernel of {n1} x {n2} points in {xs[0].dtype}",
        "use fewer points, float32, or theory.blocks.map_rows over a block of rows",
    )


def _kept(pair: KernelPair, kinds: tuple[str, ...]) -> dict[str, Array]:
    """The kernels named in `kinds`."""
    return {kind: getattr(pair, kind) for kind in kinds}


def _tile(x1, x2, arch, kinds):
    """The function (i, j) -> kernels of the block of x1 at i with that of x2 at j."""

    def part(x, start, block):
        size = min(block, x.shape[0])
        rows = jax.lax.dynamic_slice_in_dim(x, start, size)
        return rows, first_layer_variance(rows, arch)

    def at(i, j):
        rows, q_rows = part(x1, i, _BLOCK[0])
        columns, q_columns = part(x2, j, _BLOCK[1])
        cov = first_layer_covariance(rows, columns, arch)
        return _kept(propagate(q_rows[:, None], q_columns[None, :], cov, arch), kinds)

    return at


@functools.partial(jax.jit, static_argnames="kinds")
def _cross(x1, x2, arch, *, kinds):
    at = _tile(x1, x2, arch, kinds)
    return blocks.fill(at, x1.shape[0], x2.shape[0], _BLOCK)


def nngp_ntk(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], arch: Architecture
) -> KernelPair:
    """Returns both kernels between two sets of points.

    Rows are `x1`. Computed block by block: beside the result, memory is one block of
    rows. For a kernel of points with themselves, `gram` costs half and is exact on the
    diagonal; entries of coinciding points lose half of the digits here if the
    activation has a kink.

    Args:
        x1: points.
        x2: points.
        arch: the architecture.

    Returns:
        nngp and ntk, each (n1, n2), in the dtype of the points.

    Raises:
        InputError: shapes that disagree, a bad architecture, an activation without
            NTK, or a kernel larger than the memory.
    """
    _check(arch, x1, x2)
    _check_memory(x1, x2)
    return KernelPair(**_cross(x1, x2, arch, kinds=_BOTH))


def nngp(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], arch: Architecture
) -> Float[Array, "n1 n2"]:
    """Returns the NNGP kernel alone, for any activation; see `nngp_ntk`."""
    _check(arch, x1, x2, ntk=False)
    _check_memory(x1, x2, kernels=1)
    return _cross(x1, x2, arch, kinds=("nngp",))["nngp"]


def ntk(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], arch: Architecture
) -> Float[Array, "n1 n2"]:
    """Returns the NTK alone, in half the memory of both; see `nngp_ntk`."""
    _check(arch, x1, x2)
    _check_memory(x1, x2, kernels=1)
    return _cross(x1, x2, arch, kinds=("ntk",))["ntk"]


@jax.jit
def _product(x1, x2, v, arch):
    tile = _tile(x1, x2, arch, ("ntk",))
    return blocks.product(lambda i, j: tile(i, j)["ntk"], v, x1.shape[0], _BLOCK)


@functools.partial(jax.jit, static_argnames="kind")
def _gram_product(x, rows, v, arch, *, kind):
    chosen = x[rows]
    tile = _tile(chosen, x, arch, (kind,))
    diag = getattr(_diag(chosen, arch), kind)

    def at(i, j):
        entries = tile(i, j)[kind]
        part = lambda of: jax.lax.dynamic_slice_in_dim(of, i, len(entries))[:, None]
        own = part(rows) == j + jnp.arange(entries.shape[1])[None, :]
        return jnp.where(own, part(diag), entries)

    return blocks.product(at, v, len(rows), _BLOCK)


def _check_product(x, v):
    if v.ndim != 2 or len(v) != len(x):
        raise InputError(
            f"`v` must be an array ({len(x)}, m), one row per point, got {v.shape}."
        )


def ntk_product(
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"],
    v: Float[Array, "n2 m"],
    arch: Architecture,
) -> Float[Array, "n1 m"]:
    """Returns the NTK between two sets of points times `v`, without holding it.

    O(n1 n2 (d + depth + m)) time; memory beside the result is one block. With the dual
    weights of a trained network as `v`, its outputs at the points `x1`. For points with
    themselves `gram_product` is exact on the diagonal, as `gram` is.

    Raises:
        InputError: as `nngp_ntk`, and for `v` of another length than `x2`.
    """
    _check(arch, x1, x2)
    _check_product(x2, v)
    return _product(x1, x2, v, arch)


def gram_product(
    x: Float[Array, "n d"],
    v: Float[Array, "n m"],
    arch: Architecture,
    *,
    kind: str = "ntk",
    rows: Int[Array, " k"] | np.ndarray | None = None,
) -> Float[Array, "k m"]:
    """Returns the kernel of points with themselves times `v`, without holding it.

    O(k n (d + depth + m)) time: twice that of `gram`, whose symmetry is not used.

    Args:
        x: points.
        v: what to multiply.
        arch: the architecture.
        kind: "ntk" or "nngp".
        rows: the rows of the kernel to multiply; all of them by default.

    Raises:
        InputError: as `ntk_product`.
    """
    _check(arch, x, ntk=kind == "ntk")
    _check_product(x, v)
    chosen = jnp.arange(len(x)) if rows is None else jnp.asarray(rows)
    return _gram_product(x, chosen, v, arch, kind=kind)


@jax.jit
def _diag(x, arch):
    return propagate_diag(first_layer_variance(x, arch), arch)


def nngp_ntk_diag(x: Float[Array, "n d"], arch: Architecture) -> KernelPair:
    """Returns both kernels of every point with itself, each (n,). O(n d).

    Raises:
        InputError: as `nngp_ntk`, but for the memory.
    """
    _check(arch, x)
    return _diag(x, arch)


@functools.partial(jax.jit, static_argnames="kinds")
def _upper(x, arch, *, kinds):
    """Right on and above the diagonal."""
    n = x.shape[0]
    pair = blocks.fill_upper(_tile(x, x, arch, kinds), n, _BLOCK)
    diag = _kept(propagate_diag(first_layer_variance(x, arch), arch), kinds)
    index = jnp.arange(n)
    return jax.tree.map(lambda m, d: m.at[index, index].set(d), pair, diag)


@functools.partial(jax.jit, donate_argnums=0)
def _mirrored(pair):
    return jax.tree.map(lambda matrix: blocks.mirror(matrix, _BLOCK[0]), pair)


def _symmetric(x, arch, kinds):
    _check(arch, x)
    _check_memory(x, kernels=len(kinds))
    return _mirrored(_upper(x, arch, kinds=kinds))


def gram(x: Float[Array, "n d"], arch: Architecture) -> KernelPair:
    """Returns both kernels of a set of points with itself.

    Symmetric bit for bit (under an outer jit, to rounding), each block above the
    diagonal computed once, the diagonal exact. O(n^2 (d + depth)) time, two n x n
    matrices of memory.

    Args:
        x: points.
        arch: the architecture.

    Returns:
        nngp and ntk, each (n, n), in the dtype of the points.

    Raises:
        InputError: as `nngp_ntk`.
    """
    return KernelPair(**_symmetric(x, arch, _BOTH))


def ntk_gram(x: Float[Array, "n d"], arch: Architecture) -> Float[Array, "n n"]:
    """Returns the NTK of a set of points with itself, in half the memory of `gram`."""
    return _symmetric(x, arch, ("ntk",))["ntk"]
