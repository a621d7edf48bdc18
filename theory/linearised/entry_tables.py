"""Mean kernel rows of many clean points, interpolated over points.

With one training image, the mean entry of a clean point depends on five numbers: the
length of its pixels, their cosine u with the mean image, and three covariances of the
image's noise, in which it is all but linear. Tables (`tabulate`) hold it and its
derivatives in these for every image at Chebyshev points of length and u; a point then
costs four products with the images and some multiply-adds an entry, whatever the
activation.

All of it is in float32, which is twice as fast as float64: what is linear in the mean
features, a hundred times what is beyond it, is known without any product with the
images, and is taken out of the tables of the tangent kernel before they are rounded.

Equations: docs/theory/linearised.md (L8), and below it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.kernels.propagation import KernelPair
from theory.linearised.image_moments import ImageMoments
from theory.numerics.edges import matmul, ratio
from theory.records import record


class Linear(NamedTuple):
    """Rows, or nodes of them, that are linear in the mean features.

    With image a: cosine t_a |x_a| u + variance (q_a - mean q) + constant.

    Attributes:
        cosine: over the image's slope t_a and length.
        variance: of the image's first-layer variance, less the mean of all.
        constant: the rest.
    """

    cosine: Float[Array, " i"]
    variance: Float[Array, " i"]
    constant: Float[Array, " i"]


class Pixels(NamedTuple):
    """What points are multiplied by, in float32.

    Attributes:
        mean: of the images.
        var, cov_square: of the noise of their pixels.
        by_centre: the variance times m of the tilt.
    """

    mean: Float[Array, "n d"]
    var: Float[Array, "n d"]
    cov_square: Float[Array, "n d"]
    by_centre: Float[Array, "n d"]


class Shares(NamedTuple):
    """Covariances of a row's noise with the mean point, over its length."""

    var: Float[Array, " n"]
    with_q: Float[Array, " n"]
    with_centre: Float[Array, " n"]


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


@record(kw_only=True)
class EntryTables:
    """Entries of all rows, as polynomials in u at every node of the points' length.

    Attributes:
        weights: takes powers of the length, brought to [-1, 1], to weights of nodes.
        lengths: middle and half width of their range.
        length: of the mean images, so that u is k - b_var over it and over the point's.
        slope: t_a, by which the rows that are linear follow the cosine.
        deviation: first-layer variance of the images, less its mean.
        linear: what the entries of the tangent kernel have less of, at every node.
        pixels: of the images.
        scale: of the images.
        shares: covariances that the entries are tabulated for.
        entries: coefficients of the powers of u, both kernels.
        slopes: the same for their derivatives in the three covariances.
        curves: the same for the second and third power of the covariance with q.
        error: root mean square of that of a few entries, over what these vary by.
    """

    weights: Float[Array, "i i"]
    lengths: Float[Array, "2"]
    length: Float[Array, " n"]
    slope: Float[Array, " n"]
    deviation: Float[Array, " n"]
    linear: Linear
    pixels: Pixels
    scale: Scale
    shares: Shares
    entries: tuple[Float[Array, "i j n"], Float[Array, "i j n"]]
    slopes: tuple[Float[Array, "3 i k n"], Float[Array, "3 i k n"]]
    curves: tuple[Float[Array, "2 i k n"], Float[Array, "2 i k n"]]
    error: Float[Array, ""]


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


def known(
    tables: EntryTables,
    arch: Architecture,
    train: ImageMoments,
    test: ImageMoments,
    linear: Linear,
) -> Float[Array, "t n"]:
    """Returns what is linear in the entries of `rows`, computed on its own."""
    x, length = test.mean, length_of(arch, test.mean)[:, None]
    cosine = arch.w_var / x.shape[1] * matmul(x, train.mean.T) * _inverse(length)
    return (
        linear.cosine[:, None] * tables.slope[None, :] * cosine
        + linear.variance[:, None] * tables.deviation[None, :]
        + linear.constant[:, None]
    )


class Rows(NamedTuple):
    """Mean entries of clean points.

    Attributes:
        entries: both kernels.
        beyond: the tangent kernel less what `linear` gives with the mean features, and
            less `linear.cosine` times what the mean image has of the cosine.
        linear: of every point.
    """

    entries: KernelPair
    beyond: Float[Array, "t n"]
    linear: Linear


def rows(tables: EntryTables, arch: Architecture, test: ImageMoments) -> Rows:
    """Returns `mean_kernel` of clean points with the training images, in float32.

    An entry costs 4 d and some 60 multiply-adds, the latter in one pass over all: of
    128 rows at a time, products and passes together take twice as long.
    """
    x, low = test.mean, jnp.float32
    unit = (arch.w_var / x.shape[1]) ** 2
    length, (middle, half) = length_of(arch, x), tables.lengths
    place = ratio(length - middle, half)
    powers = place[:, None] ** jnp.arange(len(tables.weights))[None, :]
    # of the nodes: their Lagrange polynomials
    weights = matmul(powers.astype(x.dtype), tables.weights)
    linear = Linear(*(matmul(weights, part) for part in tables.linear))
    column = lambda part: part.astype(low)[:, None]
    by_cosine, by_variance, constant = (column(part) for part in linear)
    size, of_nodes = column(length), weights.astype(low)
    inverse = column(arch.w_var / x.shape[1] * _inverse(length))
    pixels, squares = x.astype(low), unit * x.astype(low) ** 2
    single = lambda tree: jax.tree.map(lambda leaf: leaf.astype(low), tree)
    of_images = single(
        (
            _inverse(tables.length),
            tables.slope * tables.length,
            tables.deviation,
            tables.shares,
            tables.scale,
        )
    )
    of_length, of_slope, deviation, shares, scale = jax.tree.map(
        lambda leaf: leaf[None, :], of_images
    )
    mean, var, cov_square, by_centre = tables.pixels
    u = matmul(pixels, mean.T) * inverse * of_length
    found = (
        matmul(squares, var.T),
        unit * matmul(pixels, cov_square.T),
        unit * matmul(pixels, by_centre.T),
    )
    square = scale.bounded(*found) / 2
    moves = [
        each - size**power * share
        for each, share, power in zip(found, shares, (2, 1, 1), strict=True)
    ]
    known = by_cosine * of_slope * u + by_variance * deviation + constant
    both = []
    tabulated = tables.entries, tables.slopes, tables.curves
    for entries, slopes, curves in zip(*tabulated, strict=True):
        value = _polynomial(entries, of_nodes, u)
        whole = value if both else value + known
        value += whole * (square + square**2)
        for slope, moved in zip(slopes, moves, strict=True):
            value += moved * _polynomial(slope, of_nodes, u)
        second, third = (_polynomial(of, of_nodes, u) for of in curves)
        value += moves[1] ** 2 * (second + moves[1] * third)
        both.append(value)
    beyond, nngp = both
    return Rows(KernelPair(nngp=nngp, ntk=known + beyond), beyond, linear)
