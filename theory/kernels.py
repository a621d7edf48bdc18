"""NNGP and NTK of multilayer perceptrons of any depth, between sets of points.

The recursion of an entry is `propagation`; here it is fed block by block.

References: Neal 1996; Lee et al. 2018, arXiv:1711.00165; Jacot et al. 2018,
arXiv:1806.07572.
"""

import functools
import math

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
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

# Rows and columns per block. On a processor small enough to leave little below the
# diagonal and to stay in the cache, large enough for a product at 3/4 of the speed of
# large matrices. Twice as wide, N = 1 000 takes 15 to 25 % longer; N = 4 000 cannot
# tell sizes apart. An accelerator needs more entries at once: 8 million, not tuned.
_BLOCKS = {"cpu": (256, 512)}
_BLOCK_ELSEWHERE = (2048, 4096)
_BOTH = ("nngp", "ntk")


def _block() -> tuple[int, int]:
    return _BLOCKS.get(jax.default_backend(), _BLOCK_ELSEWHERE)


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


def _check_memory(*xs: Array, kernels: int = 2, mesh: Mesh | None = None) -> None:
    """Raises `InputError` if so many kernels of the points do not fit. Host only."""
    n1, n2 = xs[0].shape[0], xs[-1].shape[0]
    blocks.check_memory(
        math.ceil(kernels * n1 * n2 * xs[0].dtype.itemsize * blocks.share(mesh)),
        f"a kernel of {n1} x {n2} points in {xs[0].dtype}",
        "use fewer points, float32, or theory.blocks.map_rows over a block of rows",
    )


def _kept(pair: KernelPair, kinds: tuple[str, ...]) -> dict[str, Array]:
    """The kernels named in `kinds`."""
    return {kind: getattr(pair, kind) for kind in kinds}


def _tile(x1, x2, arch, kinds, rows=None):
    """The function (i, j) -> kernels of the block of x1 at i with that of x2 at j.

    `rows` says which points of x2 those of x1 are: their entries are exact then.
    """

    height, width = _block()

    def part(x, start, block):
        return jax.lax.dynamic_slice_in_dim(x, start, min(block, x.shape[0]))

    def at(i, j):
        at_rows, at_columns = part(x1, i, height), part(x2, j, width)
        q1, q2 = (first_layer_variance(x, arch) for x in (at_rows, at_columns))
        cov = first_layer_covariance(at_rows, at_columns, arch)
        pair = propagate(q1[:, None], q2[None, :], cov, arch)
        if rows is not None:
            own = part(rows, i, height)[:, None] == j + jnp.arange(len(q2))[None, :]
            diag = propagate_diag(q1, arch)
            pair = jax.tree.map(lambda k, d: jnp.where(own, d[:, None], k), pair, diag)
        return _kept(pair, kinds)

    return at


def _entries(x1, rows, x2, arch, *, kinds):
    at = _tile(x1, x2, arch, kinds, rows)
    return blocks.fill(at, x1.shape[0], x2.shape[0], _block())


def _times(x1, rows, x2, arch, v, *, kinds):
    at = _tile(x1, x2, arch, kinds, rows)
    return blocks.product(lambda i, j: at(i, j)[kinds[0]], v, x1.shape[0], _block())


@functools.partial(jax.jit, static_argnames=("fn", "kinds", "mesh"))
def _run(fn, x1, rows, *rest, kinds, mesh):
    """`fn`, which has a row for each of x1, over the devices of a mesh if given."""
    fn = functools.partial(fn, kinds=kinds)
    if mesh is not None:
        fn = blocks.over_devices(fn, mesh, 2, len(rest))
    return fn(x1, rows, *rest)


