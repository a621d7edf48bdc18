"""Kernel entries of points that are nearly parallel, tiny or huge, with all digits.

The recursion of `propagation` takes the angle of two points from q1 q2 - cov^2. Here
the gap sqrt(q1 q2) - cov is carried in place of it: from differences of the points, and
from layer to layer without a difference of large numbers, docs/theory/kernels.md
(K1)-(K2).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.activations import duals
from theory.kernels.architecture import Architecture
from theory.kernels.propagation import (
    HiddenLayer,
    KernelPair,
    first_entry,
    propagate,
    through_layers,
)
from theory.numerics.edges import ratio, safe_sqrt


def propagate_surely(
    q1: Float[Array, "..."],
    q2: Float[Array, "..."],
    cov: Float[Array, "..."],
    arch: Architecture,
    gap: Callable[[], Float[Array, "..."]],
) -> KernelPair:
    """Does as `propagate`, but keeps the digits of nearly parallel points too.

    All entries are computed once more, from their gaps, where one of them loses digits
    at any layer; elsewhere that costs a comparison.

    Args:
        q1: as in `propagate`.
        q2: as in `propagate`.
        cov: as in `propagate`.
        arch: as in `propagate`.
        gap: returns sqrt(q1 q2) - cov, to more digits than that has; called where it is
            needed only.
    """
    dual = arch.phi.dual
    near, sure = dual.near, dual.sure
    if arch.depth == 1 or near is None or sure is None:
        return propagate(q1, q2, cov, arch, reversible=True)
    first = first_entry(q1, q2, cov, arch)

    def step(at, layer):
        entry, doubt = at
        known = (entry.q1, entry.q2, entry.cov)
        doubt = jnp.maximum(doubt, 1.0 - sure(*known).all().astype(doubt.dtype))
        return entry.next(layer, dual, dual.pair(*known))[0], doubt

    def near_step(at, layer):
        entry, gap = at
        pair, value_gap = near(entry.q1, entry.q2, entry.cov, gap)
        entry, values = entry.next(layer, dual, pair)
        if value_gap is None:
            return entry, duals.gap(entry.q1, entry.q2, entry.cov)
        return entry, layer.gap(*values, value_gap)

    last, doubt = through_layers(step, (first, jnp.zeros((), cov.dtype)), arch)
    last = jax.lax.cond(
        doubt > 0,
        lambda: through_layers(near_step, (first, gap()), arch)[0],
        lambda: last,
    )
    return KernelPair(nngp=last.cov, ntk=last.ntk)


def first_layer_gap(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], arch: Architecture
) -> Float[Array, "n1 n2"]:
    """Returns sqrt(q1 q2) - k of every pair, from differences of the points.

    It keeps its digits however close the points are; those of points along one line
    through the origin to eps/theta, theta being their angle, where subtraction leaves
    eps/theta^2. O(n1 n2 d) without a matrix product: some 20 times as long as one.
    """
    square_2 = (x2**2).sum(axis=-1)
    first = HiddenLayer(arch.w_var, arch.b_var, 1.0, 1.0)

    def row(x):
        square, x = (x**2).sum(), x[None, :]
        d = x2 - x
        along = (d * x).sum(axis=-1)
        across = ((d - ratio(along, square)[:, None] * x) ** 2).sum(axis=-1)
        length, length_2 = safe_sqrt(square), safe_sqrt(square_2)
        product = square + along
        # |x| |x2| (1 - cos), with 1 - cos = sin^2/(1 + cos)
        acute = square * ratio(across, length * length_2 + product)
        gap = jnp.where(product > 0, acute, length * length_2 - product)
        shorter = ratio(-(d * (x + x2)).sum(axis=-1), length + length_2)
        scale = x.shape[-1]
        squares = square / scale, square_2 / scale
        return first.gap(*squares, gap / scale, shorter / scale**0.5)

    return jax.lax.map(row, x1)
