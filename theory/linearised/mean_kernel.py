"""The mean kernel of corrupted images: one entry of it, averaged over the noise.

Corruption acts through three numbers of a pair in the first layer, q1, q2 and k, which
are Gaussian in many pixels. Their means and covariances are moments of the pixels, and
the means of a kernel entry and of its slopes are taken over them by quadrature.

Equations: docs/theory/linearised.md (L2)-(L4).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.kernels.propagation import (
    KernelPair,
    first_layer_covariance,
    propagate,
    propagate_diag,
)
from theory.linearised.image_moments import ImageMoments
from theory.numerics.edges import matmul, ratio


class Pairs(NamedTuple):
    """(q1, q2, k) of pairs of images and their tilt s: mean and directions of noise."""

    centre: tuple[Array, Array, Array, Array]
    directions: list[list[Array | float]]


class _Side(NamedTuple):
    """Noise of one image of pairs: of q, and what k and the tilt share with it."""

    q_var: Array
    cov_q: Array
    tilt: Array | float
    cov_tilt: Array | float


def _side(
    image: ImageMoments,
    arch: Architecture,
    products: Callable[[Array], Array],
    placed: Callable[[Array], Array],
) -> _Side:
    """Noise of `image`; `products` are those of its rows with the other's means."""
    unit = (arch.w_var / image.mean.shape[1]) ** 2
    cov_q, tilt = unit * products(image.cov_square), image.tilt
    if tilt is None:
        return _Side(placed(image.q_var), cov_q, 0.0, 0.0)
    return _Side(
        q_var=placed(image.q_var),
        cov_q=cov_q,
        tilt=placed(tilt.along(image.q_var)),
        cov_tilt=placed(tilt.by_q) * cov_q
        + placed(tilt.by_k) * unit * products(tilt.centre * image.var),
    )


def _pairs(centre, sides: dict[int, _Side], cov_var: Array) -> Pairs:
    """Directions: noise of q1, noise of q2, what k has beside (L3).

    An image that is known to have no noise has no side.
    """
    found, left, tilt_left = [], cov_var, jnp.zeros_like(cov_var)
    for place, side in sides.items():
        sd = jnp.sqrt(side.q_var)
        along = ratio(side.cov_q, sd)
        left = left - along**2
        tilt_left = tilt_left + side.cov_tilt - side.tilt * side.cov_q
        shift = [0.0, 0.0, along, side.tilt * sd]
        shift[place] = sd
        found.append(shift)
    # rounding may leave less than nothing where k follows the q's
    left = jnp.sqrt(jnp.maximum(left, 0.0))
    found.append([0.0, 0.0, left, ratio(tilt_left, left)])
    return Pairs((*centre, jnp.zeros_like(cov_var)), found)


def tilted(arch: Architecture) -> Callable[..., KernelPair]:
    """Returns H(q1, q2, k), divided by the exponential of the tilt s."""

    def entry(q1, q2, k, s) -> KernelPair:
        found, scale = propagate(q1, q2, k, arch), jnp.exp(-s)
        return jax.tree.map(lambda part: part * scale, found)

    return entry


def averaged(fn: Callable[..., Any], of: Pairs) -> Any:
    """Mean of fn(q1, q2, k, s) over its Gaussian: symmetric rule of degree 3 (L4)."""
    count = len(of.directions)
    points = count**0.5 * np.concatenate([np.eye(count), -np.eye(count)])

    @jax.jit  # traced once
    def at(i):
        point = jnp.asarray(points, of.centre[2].dtype)[i]
        return fn(
            *(
                c
                + sum(
                    point[j] * direction[axis]
                    for j, direction in enumerate(of.directions)
                )
                for axis, c in enumerate(of.centre)
            )
        )

    # a loop: compiled once for all points
    first, end = np.int32(0), np.int32(2 * count)
    zero = jax.tree.map(
        lambda part: jnp.zeros(part.shape, part.dtype), jax.eval_shape(at, first)
    )
    total = jax.lax.fori_loop(
        first, end, lambda i, sums: jax.tree.map(jnp.add, sums, at(i)), zero
    )
    return jax.tree.map(lambda part: part / (2 * count), total)


def mean_entry(of: Pairs, arch: Architecture) -> KernelPair:
    """Mean kernels of pairs."""
    return averaged(tilted(arch), of)


def slopes(fn: Callable[..., KernelPair]) -> Callable[..., tuple[KernelPair, ...]]:
    """Returns the derivatives of fn in q1, q2 and k, at once."""
    return lambda *at: tuple(slope(fn, axis)(*at) for axis in range(3))


def curves(
    fn: Callable[..., KernelPair], at: tuple[Array, ...]
) -> tuple[KernelPair, KernelPair]:
    """Returns the second and third derivative of fn in k at a point."""
    second = slope(slope(fn, 2), 2)
    ones = jnp.ones(jnp.broadcast_shapes(*(c.shape for c in at)), at[2].dtype)
    along = lambda step: second(*at[:2], at[2] + step, *at[3:])
    return jax.jvp(along, (jnp.zeros_like(ones),), (ones,))