def _dense(x1, x2, arch, kinds, mesh, *, own=False):
    """The whole kernels; `own` if the points of x1 are those of x2."""
    _check(arch, x1, x2, ntk="ntk" in kinds)
    _check_memory(x1, x2, kernels=len(kinds), mesh=mesh)
    rows = jnp.arange(len(x1)) if own else None
    if mesh is None:
        return _run(_entries, x1, rows, x2, arch, kinds=kinds, mesh=None)
    if len(x1) % mesh.size:
        raise InputError(
            f"with a `mesh` of {mesh.size} devices the rows of a kernel must be a "
            f"multiple of them, got {len(x1)}: leave out {len(x1) % mesh.size}, or use "
            "theory.gram_product or theory.ntk_product, which take any number."
        )
    given = blocks.on_devices((x1, rows), (x2, arch), mesh)
    return _run(_entries, *given, kinds=kinds, mesh=mesh)


def _product(x1, rows, x2, arch, v, kind, mesh):
    _check(arch, x1, x2, ntk=kind == "ntk")
    if v.ndim != 2 or len(v) != len(x2):
        raise InputError(
            f"`v` must be an array ({len(x2)}, m), one row per point, got {v.shape}."
        )
    if mesh is None:
        return _run(_times, x1, rows, x2, arch, v, kinds=(kind,), mesh=None)
    # the last device gets copies of the last row, which are cut off again
    filled = jax.tree.map(
        lambda part: jnp.concatenate([part, *[part[-1:]] * (-len(x1) % mesh.size)]),
        (x1, rows),
    )
    given = blocks.on_devices(filled, (x2, arch, v), mesh)
    found = _run(_times, *given, kinds=(kind,), mesh=mesh)
    return blocks.gathered(found, mesh)[: len(x1)]


def nngp_ntk(
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"],
    arch: Architecture,
    *,
    mesh: Mesh | None = None,
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
        mesh: devices to split the rows over, on this host or on several, all of which
            must make the same call; n1 must be a multiple of their number.

    Returns:
        nngp and ntk, each (n1, n2), in the dtype of the points.

    Raises:
        InputError: shapes that disagree, a bad architecture, an activation without
            NTK, or a kernel larger than the memory.
    """
    return KernelPair(**_dense(x1, x2, arch, _BOTH, mesh))


def nngp(
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"],
    arch: Architecture,
    *,
    mesh: Mesh | None = None,
) -> Float[Array, "n1 n2"]:
    """Returns the NNGP kernel alone, for any activation; see `nngp_ntk`."""
    return _dense(x1, x2, arch, ("nngp",), mesh)["nngp"]


def ntk(
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"],
    arch: Architecture,
    *,
    mesh: Mesh | None = None,
) -> Float[Array, "n1 n2"]:
    """Returns the NTK alone, in half the memory of both; see `nngp_ntk`."""
    return _dense(x1, x2, arch, ("ntk",), mesh)["ntk"]


def ntk_product(
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"],
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


def gram_product(
    x: Float[Array, "n d"],
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
    chosen = jnp.arange(len(x)) if rows is None else jnp.asarray(rows)
    return _product(x[chosen], chosen, x, arch, v, kind, mesh)


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
    pair = blocks.fill_upper(_tile(x, x, arch, kinds), n, _block())
    diag = _kept(propagate_diag(first_layer_variance(x, arch), arch), kinds)
    index = jnp.arange(n)
    return jax.tree.map(lambda m, d: m.at[index, index].set(d), pair, diag)


@functools.partial(jax.jit, donate_argnums=0)
def _mirrored(pair):
    return jax.tree.map(lambda matrix: blocks.mirror(matrix, _block()[0]), pair)


def _symmetric(x, arch, kinds, mesh):
    if mesh is not None:
        return _dense(x, x, arch, kinds, mesh, own=True)
    _check(arch, x)
    _check_memory(x, kernels=len(kinds))
    return _mirrored(_upper(x, arch, kinds=kinds))


def gram(
    x: Float[Array, "n d"], arch: Architecture, *, mesh: Mesh | None = None
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


def ntk_gram(
    x: Float[Array, "n d"], arch: Architecture, *, mesh: Mesh | None = None
) -> Float[Array, "n n"]:
    """Returns the NTK of a set of points with itself, in half the memory of `gram`."""
    return _symmetric(x, arch, ("ntk",), mesh)["ntk"]
