"""The kernels of a `Stack` from layer to layer, for a block of pairs of images.

Beside the two kernels of the features, every layer has them between positions: of equal
ones if no pooling follows, of all pairs if it does.

Equations: docs/theory/architectures.md (M1)-(M3).

References: Garriga-Alonso et al. 2019, arXiv:1808.05587; Novak et al. 2019,
arXiv:1810.05148; Arora et al. 2019, arXiv:1904.11955.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.activations.duals import DualPair
from theory.architectures.layers import (
    POOLING,
    AveragePooling,
    Convolution,
    Dense,
    Flatten,
    GlobalAverage,
    Layer,
    Phi,
    Residual,
)
from theory.architectures.stack import Stack
from theory.numerics.edges import matmul


class _Kernels(NamedTuple):
    """Both kernels at a layer: pairs of images first, then positions.

    Positions are (h, w) of equal ones, (h, w, h, w) of all pairs, or none.
    """

    cov: Float[Array, "..."]
    ntk: Float[Array, "..."]


class _Known(NamedTuple):
    """What is known at a layer, of pairs and of every image with itself."""

    own1: _Kernels
    own2: _Kernels
    cross: _Kernels


def _places(of: Array) -> tuple:
    """Where equal positions stand among all pairs of them."""
    h, w = jnp.arange(of.shape[-2])[:, None], jnp.arange(of.shape[-1])[None, :]
    return ..., h, w, h, w


def _equal(of: Array) -> Array:
    """Entries of equal positions, of those of all pairs."""
    return of[_places(of)]


def _padded(of: Array, layer: Convolution, axes: tuple[int, int]) -> Array:
    """Adds the positions around the image, of two axes."""
    if layer.padding == "valid":
        return of
    widths = [(0, 0)] * of.ndim
    shape = of.shape[axes[0]], of.shape[axes[1]]
    for axis, pad in zip(axes, layer.pads(shape), strict=True):
        widths[axis] = pad
    mode = "wrap" if layer.padding == "circular" else "constant"
    return jnp.pad(of, widths, mode=mode)


def _seen(of: Array, layer: Convolution, axis: int, offset: int) -> Array:
    """What an offset in the windows sees along an axis, window by window."""
    count = (of.shape[axis] - layer.size) // layer.stride + 1
    end = offset + (count - 1) * layer.stride + 1
    return jax.lax.slice_in_dim(of, offset, end, layer.stride, axis)


def _window_mean(of: Array, layer: Convolution, pairs: bool) -> Array:
    """Mean over the windows of a convolution, which move together for both images."""
    images = [(-4, -3), (-2, -1)] if pairs else [(-2, -1)]
    for axes in images:
        of = _padded(of, layer, axes)
    total = jnp.zeros((), of.dtype)
    for offset in itertools.product(range(layer.size), repeat=2):
        part = of
        for axes in images:
            for axis, along in zip(axes, offset, strict=True):
                part = _seen(part, layer, axis, along)
        total = total + part
    return total / layer.size**2


def _pooled(of: Array, size: int) -> Array:
    """Means over windows of the positions of both images, of all pairs of them."""
    *pairs, h, w, _, _ = of.shape
    parts = (h // size, size, w // size, size) * 2
    first = len(pairs)
    axes = tuple(first + axis for axis in (1, 3, 5, 7))
    return of.reshape(*pairs, *parts).mean(axis=axes)


def _weighted(known: _Known, mean: Callable[[Array], Array], stack: Stack, apart: bool):
    """Through weights: `mean` is what they average; `apart` keeps equal positions."""
    layer = stack.weights

    def through(of: _Kernels) -> _Kernels:
        value, moved = mean(of.cov), mean(of.ntk)
        found = _Kernels(
            layer.covariance(value),
            layer.tangent(value, jnp.ones_like(moved), moved),
        )
        if not apart:
            return found
        h, w = found.cov.shape[-2:]
        same = jnp.eye(h * w, dtype=bool).reshape(h, w, h, w)
        cut = lambda part: jnp.where(jnp.broadcast_to(same, part.shape), part, 0)
        return jax.tree.map(cut, found)

    return _Known(*(through(of) for of in known))


def _activated(known: _Known, stack: Stack, pairs: bool, reversible: bool) -> _Known:
    """Through the activation."""
    dual = stack.phi.dual
    pair_of = dual.reversible if reversible else dual.pair
    equal = _equal if pairs else lambda of: of
    var1, var2 = equal(known.own1.cov), equal(known.own2.cov)
    # pairs of images first, then positions of the first and of the second
    if pairs:
        spread1 = lambda var: var[..., :, :, None, None]
        spread2 = lambda var: var[..., None, None, :, :]
    else:
        spread1 = spread2 = lambda var: var

    def through(of: _Kernels, q1: Array, q2: Array) -> _Kernels:
        # kernels of quadrature take equal shapes
        q1, q2 = (jnp.broadcast_to(q, of.cov.shape) for q in (q1, q2))
        found = pair_of(q1, q2, of.cov)
        return _Kernels(found.value, found.slope * of.ntk)

    def own(of: _Kernels, var: Array) -> _Kernels:
        exact: DualPair = dual.diag(var)
        same = _Kernels(exact.value, exact.slope * equal(of.ntk))
        if not pairs:
            return same
        found = through(of, spread1(var), spread2(var))
        # of a position and itself closed forms would lose half of the digits
        placed = lambda whole, equal: whole.at[_places(whole)].set(equal)
        return jax.tree.map(placed, found, same)

    cross = through(known.cross, spread1(var1[:, None]), spread2(var2[None]))
    return _Known(own(known.own1, var1), own(known.own2, var2), cross)


def _needs_pairs(layers: tuple[Layer, ...]) -> bool:
    return any(isinstance(layer, POOLING) for layer in layers)


def _walk(
    known: _Known,
    layers: tuple[Layer, ...],
    stack: Stack,
    *,
    pairs: bool,
    reversible: bool,
) -> _Known:
    """Through some layers; `pairs` if a pooling is among them or follows."""
    for number, layer in enumerate(layers):
        flat = known.own1.cov.ndim == 1
        if isinstance(layer, Phi):
            known = _activated(known, stack, pairs and not flat, reversible)
        elif isinstance(layer, Convolution):
            mean = functools.partial(_window_mean, layer=layer, pairs=pairs)
            known = _weighted(known, mean, stack, pairs and not layer.shared)
        elif isinstance(layer, Dense):
            known = _weighted(known, lambda of: of, stack, apart=False)
        elif isinstance(layer, Residual):
            branch = _walk(
                known, layer.layers, stack, pairs=pairs, reversible=reversible
            )
            known = jax.tree.map(jnp.add, known, branch)
        elif isinstance(layer, Flatten):
            known = jax.tree.map(lambda of: of.mean(axis=(-2, -1)), known)
        elif isinstance(layer, GlobalAverage):
            known = jax.tree.map(lambda of: of.mean(axis=(-4, -3, -2, -1)), known)
            pairs = False
        elif isinstance(layer, AveragePooling):
            known = jax.tree.map(functools.partial(_pooled, size=layer.size), known)
            if not _needs_pairs(layers[number + 1 :]):
                known, pairs = jax.tree.map(_equal, known), False
    return known


def _start(x1: Array, x2: Array, stack: Stack, pairs: bool) -> _Known:
    """Products of pixels, means over the channels."""
    one, two = (x.reshape(-1, *stack.shape) for x in (x1, x2))
    channels = stack.shape[2]
    if pairs:
        across, own = "ahwc,bijc->abhwij", "ahwc,aijc->ahwij"
    else:
        across, own = "ahwc,bhwc->abhw", "ahwc,ahwc->ahw"
    highest = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    of = lambda form, a, b: _Kernels(cov := highest(form, a, b) / channels, 0 * cov)
    return _Known(of(own, one, one), of(own, two, two), of(across, one, two))


def known(
    x1: Float[Array, "b1 d"],
    x2: Float[Array, "b2 d"],
    stack: Stack,
    *,
    reversible: bool = False,
) -> _Known:
    """Returns the kernels of a block at the outputs, (b1, b2), and of each with itself.

    Args:
        x1: images.
        x2: images.
        stack: the architecture.
        reversible: whether reverse-mode derivatives are needed.
    """
    pairs = _needs_pairs(stack.layers)
    if not isinstance(stack.layers[0], Flatten):
        start = _start(x1, x2, stack, pairs)
        return _walk(start, stack.layers, stack, pairs=pairs, reversible=reversible)
    # no position is looked at: one product of the images
    own = lambda x: (x**2).mean(axis=1)
    of = lambda cov: _Kernels(cov, jnp.zeros_like(cov))
    start = _Known(of(own(x1)), of(own(x2)), of(matmul(x1, x2.T) / x1.shape[1]))
    return _walk(start, stack.layers[1:], stack, pairs=False, reversible=reversible)


def numbers_of_a_pair(stack: Stack) -> int:
    """Returns how many numbers a pair of images has in the first layer."""
    if isinstance(stack.layers[0], Flatten):
        return 1
    positions = math.prod(stack.shape[:2])
    return positions**2 if _needs_pairs(stack.layers) else positions