def slope(fn: Callable[..., KernelPair], axis: int) -> Callable[..., KernelPair]:
    """Returns the derivative of fn in q1, q2, k or s.

    Arguments are not broadcast: quadrature costs by variances, not by pairs of them.
    """

    def derivative(*at) -> KernelPair:
        tangent = tuple(
            jnp.ones_like(c) if i == axis else jnp.zeros_like(c)
            for i, c in enumerate(at)
        )
        return jax.jvp(fn, at, tangent)[1]

    return derivative


def pairs(one: ImageMoments, two: ImageMoments, arch: Architecture) -> Pairs:
    """All pairs of an image of `one` and an image of `two` (L2)."""
    d, c_w = one.mean.shape[1], arch.w_var
    unit = (c_w / d) ** 2
    centre = (
        one.q[:, None],
        two.q[None, :],
        arch.b_var + c_w * matmul(one.mean, two.mean.T) / d,
    )
    # sum_j M_a^2 V_b + V_a M_b^2 + V_a V_b
    cov_var = matmul(one.mean**2 + one.var, two.var.T)
    sides = {}
    if not one.clean:
        cov_var = cov_var + matmul(one.var, (two.mean**2).T)
        sides[0] = _side(
            one, arch, lambda rows: matmul(rows, two.mean.T), lambda each: each[:, None]
        )
    sides[1] = _side(
        two, arch, lambda rows: matmul(one.mean, rows.T), lambda each: each[None, :]
    )
    return _pairs(centre, sides, unit * cov_var)


def given(
    two: ImageMoments,
    arch: Architecture,
    q: Float[Array, " n"],
    k: Float[Array, " n"],
    cov_var: Float[Array, " n"],
    cov_q: Float[Array, " n"],
    cov_centre: Float[Array, " n"],
) -> Pairs:
    """`pairs` of clean points with one image each of `two`, of known products.

    Args:
        two: corrupted images, with their tilts.
        arch: the architecture.
        q: of the points.
        k: mean k of the pairs.
        cov_var: variance of k.
        cov_q: covariance of k with the image's q.
        cov_centre: covariance of k with C_w m.(noise)/d, m of the tilt.
    """
    tilt = two.tilt
    assert tilt is not None
    side = _Side(
        q_var=two.q_var,
        cov_q=cov_q,
        tilt=tilt.along(two.q_var),
        cov_tilt=tilt.by_q * cov_q + tilt.by_k * cov_centre,
    )
    return _pairs((q, two.q, k), {1: side}, cov_var)


def _each(one: ImageMoments, arch: Architecture, k, square) -> Pairs:
    """Pairs of every image with one alike, given k and the mean of M^2 of both."""
    unit = (arch.w_var / one.mean.shape[1]) ** 2
    side = _side(
        one, arch, lambda rows: (rows * one.mean).sum(axis=1), lambda each: each
    )
    cov_var = unit * ((2 * square + one.var) * one.var).sum(axis=1)
    return _pairs((one.q, one.q, k), {0: side, 1: side}, cov_var)


def copies_of(one: ImageMoments, arch: Architecture) -> Pairs:
    """`pairs` of every image and an independent copy of itself."""
    k = arch.b_var + arch.w_var * (one.mean**2).mean(axis=1)
    return _each(one, arch, k, one.mean**2)


def typical(one: ImageMoments, arch: Architecture) -> Pairs:
    """A single pair that stands for all: of mean images and mean noise."""
    n, d = one.mean.shape
    products = (one.mean.sum(axis=0) ** 2).sum() - (one.mean**2).sum()
    k = arch.b_var + arch.w_var * products / float(d * max(n * (n - 1), 1))
    mean = jax.tree.map(lambda leaf: leaf.mean(axis=0, keepdims=True), one)
    of = _each(mean, arch, k[None], (one.mean**2).mean(axis=0, keepdims=True))
    return jax.tree.map(lambda leaf: jnp.reshape(leaf, ()), of)


def mean_kernel(one: ImageMoments, two: ImageMoments, arch: Architecture) -> KernelPair:
    """Returns the mean kernels (n1, n2) of corrupted images `two` with `one` (L4).

    Noise is independent between the two; an image that is in both meets another copy
    of itself.
    """
    return mean_entry(pairs(one, two, arch), arch)


def mean_diag(one: ImageMoments, arch: Architecture) -> KernelPair:
    """Returns the mean kernels of every corrupted image with itself, each (n,)."""
    sd = jnp.sqrt(one.q_var)
    tilt = jnp.zeros_like(sd) if one.tilt is None else one.tilt.along(one.q_var)

    def at(sign) -> KernelPair:
        scale = jnp.exp(-2 * sign * tilt * sd) / 2
        found = propagate_diag(one.q + sign * sd, arch)
        return jax.tree.map(lambda part: scale * part, found)

    return jax.tree.map(jnp.add, at(1), at(-1))


def of_points(
    one: ImageMoments,
    two: ImageMoments,
    same: Float[Array, "n1 n2"],
    arch: Architecture,
) -> KernelPair:
    """Returns the mean kernels of pairs of test points, themselves where `same` is 1.

    Of clean points without the noise that there is none of: whatever their norms.
    """
    if one.clean and two.clean:
        cov = first_layer_covariance(one.mean, two.mean, arch)
        pair = propagate(one.q[:, None], two.q[None, :], cov, arch)
    else:
        pair = mean_kernel(one, two, arch)
    own = mean_diag(one, arch)
    return jax.tree.map(
        lambda each, diag: jnp.where(same > 0, diag[:, None], each), pair, own
    )
