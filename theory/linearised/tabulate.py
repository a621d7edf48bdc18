"""Tables that kernel rows of many clean points are interpolated from.

Equations: docs/theory/linearised.md (L8), and below it.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.kernels.propagation import KernelPair
from theory.linearised import nodes
from theory.linearised.entry_tables import (
    EntryTables,
    Linear,
    Pixels,
    Scale,
    Shares,
    centre_var,
    known,
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


def _degrees(arch, train, shares, lengths) -> tuple[int, int] | None:
    """Nodes in length and u that are enough for a few rows."""
    dtype, most = train.q.dtype, (_IN_LENGTH[-1] + 2, _IN_U[-1] + 2)
    of_length, of_u = nodes.within(lengths, most[0], dtype), nodes.at(most[1])
    found, *_ = _at_nodes(arch, train, shares, of_length, jnp.asarray(of_u, dtype))
    enough = []
    for kernel in (found.ntk, found.nngp):
        coefficients = np.asarray(kernel, float)
        for axis, count in enumerate(most):
            basis = np.polynomial.chebyshev.chebvander(nodes.at(count), count - 1)
            coefficients = np.moveaxis(
                np.tensordot(np.linalg.inv(basis), coefficients, (1, axis)), 0, axis
            )
        size = np.abs(coefficients)
        varies = np.median(size[0, 1])
        rounding = _ROUNDINGS * float(jnp.finfo(dtype).eps) * size[0, 0].max()
        allowed = max(_TAIL * varies, rounding)
        enough.append(
            (
                nodes.enough(size.max(axis=(1, 2)), _IN_LENGTH, allowed),
                nodes.enough(size.max(axis=(0, 2)), _IN_U, allowed),
            )
        )
    in_length, in_u = zip(*enough, strict=True)
    if None in in_length or None in in_u:
        return None
    return max(in_length), max(in_u)


class _Images(NamedTuple):
    """Rows of the tables: images, and what `EntryTables` says of each."""

    train: ImageMoments
    shares: Shares
    slope: Float[Array, " n"]
    deviation: Float[Array, " n"]


def tabulate(
    arch: Architecture,
    train: ImageMoments,
    slope: Float[Array, " n"],
    x: Float[Array, "t d"],
) -> EntryTables | None:
    """Returns tables for rows of the clean points `x`; None where entries are cheaper.

    None also where a few entries are not met to 4e-6 of what they vary by, and of what
    is traced. Host. Cost: 36 kernels for every row and node, 6 to 80 nodes; memory 4 d
    and 48 to 300 numbers a row, in float32.

    Args:
        arch: the architecture.
        train: the rows, with their tilts.
        slope: t_a of every row.
        x: the points.
    """
    if not doors.concrete(arch, train, slope, x) or train.tilt is None:
        return None
    rows, points = len(train.q), len(x)
    if rows * points < _ENTRIES:
        return None
    lengths = nodes.range_of(length_of(arch, x))
    if lengths[0] == 0:
        return None
    shares = jax.jit(_shares)(arch, train, x)
    images = _Images(train, shares, slope, train.q - train.q.mean())
    few = jax.tree.map(lambda leaf: leaf[:: -(-rows // _FEW)], images)
    found = _degrees(arch, few.train, few.shares, lengths)
    if found is None or points < _PER_NODE * math.prod(found):
        return None
    linear = _linear(arch, few, _coefficients(arch, few, lengths, found)[0].ntk)
    small = _tabulated(arch, few, lengths, found, linear)
    error, allowed = _error(arch, few.train, x[:: -(-points // _FEW)], small)
    if not error <= allowed:
        return None
    tables = _tabulated(arch, images, lengths, found, linear)
    return dataclasses.replace(tables, error=jnp.asarray(error, x.dtype))


@jax.jit
def _compared(arch, few: ImageMoments, x, tables: EntryTables):
    """Of both kernels: root mean square of what is off, spread, and size of what is."""
    test = image_moments(x, arch, None)
    found, expected = rows(tables, arch, test), mean_kernel(test, few, arch)
    beyond = expected.ntk - known(tables, arch, few, test, found.linear)
    square = lambda part: jnp.sqrt((part**2).mean())
    return [
        (
            square(one - other),
            (whole - whole.mean(axis=0)[None, :]).std(),
            jnp.abs(other).max(),
        )
        for one, other, whole in (
            (found.beyond, beyond, expected.ntk),
            (found.entries.nngp, expected.nngp, expected.nngp),
        )
    ]


def _error(arch, few, x, tables) -> tuple[float, float]:
    """Error of the entries of some points with a few rows, and what is allowed."""
    rounding = _ROUNDINGS * float(jnp.finfo(tables.entries[0].dtype).eps)
    # of the kernel that is further from what is allowed
    return max(
        (
            (float(error / spread), max(_ERROR, rounding * float(size / spread)))
            for error, spread, size in _compared(arch, few, x, tables)
        ),
        key=lambda pair: pair[0] / pair[1],
    )


def _coefficients(arch, images: _Images, lengths, counts: tuple[int, int]):
    """Coefficients of the powers of u at nodes of the length, see `EntryTables`."""
    dtype, (in_length, in_u) = images.train.q.dtype, counts
    places = nodes.within(lengths, in_length, dtype), jnp.asarray(nodes.at(in_u), dtype)
    parts = _at_nodes(arch, images.train, images.shares, *places)
    kept = in_u, _SLOPES, _CURVE
    return _fitted(
        parts, tuple(jnp.asarray(nodes.to_powers(in_u, count), dtype) for count in kept)
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


def _linear(arch, images: _Images, ntk: Float[Array, "i k n"]) -> Linear:
    """What is linear in the mean features at every node, near the rows of `images`."""
    along = images.slope * length_of(arch, images.train.mean)
    middle = images.deviation.mean()
    moved, levels = images.deviation - middle, ntk[:, 0].mean(axis=1)
    variance = ratio((ntk[:, 0] * moved[None, :]).mean(axis=1), (moved**2).mean())
    return Linear(
        cosine=ratio(ntk[:, 1].mean(axis=1), along.mean()),
        variance=variance,
        constant=levels - variance * middle,
    )


def _tabulated(
    arch, images: _Images, lengths, counts: tuple[int, int], linear: Linear
) -> EntryTables:
    found, train = _coefficients(arch, images, lengths, counts), images.train
    entries, *others = ((of_kernel.ntk, of_kernel.nngp) for of_kernel in found)
    length, dtype = length_of(arch, train.mean), train.q.dtype
    level = linear.variance[:, None] * images.deviation[None, :]
    level += linear.constant[:, None]
    slope = linear.cosine[:, None] * (images.slope * length)[None, :]
    ntk = entries[0].at[:, 0].add(-level).at[:, 1].add(-slope)
    # what points are multiplied by, in the precision that all is computed in
    single = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)
    assert train.tilt is not None
    by_centre = train.tilt.centre * train.var
    slopes, curves = single(others)
    return EntryTables(
        weights=jnp.asarray(nodes.to_powers(counts[0], counts[0]), dtype),
        lengths=jnp.asarray(lengths, dtype),
        length=length,
        slope=images.slope,
        deviation=images.deviation,
        linear=linear,
        pixels=Pixels(*single((train.mean, train.var, train.cov_square, by_centre))),
        scale=Scale.of(arch, train),
        shares=images.shares,
        entries=single((ntk, entries[1])),
        slopes=slopes,
        curves=curves,
        error=jnp.asarray(math.nan, dtype),
    )
