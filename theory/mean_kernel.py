"""The mean kernel of corrupted images: one entry of it, averaged over the noise.

Corruption acts through three numbers of a pair in the first layer, q1, q2 and k, which
are Gaussian in many pixels. Their means and covariances are moments of the pixels, and
the means of a kernel entry and of its slopes are taken over them by quadrature.

A row of the kernel of one draw grows and shrinks as a whole with the first-layer
variance q of its corrupted image. A prediction does not change if rows, columns and
targets are divided by the same numbers, and so every image is divided by
exp(tilt (q - mean q)): what is left is closer to linear in the noise.

Equations: theory/README.md (L1)-(L5).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory._numerics import matmul
from theory.corruption import Corruption
from theory.kernels import KernelPair, propagate, propagate_diag
from theory.problem import Architecture
from theory.records import record, static


@record(kw_only=True)
class Images:
    """Corrupted images, by moments of their pixels and of their first-layer variance.

    Attributes:
        mean: M, mean pixels.
        var: V, variance of each pixel.
        cov_square: C12, covariance of a pixel with its square.
        q: mean of the first-layer variance.
        q_var: its variance.
        tilt: relative change of an image's kernel entries per unit of it, which is
            divided out; zero for test images.
        clean: whether the images are known to have no noise; static.
    """

    mean: Float[Array, "n d"]
    var: Float[Array, "n d"]
    cov_square: Float[Array, "n d"]
    q: Float[Array, " n"]
    q_var: Float[Array, " n"]
    tilt: Float[Array, " n"]
    clean: bool = static(default=False)


def images(
    x: Float[Array, "n d"], arch: Architecture, noise: Corruption | None
) -> Images:
    """Returns the moments of the images `x` under `noise`, None for clean ones."""
    c_w = arch.w_var
    if noise is None:
        q = arch.b_var + c_w * (x**2).mean(axis=1)
        zero = jnp.zeros_like(x)
        return Images(
            mean=x,
            var=zero,
            cov_square=zero,
            q=q,
            q_var=jnp.zeros_like(q),
            tilt=jnp.zeros_like(q),
            clean=True,
        )
    pixel = noise.moments(x)
    # a variance that is rounding of the second moment, of either sign, is none
    floor = 16 * jnp.finfo(x.dtype).eps
    noisy = pixel.var > floor * (pixel.mean**2 + pixel.var)
    var, cov_square, var_square = (
        jnp.where(noisy, part, 0.0)
        for part in (pixel.var, pixel.cov_square, pixel.var_square)
    )
    q = arch.b_var + c_w * (pixel.mean**2 + var).mean(axis=1)
    return Images(
        mean=pixel.mean,
        var=var,
        cov_square=cov_square,
        q=q,
        tilt=jnp.zeros_like(q),
        # zero for noise of one absolute value
        q_var=c_w**2 * jnp.maximum(var_square.mean(axis=1), 0.0) / x.shape[1],
    )


def ratio(part: Array, whole: Array) -> Array:
    """part/whole, zero where `whole` vanishes."""
    inside = whole > 0
    return jnp.where(inside, part, 0.0) / jnp.where(inside, whole, 1.0)


def _directions(q1_var, q2_var, cov_q1, cov_q2, cov_var):
    """Displacements of (q1, q2, k): noise of q1, noise of q2, what k has beside (L3).

    None for a variance that is known to vanish.
    """
    found, rest = [], cov_var
    for place, (q_var, cov_q) in enumerate(((q1_var, cov_q1), (q2_var, cov_q2))):
        if q_var is None:
            continue
        sd = jnp.sqrt(q_var)
        along = ratio(cov_q, sd)
        rest = rest - along**2
        found.append([sd, 0.0, along] if place == 0 else [0.0, sd, along])
    # rounding may leave less than nothing where k follows the q's
    found.append([0.0, 0.0, jnp.sqrt(jnp.maximum(rest, 0.0))])
    return found


class Pairs(NamedTuple):
    """(q1, q2, k) of pairs of images: its mean, its noise, and the tilts of the two."""

    centre: tuple[Array, Array, Array]
    directions: list[list[Array | float]]
    tilts: tuple[Array, Array]


def tilted(of: Pairs, arch: Architecture) -> Callable[..., KernelPair]:
    """Returns H(q1, q2, k), divided by exp(tilt (q - mean q)) of both images."""

    def entry(q1, q2, k) -> KernelPair:
        scale = jnp.exp(-of.tilts[0] * (q1 - of.centre[0])) * jnp.exp(
            -of.tilts[1] * (q2 - of.centre[1])
        )
        return jax.tree.map(lambda part: part * scale, propagate(q1, q2, k, arch))

    return entry


def averaged(fn: Callable[..., Any], of: Pairs) -> Any:
    """Mean of fn(q1, q2, k) over its Gaussian: symmetric rule of degree 3 (L4)."""
    count = len(of.directions)
    points = count**0.5 * np.concatenate([np.eye(count), -np.eye(count)])

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

    zero = jax.tree.map(
        lambda part: jnp.zeros(part.shape, part.dtype), jax.eval_shape(at, 0)
    )
    # a loop: the duals are compiled once for all points
    total = jax.lax.fori_loop(
        0, 2 * count, lambda i, sums: jax.tree.map(jnp.add, sums, at(i)), zero
    )
    return jax.tree.map(lambda part: part / (2 * count), total)


def mean_entry(of: Pairs, arch: Architecture) -> KernelPair:
    """Mean kernels of pairs."""
    return averaged(tilted(of, arch), of)


def slope(fn: Callable[..., KernelPair], axis: int) -> Callable[..., KernelPair]:
    """Returns the derivative of fn in q1, q2 or k."""

    def derivative(*at) -> KernelPair:
        at = jnp.broadcast_arrays(*at)
        tangent = tuple(
            jnp.ones_like(c) if i == axis else jnp.zeros_like(c)
            for i, c in enumerate(at)
        )
        return jax.jvp(fn, tuple(at), tangent)[1]

    return derivative


def pairs(one: Images, two: Images, arch: Architecture) -> Pairs:
    """All pairs of an image of `one` and an image of `two` (L2)."""
    d, c_w = one.mean.shape[1], arch.w_var
    centre = (
        one.q[:, None],
        two.q[None, :],
        arch.b_var + c_w * matmul(one.mean, two.mean.T) / d,
    )
    # sum_j M_a^2 V_b + V_a M_b^2 + V_a V_b
    square = one.mean**2 + one.var
    cov_var = matmul(square, two.var.T)
    cov_q1 = q1_var = None
    if not one.clean:
        cov_var = cov_var + matmul(one.var, (two.mean**2).T)
        cov_q1 = (c_w / d) ** 2 * matmul(one.cov_square, two.mean.T)
        q1_var = one.q_var[:, None]
    cov_q2 = (c_w / d) ** 2 * matmul(one.mean, two.cov_square.T)
    directions = _directions(
        q1_var, two.q_var[None, :], cov_q1, cov_q2, (c_w / d) ** 2 * cov_var
    )
    return Pairs(centre, directions, (one.tilt[:, None], two.tilt[None, :]))


def copies_of(one: Images, arch: Architecture) -> Pairs:
    """`pairs` of every image and an independent copy of itself."""
    d, c_w = one.mean.shape[1], arch.w_var
    centre = (one.q, one.q, arch.b_var + c_w * (one.mean**2).mean(axis=1))
    cov_q = (c_w / d) ** 2 * (one.cov_square * one.mean).sum(axis=1)
    cov_var = (c_w / d) ** 2 * ((2 * one.mean**2 + one.var) * one.var).sum(axis=1)
    directions = _directions(one.q_var, one.q_var, cov_q, cov_q, cov_var)
    return Pairs(centre, directions, (one.tilt, one.tilt))


def mean_kernel(one: Images, two: Images, arch: Architecture) -> KernelPair:
    """Returns the mean kernels (n1, n2) of corrupted images `two` with `one` (L4).

    Noise is independent between the two; an image that is in both meets another copy
    of itself.
    """
    return mean_entry(pairs(one, two, arch), arch)


def mean_diag(one: Images, arch: Architecture) -> KernelPair:
    """Returns the mean kernels of every corrupted image with itself, each (n,)."""
    sd = jnp.sqrt(one.q_var)

    def at(sign) -> KernelPair:
        scale = jnp.exp(-2 * sign * one.tilt * sd) / 2
        found = propagate_diag(one.q + sign * sd, arch)
        return jax.tree.map(lambda part: scale * part, found)

    return jax.tree.map(jnp.add, at(1), at(-1))
