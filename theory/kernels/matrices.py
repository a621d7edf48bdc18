"""NNGP and NTK of multilayer perceptrons of any depth, between sets of points.

The recursion of an entry is `propagation`; here it is fed block by block.

References: Neal 1996; Lee et al. 2018, arXiv:1711.00165; Jacot et al. 2018,
arXiv:1806.07572.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from theory.errors import InputError, unknown
from theory.kernels import tiling
from theory.kernels.architecture import Architecture
from theory.kernels.propagation import (
    KernelPair,
    check_ntk,
    first_layer_variance,
    propagate_diag,
)
from theory.kernels.truncation import check_points
from theory.numerics import blocks, devices, doors, memory
from theory.numerics.signatures import checked

_BOTH = ("nngp", "ntk")


def _checked(arch: Architecture, *xs: Any, ntk: bool = True) -> list[Array]:
    """The points of the public entries, of one floating dtype."""
    if doors.concrete(arch):
        arch.check()
    if ntk:
        check_ntk(arch)
    points = [doors.array("points", x, "(n, d)") for x in xs]
    if len({x.shape[1] for x in points}) > 1:
        raise InputError(
            "points must be arrays (n, d) of equal d, got "
            f"{' and '.join(str(x.shape) for x in points)}."
        )
    dtype = functools.reduce(jnp.promote_types, (x.dtype for x in points))
    points = [x.astype(dtype) for x in points]
    check_points(arch, *points)
    return points


def _check_memory(*xs: Array, kernels: int = 2, mesh: Mesh | None = None) -> None:
    """Raises `InputError` if so many kernels of the points do not fit. Host only."""
    n1, n2 = xs[0].shape[0], xs[-1].shape[0]
    memory.check_memory(
        math.ceil(kernels * n1 * n2 * xs[0].dtype.itemsize * memory.share(mesh)),
        f"a kernel of {n1} x {n2} points in {xs[0].dtype}",
        "use fewer points, float32, or theory.numerics.blocks.map_rows over rows",
    )


def _dense(x1, x2, arch, kinds, mesh, *, own=False):
    """The whole kernels; `own` if the points of x1 are those of x2."""
    x1, x2 = _checked(arch, x1, x2, ntk="ntk" in kinds)
    _check_memory(x1, x2, kernels=len(kinds), mesh=mesh)
    rows = jnp.arange(len(x1)) if own else None
    if mesh is None:
        return tiling.run(tiling.entries, x1, rows, x2, arch, kinds=kinds, mesh=None)
    if len(x1) % mesh.size:
        raise InputError(
            f"with a `mesh` of {mesh.size} devices the rows of a kernel must be a "
            f"multiple of them, got {len(x1)}: leave out {len(x1) % mesh.size}, or use "
            "theory.gram_product or theory.ntk_product, which take any number."
        )
    given = devices.on_devices((x1, rows), (x2, arch), mesh)
    return tiling.run(tiling.entries, *given, kinds=kinds, mesh=mesh)


def _product(x1, rows, x2, arch, v, kind, mesh):
    x1, x2 = _checked(arch, x1, x2, ntk=kind == "ntk")
    v = doors.array("v", v, f"({len(x2)}, m)", filled=False)
    dtype = jnp.promote_types(x1.dtype, v.dtype)
    x1, x2, v = (part.astype(dtype) for part in (x1, x2, v))
    if len(v) != len(x2):
        raise InputError(
            f"`v` must be an array ({len(x2)}, m), one row per point, got {v.shape}."
        )
    if mesh is None:
        return tiling.run(tiling.times, x1, rows, x2, arch, v, kinds=(kind,), mesh=None)
    # the last device gets copies of the last row, which are cut off again
    filled = jax.tree.map(
        lambda part: jnp.concatenate([part, *[part[-1:]] * (-len(x1) % mesh.size)]),
        (x1, rows),
    )
    given = devices.on_devices(filled, (x2, arch, v), mesh)
    found = tiling.run(tiling.times, *given, kinds=(kind,), mesh=mesh)
    return devices.gathered(found, mesh)[: len(x1)]


@checked
def nngp_ntk(
    x1: Shaped[ArrayLike, "n1 d"],
    x2: Shaped[ArrayLike, "n2 d"],
    arch: Architecture,
    *,
    mesh: Mesh | None = None,
) -> KernelPair:
    """Returns both kernels between two sets of points.

    Rows are `x1`. Computed block by block: beside the result, memory is one block of
    rows. For a kernel of points with themselves, `gram` costs half.

    Accuracy: some 20 roundings a layer, at all scales and distances of points whose
    kernel the dtype can hold (`python -m benchmarks.precision`); but half of the digits
    for gelu at variances above 1e6, and for step where squares of distances leave the
    range. Blocks with nearly parallel points are computed twice.

    Args:
        x1: points.
        x2: points.
        arch: the architecture.
        mesh: devices to split the rows over, on this host or on several, all of which
            must make the same call; n1 must be a multiple of their number.

    Returns:
        nngp and ntk, each (n1, n2), in the dtype of the points; in the default float
        for whole numbers and booleans, in float32 for half precision.

    Raises:
        InputError: shapes that disagree, a bad architecture, an activation without
            NTK, or a kernel larger than the memory.
    """
    return KernelPair(**_dense(x1, x2, arch, _BOTH, mesh))


@checked
def nngp(
    x1: Shaped[ArrayLike, "n1 d"],
    x2: Shaped[ArrayLike, "n2 d"],
    arch: Architecture,
    *,
    mesh: Mesh | None = None,
) -> Float[Array, "n1 n2"]:
    """Returns the NNGP kernel alone, for any activation; see `nngp_ntk`."""
    return _dense(x1, x2, arch, ("nngp",), mesh)["nngp"]


@checked
def ntk(
    x1: Shaped[ArrayLike, "n1 d"],
    x2: Shaped[ArrayLike, "n2 d"],
    arch: Architecture,
    *,
    mesh: Mesh | None = None,
) -> Float[Array, "n1 n2"]:
    """Returns the NTK alone, in half the memory of both; see `nngp_ntk`."""
    return _dense(x1, x2, arch, ("ntk",), mesh)["ntk"]


@checked
def ntk_product(
    x1: Shaped[ArrayLike, "n1 d"],
    x2: Shaped[ArrayLike, "n2 d"],
    v: Float[Array, "n2 m"],
    arch: Architecture,
    *,
    mesh: Mesh | None = None,
) -> Float[Array, "n1 m"]:
    """Returns the NTK between two sets of points times `v`, without holding it.

    O(n1 n2 (d + depth + m)) time; memory beside the result is one block. With the dual
    weights of a trained network as `v`, its outputs at the points `x1`. For points with
    themselves `gram_product` is exact on the diagonal, as `gram` is.

    Args:
        x1: points.
        x2: points.
        v: what to multiply.
        arch: the architecture.
        mesh: devices to share the rows among, as in `nngp_ntk` but any number of rows;
            all get the whole result.

    Raises:
        InputError: as `nngp_ntk`, and for `v` of another length than `x2`.
    """
    return _product(x1, None, x2, arch, v, "ntk", mesh)


@checked
def gram_product(
    x: Shaped[ArrayLike, "n d"],
    v: Float[Array, "n m"],
    arch: Architecture,
    *,
    kind: str = "ntk",
    rows: Int[Array, " k"] | np.ndarray | None = None,
    mesh: Mesh | None = None,
) -> Float[Array, "k m"]:
    """Returns the kernel of points with themselves times `v`, without holding it.

    O(k n (d + depth + m)) time: twice that of `gram`, whose symmetry is not used.

    Args:
        x: points.
        v: what to multiply.
        arch: the architecture.
        kind: "ntk" or "nngp".
        rows: the rows of the kernel to multiply; all of them by default.
        mesh: as in `ntk_product`.

    Raises:
        InputError: as `ntk_product`.
    """
    if kind not in _BOTH:
        raise unknown("kind", kind, _BOTH)
    x = doors.array("points", x, "(n, d)")
    chosen = jnp.arange(len(x)) if rows is None else jnp.asarray(rows)
    return _product(x[chosen], chosen, x, arch, v, kind, mesh)


@jax.jit
def _diag(x, arch):
    return propagate_diag(first_layer_variance(x, arch), arch)


@checked
def nngp_ntk_diag(x: Shaped[ArrayLike, "n d"], arch: Architecture) -> KernelPair:
    """Returns both kernels of every point with itself, each (n,). O(n d).

    Raises:
        InputError: as `nngp_ntk`, but for the memory.
    """
    (x,) = _checked(arch, x)
    return _diag(x, arch)


@functools.partial(jax.jit, static_argnames="kinds")
def _upper(x, arch, *, kinds):
    """Right on and above the diagonal."""
    pair = tiling.upper_entries(x, arch, kinds=kinds)
    diag = tiling.kept(propagate_diag(first_layer_variance(x, arch), arch), kinds)
    index = jnp.arange(len(x))
    return jax.tree.map(lambda m, d: m.at[index, index].set(d), pair, diag)


@functools.partial(jax.jit, donate_argnums=0)
def _mirrored(pair):
    return jax.tree.map(blocks.mirror, pair)


def _symmetric(x, arch, kinds, mesh):
    if mesh is not None:
        return _dense(x, x, arch, kinds, mesh, own=True)
    (x,) = _checked(arch, x)
    _check_memory(x, kernels=len(kinds))
    return _mirrored(_upper(x, arch, kinds=kinds))


@checked
def gram(
    x: Shaped[ArrayLike, "n d"],
    arch: Architecture,
    *,
    mesh: Mesh | None = None,
) -> KernelPair:
    """Returns both kernels of a set of points with itself.

    Symmetric bit for bit (under an outer jit, to rounding), each block above the
    diagonal computed once, the diagonal exact. O(n^2 (d + depth)) time, two n x n
    matrices of memory.

    Args:
        x: points.
        arch: the architecture.
        mesh: as in `nngp_ntk`. Every device computes its rows whole: twice the entries,
            and symmetric to rounding only.

    Returns:
        nngp and ntk, each (n, n), in the dtype of the points.

    Raises:
        InputError: as `nngp_ntk`.
    """
    return KernelPair(**_symmetric(x, arch, _BOTH, mesh))


@checked
def ntk_gram(
    x: Shaped[ArrayLike, "n d"],
    arch: Architecture,
    *,
    mesh: Mesh | None = None,
) -> Float[Array, "n n"]:
    """Returns the NTK of a set of points with itself, in half the memory of `gram`."""
    return _symmetric(x, arch, ("ntk",), mesh)["ntk"]
