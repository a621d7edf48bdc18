"""Mean kernel rows of many clean points, interpolated over points.

With one training image, the mean entry of a clean point depends on five numbers: the
length of its pixels, their cosine u with the mean image, and three covariances of the
image's noise, in which it is all but linear. Tables (`tabulate`) hold it and its
derivatives in these for every image at Chebyshev points of length and u; a point then
costs four products with the images and some multiply-adds an entry, whatever the
activation.

Equations: docs/theory/linearised.md (L8), and below it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.kernels.propagation import KernelPair
from theory.linearised.image_moments import ImageMoments
from theory.numerics import blocks
from theory.numerics.edges import matmul, ratio
from theory.records import record

# A block of entries stays in the cache: of 128, 512 and 1 024 rows the latter two take
# 1.5 times as long.
_COLUMNS = 128


class Shares(NamedTuple):
    """Covariances of a row's noise with the mean point, over its length."""

    var: Float[Array, " n"]
    with_q: Float[Array, " n"]
    with_centre: Float[Array, " n"]


@record(kw_only=True)
class EntryTables:
    """Entries of all rows, as polynomials in u at every node of the points' length.

    Attributes:
        weights: takes powers of the length, brought to [-1, 1], to weights of nodes.
        lengths: middle and half width of their range.
        length: of the mean images, so that u is k - b_var over it and over the point's.
        shares: covariances that the entries are tabulated for.
        entries: coefficients of the powers of u, both kernels.
        slopes: the same for their derivatives in the three covariances.
        curves: the same for the second and third power of the covariance with q.
        error: root mean square of that of a few entries, over what these vary by.
    """

    weights: Float[Array, "i i"]
    lengths: Float[Array, "2"]
    length: Float[Array, " n"]
    shares: Shares
    entries: tuple[Float[Array, "i j n"], Float[Array, "i j n"]]
    slopes: tuple[Float[Array, "3 i k n"], Float[Array, "3 i k n"]]
    curves: tuple[Float[Array, "2 i k n"], Float[Array, "2 i k n"]]
    error: Float[Array, ""]


def length_of(arch: Architecture, x: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Returns the root of what the pixels add to the first-layer variance."""
    return jnp.sqrt(arch.w_var * (x**2).mean(axis=1))


def _inverse(x: Array) -> Array:
    return ratio(jnp.ones_like(x), x)


def centre_var(arch: Architecture, train: ImageMoments) -> Float[Array, " n"]:
    """Returns the variance of C_w m.(noise)/d, m of the tilt."""
    assert train.tilt is not None
    unit = (arch.w_var / train.mean.shape[1]) ** 2
    return unit * (train.tilt.centre**2 * train.var).sum(axis=1)


class Scale(NamedTuple):
    """How the scales of rows follow their noise.

    Attributes:
        inverse: of the variance of q.
        by_q, by_k: of the tilt, less its slope in q.
        left: variance of the tilt that q leaves.
    """

    inverse: Float[Array, " n"]
    by_q: Float[Array, " n"]
    by_k: Float[Array, " n"]
    left: Float[Array, " n"]

    @classmethod
    def of(cls, arch: Architecture, train: ImageMoments) -> "Scale":
        """Returns that of the training images."""
        tilt, inverse = train.tilt, _inverse(train.q_var)
        assert tilt is not None
        left = centre_var(arch, train) - inverse * tilt.cov**2
        beyond = tilt.by_q - tilt.along(train.q_var)
        return cls(inverse, beyond, tilt.by_k, tilt.by_k**2 * jnp.maximum(left, 0.0))

    def square(self, var: Array, with_q: Array, with_centre: Array) -> Array:
        """Square of the tilt's slope in what k has beside q, which has a pole there."""
        along = self.by_q * with_q + self.by_k * with_centre
        return ratio(along**2, var - self.inverse * with_q**2)

    def bounded(self, *of_pairs: Array) -> Array:
        """The same of covariances that there are, where k may be all q but rounding."""
        return jnp.clip(self.square(*of_pairs), 0.0, self.left)  # Cauchy and Schwarz


def _polynomial(table: Float[Array, "i k n"], weights: Float[Array, "t i"], u: Array):
    """Horner's rule in u, coefficients interpolated; one loop over entries."""
    nodes, count, _ = table.shape
    alone = nodes == 1
    coefficient = lambda k: sum(
        table[i, k][None, :] if alone else weights[:, i, None] * table[i, k][None, :]
        for i in range(nodes)
    )
    total = coefficient(count - 1)
    for k in range(count - 2, -1, -1):
        total = total * u + coefficient(k)
    return total


def rows(
    tables: EntryTables, arch: Architecture, train: ImageMoments, test: ImageMoments
) -> KernelPair:
    """Returns `mean_kernel` of clean points with the training images.

    Products for the covariances are in float32, of which a thousandth would do. An
    entry costs 4 d and some 50 multiply-adds.
    """
    x, unit = test.mean, (arch.w_var / test.mean.shape[1]) ** 2
    assert train.tilt is not None
    length, centre = length_of(arch, x), train.tilt.centre
    size = length[:, None]
    middle, half = tables.lengths
    place = ratio(length - middle, half)
    powers = place[:, None] ** jnp.arange(len(tables.weights))[None, :]
    # of the nodes: their Lagrange polynomials
    weights = matmul(powers.astype(x.dtype), tables.weights)
    single = lambda part: part.astype(jnp.float32)
    rough = lambda a, b: matmul(a, single(b).T).astype(x.dtype)
    pixels, squares = single(x), single(x**2)
    inverse, scale = arch.w_var / x.shape[1] * _inverse(length), Scale.of(arch, train)
    n, block = len(train.q), min(_COLUMNS, len(train.q))
    first = jnp.asarray(blocks.starts(n, block))

    def part(at):
        cut = lambda leaf, axis=0: jax.lax.dynamic_slice_in_dim(leaf, at, block, axis)
        var = cut(train.var)
        u = matmul(x, cut(train.mean).T) * inverse[:, None]
        u *= _inverse(cut(tables.length))[None, :]
        shares = jax.tree.map(lambda leaf: cut(leaf)[None, :], tables.shares)
        found = (
            unit * rough(squares, var),
            unit * rough(pixels, cut(train.cov_square)),
            unit * rough(pixels, cut(centre) * var),
        )
        square = Scale(*(cut(part)[None, :] for part in scale)).bounded(*found) / 2
        beyond = [
            each - size**power * share
            for each, share, power in zip(found, shares, (2, 1, 1), strict=True)
        ]
        kernels = []
        tabulated = tables.entries, tables.slopes, tables.curves
        for entries, slopes, curves in zip(*tabulated, strict=True):
            middle = _polynomial(cut(entries, 2), weights, u)
            value = middle * (1 + square + square**2)
            for slope, moved in zip(cut(slopes, 3), beyond, strict=True):
                value += moved * _polynomial(slope, weights, u)
            second, third = (_polynomial(of, weights, u) for of in cut(curves, 3))
            value += beyond[1] ** 2 * (second + beyond[1] * third)
            kernels.append(value)
        return kernels

    def body(i, out):
        at = first[i]
        return [
            jax.lax.dynamic_update_slice_in_dim(whole, piece, at, 1)
            for whole, piece in zip(out, part(at), strict=True)
        ]

    zero = [jnp.zeros((len(x), n), x.dtype)] * 2
    ntk, nngp = jax.lax.fori_loop(0, len(first), body, zero)
    return KernelPair(nngp=nngp, ntk=ntk)
