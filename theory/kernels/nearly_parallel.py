"""Kernel entries of points that are nearly parallel, tiny or huge, with all digits.

The recursion of `propagation` takes the angle of two points from q1 q2 - cov^2. Here
the gap sqrt(q1 q2) - cov is carried in place of it: from differences of the points, and
from layer to layer without a difference of large numbers, docs/theory/kernels.md
(K1)-(K2).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

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


def has_doubts(arch: Architecture) -> bool:
    """Returns whether `propagate` loses digits of any points of an architecture."""
    dual = arch.phi.dual
    return arch.depth > 1 and dual.near is not None and dual.sure is not None


def propagate_doubting(
    q1: Float[Array, "n1 1"],
    q2: Float[Array, "1 n2"],
    cov: Float[Array, "n1 n2"],
    arch: Architecture,
) -> tuple[KernelPair, Bool[Array, ""]]:
    """Does as `propagate`, and says whether any entry loses digits at any layer."""
    dual, sure = arch.phi.dual, arch.phi.dual.sure
    if not has_doubts(arch) or sure is None:
        return propagate(q1, q2, cov, arch, reversible=True), jnp.asarray(False)

    def step(at, layer):
        entry, doubts = at
        known = (entry.q1, entry.q2, entry.cov)
        # sums by columns are vector instructions, `all` is not: half of the time
        doubts += jnp.where(sure(*known), 0.0, 1.0).astype(doubts.dtype).sum(axis=0)
        return entry.next(layer, dual, dual.pair(*known))[0], doubts

    first = first_entry(q1, q2, cov, arch), jnp.zeros_like(cov[0])
    last, doubts = through_layers(step, first, arch)
    return KernelPair(nngp=last.cov, ntk=last.ntk), (doubts > 0).any()


def propagate_near(
    q1: Float[Array, "..."],
    q2: Float[Array, "..."],
    cov: Float[Array, "..."],
    arch: Architecture,
    gap: Float[Array, "..."],
) -> KernelPair:
    """Does as `propagate`, and keeps the digits of nearly parallel points too.

    Args:
        q1: as in `propagate`.
        q2: as in `propagate`.
        cov: as in `propagate`.
        arch: as in `propagate`.
        gap: sqrt(q1 q2) - cov, to more digits than that has.
    """
    dual, near = arch.phi.dual, arch.phi.dual.near
    if near is None:
        return propagate(q1, q2, cov, arch, reversible=True)

    def step(at, layer):
        entry, gap = at
        pair, value_gap = near(entry.q1, entry.q2, entry.cov, gap)
        entry, values = entry.next(layer, dual, pair)
        if value_gap is None:
            return entry, duals.gap(entry.q1, entry.q2, entry.cov)
        return entry, layer.gap(*values, value_gap)

    last, _ = through_layers(step, (first_entry(q1, q2, cov, arch), gap), arch)
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
