"""Tables that kernel rows of many clean points are interpolated from.

Equations: docs/theory/linearised.md (L8), and below it.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.kernels.propagation import KernelPair
from theory.linearised.entry_tables import (
    EntryTables,
    Scale,
    Shares,
    centre_var,
    length_of,
    rows,
)
from theory.linearised.image_moments import ImageMoments, image_moments
from theory.linearised.mean_kernel import given, mean_entry, mean_kernel
from theory.numerics import doors
from theory.numerics.edges import matmul, ratio

# Numbers of nodes tried, in u and in length: with more, entries themselves are faster.
# Powers of u of the slopes, whose share is small, and of the curve beyond.
_IN_U, _IN_LENGTH, _SLOPES, _CURVE = (6, 8, 10, 12, 14, 17, 20), (1, 2, 3, 4), 6, 3
# Rows and points that are looked at, and the fewest entries that pay for a compilation.
_FEW, _ENTRIES = 64, 20_000_000
# Error allowed, of what entries vary by, in roundings of theirs, and of what comes out,
# root mean square: outputs are off by up to a thousand times that of what they vary by.
_TAIL, _ROUNDINGS, _ERROR = 1e-6, 64, 4e-6
# Step of the slopes, of a standard deviation; that of the curve, of the way to a
# covariance that is all of both variances; entries that a node costs.
_STEP, _WIDE, _PER_NODE = 0.1, 0.4, 9
# Takes values at -2 to 2 steps to coefficients of the first to third power.
_BY_POWERS = np.linalg.inv(np.vander(np.arange(-2.0, 3.0), increasing=True))[1:4]


def _nodes(count: int) -> np.ndarray:
    return np.cos((np.arange(count) + 0.5) * math.pi / count)


def _to_powers(count: int, kept: int) -> np.ndarray:
    """Takes values at `count` Chebyshev points to coefficients of the first powers."""
    nodes = np.polynomial.chebyshev.chebvander(_nodes(count), count - 1)
    powers = [np.polynomial.chebyshev.cheb2poly(row) for row in np.eye(kept)]
    padded = np.array([np.pad(row, (0, kept - len(row))) for row in powers])
    return padded.T @ np.linalg.inv(nodes)[:kept]


def _shares(arch: Architecture, train: ImageMoments, x: Float[Array, "t d"]) -> Shares:
    unit = (arch.w_var / x.shape[1]) ** 2
    square = (x**2).mean(axis=0)
    size = arch.w_var * square.mean()
    mean = x.mean(axis=0)
    root = jnp.sqrt(size)
    assert train.tilt is not None
    return Shares(
        var=ratio(unit * matmul(train.var, square), size),
        with_q=ratio(unit * matmul(train.cov_square, mean), root),
        with_centre=ratio(unit * matmul(train.tilt.centre * train.var, mean), root),
    )


def _values(arch: Architecture, train: ImageMoments, shares: Shares, length, u):
    """Entries at a length and u with every row, their slopes, and the curve in one."""
    k = arch.b_var + u * length * length_of(arch, train.mean)
    at = (shares.var * length**2, shares.with_q * length, shares.with_centre * length)
    sd = jnp.sqrt(at[0])
    centre, most = jnp.sqrt(centre_var(arch, train)), sd * jnp.sqrt(train.q_var)
    wide = _WIDE * (most - jnp.abs(at[1]))
    steps = (_STEP * at[0], wide, _STEP * sd * centre)
    q = jnp.full_like(k, arch.b_var + length**2)

    def moved(by) -> tuple[KernelPair, Array]:
        shifted = [a + s * step for a, s, step in zip(at, by, steps, strict=True)]
        entry = mean_entry(given(train, arch, q, k, *shifted), arch)
        return entry, Scale.of(arch, train).square(*shifted)

    # along the covariance with q, the middle among them, and both ways along the others
    unit, along = np.eye(3), np.arange(-2.0, 3.0)[:, None]
    places = [along * unit[1:2], unit[::2], -unit[::2]]
    found, squares = jax.lax.map(moved, jnp.asarray(np.concatenate(places), k.dtype))

    def parted(kernel) -> tuple[Array, Array, Array]:
        kernel = kernel - squares / 2 * kernel[2:3]
        powers = jnp.tensordot(jnp.asarray(_BY_POWERS, k.dtype), kernel[:5], 1)
        powers = ratio(powers, wide[None, :] ** jnp.arange(1, 4)[:, None])
        by_var, by_centre = (
            ratio(kernel[5 + i] - kernel[7 + i], 2 * steps[2 * i]) for i in (0, 1)
        )
        return kernel[2], jnp.stack([by_var, powers[0], by_centre]), powers[1:]

    of_ntk, of_nngp = parted(found.ntk), parted(found.nngp)
    return tuple(
        KernelPair(nngp=nngp, ntk=ntk)
        for nngp, ntk in zip(of_nngp, of_ntk, strict=True)
    )


@jax.jit
def _at_nodes(arch, train: ImageMoments, shares: Shares, lengths: Array, us: Array):
    """`_values` at all pairs of nodes, (i, j, n), (i, j, 3, n) and (i, j, 2, n)."""
    length, u = (part.ravel() for part in jnp.meshgrid(lengths, us, indexing="ij"))
    found = jax.lax.map(lambda at: _values(arch, train, shares, *at), (length, u))
    split = lambda leaf: leaf.reshape(len(lengths), len(us), *leaf.shape[1:])
    return jax.tree.map(split, found)


def _range(length: Array) -> tuple[float, float]:
    lowest, highest = float(length.min()), float(length.max())
    return (lowest + highest) / 2, (highest - lowest) / 2


def _lengths(lengths: tuple[float, float], count: int, dtype) -> Array:
    return jnp.asarray(lengths[0] + lengths[1] * _nodes(count), dtype)


def _enough(tail: np.ndarray, tried: tuple[int, ...], allowed: float) -> int | None:
    """The fewest nodes that leave coefficients below what is allowed."""
    beyond = lambda count: tail[count:].max()
    return next((count for count in tried if beyond(count) <= allowed), None)


def _degrees(arch, train, shares, lengths) -> tuple[int, int] | None:
    """Nodes in length and u that are enough for a few rows."""
    dtype, most = train.q.dtype, (_IN_LENGTH[-1] + 2, _IN_U[-1] + 2)
    nodes = _lengths(lengths, most[0], dtype), jnp.asarray(_nodes(most[1]), dtype)
    found, *_ = _at_nodes(arch, train, shares, *nodes)
    enough = []
    for kernel in (found.ntk, found.nngp):
        coefficients = np.asarray(kernel, float)
        for axis, count in enumerate(most):
            nodes = np.polynomial.chebyshev.chebvander(_nodes(count), count - 1)
            coefficients = np.moveaxis(
                np.tensordot(np.linalg.inv(nodes), coefficients, (1, axis)), 0, axis
            )
        size = np.abs(coefficients)
        varies = np.median(size[0, 1])
        rounding = _ROUNDINGS * float(jnp.finfo(dtype).eps) * size[0, 0].max()
        allowed = max(_TAIL * varies, rounding)
        enough.append(
            (
                _enough(size.max(axis=(1, 2)), _IN_LENGTH, allowed),
                _enough(size.max(axis=(0, 2)), _IN_U, allowed),
            )
        )
    in_length, in_u = zip(*enough, strict=True)
    if None in in_length or None in in_u:
        return None
    return max(in_length), max(in_u)


def tabulate(
    arch: Architecture, train: ImageMoments, x: Float[Array, "t d"]
) -> EntryTables | None:
    """Returns tables for rows of the clean points `x`; None where entries are cheaper.

    None also where a few entries are not met to 4e-6 of what they vary by, and of what
    is traced. Host. Cost: 36 kernels for every row and node, 6 to 80 nodes; memory 48
    to 300 numbers a row.

    Args:
        arch: the architecture.
        train: the rows, with their tilts.
        x: the points.
    """
    if not doors.concrete(arch, train, x) or train.tilt is None:
        return None
    rows, points = len(train.q), len(x)
    if rows * points < _ENTRIES:
        return None
    few = jax.tree.map(lambda leaf: leaf[:: -(-rows // _FEW)], train)
    seen = x[:: -(-points // _FEW)]
    lengths = _range(length_of(arch, x))
    if lengths[0] == 0:
        return None
    shares = jax.jit(_shares)(arch, train, x)
    of_few = jax.tree.map(lambda leaf: leaf[:: -(-rows // _FEW)], shares)
    found = _degrees(arch, few, of_few, lengths)
    if found is None or points < _PER_NODE * math.prod(found):
        return None
    small = _tabulated(arch, few, of_few, lengths, found)
    error, allowed = _error(arch, few, seen, small)
    if not error <= allowed:
        return None
    tables = _tabulated(arch, train, shares, lengths, found)
    return dataclasses.replace(tables, error=jnp.asarray(error, x.dtype))


@jax.jit
def _compared(arch, few: ImageMoments, x, tables: EntryTables):
    test = image_moments(x, arch, None)
    found, expected = rows(tables, arch, few, test), mean_kernel(test, few, arch)
    return jax.tree.map(
        lambda one, other: (
            jnp.sqrt(((one - other) ** 2).mean()),
            (other - other.mean(axis=0)[None, :]).std(),
            jnp.abs(other).max(),
        ),
        found,
        expected,
    )


def _error(arch, few, x, tables) -> tuple[float, float]:
    """Error of the entries of some points with a few rows, and what is allowed."""
    found = _compared(arch, few, x, tables)
    rounding = _ROUNDINGS * float(jnp.finfo(x.dtype).eps)
    # of the kernel that is further from what is allowed
    return max(
        (
            (float(error / spread), max(_ERROR, rounding * float(size / spread)))
            for error, spread, size in (found.ntk, found.nngp)
        ),
        key=lambda pair: pair[0] / pair[1],
    )


def _tabulated(arch, train, shares, lengths, counts: tuple[int, int]) -> EntryTables:
    dtype, (in_length, in_u) = train.q.dtype, counts
    of = lambda value: jnp.asarray(value, dtype)
    nodes = _lengths(lengths, in_length, dtype), of(_nodes(in_u))
    parts = _at_nodes(arch, train, shares, *nodes)
    kept = in_u, _SLOPES, _CURVE
    powers = tuple(of(_to_powers(in_u, count)) for count in kept)
    entries, slopes, curves = (
        (of_kernel.ntk, of_kernel.nngp) for of_kernel in _fitted(parts, powers)
    )
    return EntryTables(
        weights=of(_to_powers(in_length, in_length)),
        lengths=of(lengths),
        length=length_of(arch, train.mean),
        shares=shares,
        entries=entries,
        slopes=slopes,
        curves=curves,
        error=of(math.nan),
    )


@jax.jit
def _fitted(parts: tuple[KernelPair, ...], powers: tuple[Array, ...]):
    """Coefficients of powers of u, from values at its nodes."""
    entries, *others = zip(parts, powers, strict=True)
    of = lambda form, kernel, to: jax.tree.map(
        lambda leaf: jnp.einsum(form, to, leaf), kernel
    )
    return (
        of("kj,ijn->ikn", *entries),
        *(of("kj,ijsn->sikn", *other) for other in others),
    )
