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
from theory.kernels.propagation import KernelPair
from theory.numerics.edges import matmul


class _Kernels(NamedTuple):
    """Both kernels at a layer: positions first, then images or pairs of them.

    So windows are sums of whole stretches of memory. Positions are (h, w) of equal
    ones, (h, w, h, w) of all pairs, or none. Of the image there is no tangent kernel.
    """

    cov: Float[Array, "..."]
    ntk: Float[Array, "..."] | None


# Takes kernels through the activation; whether they are of all pairs of positions.
_Through = Callable[[_Kernels, bool], _Kernels]


def _places(of: Array) -> tuple[Array, ...]:
    """Where equal positions stand among all pairs of them."""
    h, w = jnp.arange(of.shape[0])[:, None], jnp.arange(of.shape[1])[None, :]
    return h, w, h, w


def _equal(of: Array) -> Array:
    """Entries of equal positions, of those of all pairs."""
    return of[_places(of)]


def _padded(of: Array, layer: Convolution, axis: int, along: int) -> Array:
    """Adds the positions around the image on an axis, its height or width."""
    if layer.padding == "valid":
        return of
    shape = of.shape[axis], of.shape[axis]
    widths = [(0, 0)] * of.ndim
    widths[axis] = layer.pads(shape)[along]
    mode = "wrap" if layer.padding == "circular" else "constant"
    return jnp.pad(of, widths, mode=mode)


def _seen(of: Array, layer: Convolution, axis: int, offset: int) -> Array:
    """What an offset in the windows sees along an axis, window by window."""
    count = (of.shape[axis] - layer.size) // layer.stride + 1
    end = offset + (count - 1) * layer.stride + 1
    return jax.lax.slice_in_dim(of, offset, end, layer.stride, axis)


def _window_mean(of: Array, layer: Convolution, pairs: bool) -> Array:
    """Mean over the windows of a convolution, which move together for both images.

    Rows first, then columns: 2 k sums for k^2.
    """
    for along in (0, 1):
        axes = (along, along + 2) if pairs else (along,)
        for axis in axes:
            of = _padded(of, layer, axis, along)
        total = jnp.zeros((), of.dtype)
        for offset in range(layer.size):
            part = of
            for axis in axes:
                part = _seen(part, layer, axis, offset)
            total = total + part
        of = total / layer.size
    return of


def _pooled(of: Array, size: int) -> Array:
    """Means over windows of the positions of both images, of all pairs of them."""
    sides, images = of.shape[:4], of.shape[4:]
    parts = itertools.chain.from_iterable((n // size, size) for n in sides)
    return of.reshape(*parts, *images).mean(axis=(1, 3, 5, 7))


def _weighted(
    of: _Kernels, mean: Callable[[Array], Array], stack: Stack, apart: bool
) -> _Kernels:
    """Through weights: `mean` is what they average; `apart` keeps equal positions."""
    layer, value = stack.weights, mean(of.cov)
    moved = jnp.zeros_like(value) if of.ntk is None else mean(of.ntk)
    tangent = layer.tangent(value, jnp.ones_like(moved), moved)
    found = _Kernels(layer.covariance(value), tangent)
    if not apart:
        return found

    def cut(part):
        h, w = part.shape[:2]
        same = jnp.eye(h * w, dtype=bool).reshape(h, w, h, w)
        return jnp.where(jnp.expand_dims(same, range(4, part.ndim)), part, 0)

    return jax.tree.map(cut, found)


def _times(slope: Array, ntk: Array | None) -> Array | None:
    return None if ntk is None else slope * ntk


class Own(NamedTuple):
    """What is known of every image with itself.

    Attributes:
        nngp: at the outputs.
        ntk: at the outputs.
        variances: before every activation, of all positions.
    """

    nngp: Float[Array, " b"]
    ntk: Float[Array, " b"]
    variances: tuple[Float[Array, "b ..."], ...]


def _needs_pairs(layers: tuple[Layer, ...]) -> bool:
    return any(isinstance(layer, POOLING) for layer in layers)


def _walk(
    of: _Kernels,
    layers: tuple[Layer, ...],
    stack: Stack,
    activated: _Through,
    *,
    pairs: bool,
) -> _Kernels:
    """Through some layers; `pairs` if a pooling is among them or follows."""
    for number, layer in enumerate(layers):
        if isinstance(layer, Phi):
            of = activated(of, pairs)
        elif isinstance(layer, Convolution):
            mean = functools.partial(_window_mean, layer=layer, pairs=pairs)
            of = _weighted(of, mean, stack, pairs and not layer.shared)
        elif isinstance(layer, Dense):
            of = _weighted(of, lambda each: each, stack, apart=False)
        elif isinstance(layer, Residual):
            branch = _walk(of, layer.layers, stack, activated, pairs=pairs)
            of = jax.tree.map(jnp.add, of, branch)
        elif isinstance(layer, Flatten):
            of = jax.tree.map(lambda each: each.mean(axis=(0, 1)), of)
        elif isinstance(layer, GlobalAverage):
            of = jax.tree.map(lambda each: each.mean(axis=(0, 1, 2, 3)), of)
            pairs = False
        elif isinstance(layer, AveragePooling):
            of = jax.tree.map(functools.partial(_pooled, size=layer.size), of)
            if not _needs_pairs(layers[number + 1 :]):
                of, pairs = jax.tree.map(_equal, of), False
    return of


def _means(x1: Array, x2: Array, stack: Stack, *, pairs: bool, across: bool):
    """Products of pixels, means over the channels."""
    layers = stack.layers
    if isinstance(layers[0], Flatten):
        # no position is looked at: one product of the images
        if across:
            return (matmul(x1, x2.T) / x1.shape[1]).ravel()
        return (x1 * x2).mean(axis=1)
    one, two = (x.reshape(-1, *stack.shape) for x in (x1, x2))
    images = "ab" if across else "aa"
    places = ("hw", "ij") if pairs else ("hw", "hw")
    given = ",".join(
        image + place + "c" for image, place in zip(images, places, strict=True)
    )
    held = "".join(dict.fromkeys(places)) + "".join(dict.fromkeys(images))
    found = jnp.einsum(f"{given}->{held}", one, two, precision="highest")
    if across:  # one long axis for vector instructions
        found = found.reshape(*found.shape[:-2], -1)
    return found / stack.shape[2]


def _through_stack(x1, x2, stack: Stack, activated: _Through, *, across: bool):
    pairs = _needs_pairs(stack.layers)
    first = _Kernels(_means(x1, x2, stack, pairs=pairs, across=across), None)
    flat = isinstance(stack.layers[0], Flatten)
    return _walk(first, stack.layers[flat:], stack, activated, pairs=pairs)


def own(x: Float[Array, "b d"], stack: Stack) -> Own:
    """Returns what is known of every image with itself.

    Args:
        x: images.
        stack: the architecture.
    """
    dual, variances = stack.phi.dual, []

    def activated(of: _Kernels, pairs: bool) -> _Kernels:
        equal = _equal if pairs else lambda each: each
        var = equal(of.cov)
        variances.append(jnp.moveaxis(var, -1, 0))
        exact = dual.diag(var)
        same = _Kernels(exact.value, _times(exact.slope, jax.tree.map(equal, of.ntk)))
        if not pairs:
            return same
        q1, q2 = (
            jnp.broadcast_to(q, of.cov.shape) for q in (var[:, :, None, None], var)
        )
        pair = dual.reversible(q1, q2, of.cov)
        found = _Kernels(pair.value, _times(pair.slope, of.ntk))
        # of a position and itself series are cut off where they converge worst
        placed = lambda whole, equal: whole.at[_places(whole)].set(equal)
        return jax.tree.map(placed, found, same)

    last = _through_stack(x, x, stack, activated, across=False)
    return Own(last.cov, last.ntk, tuple(variances))


def cross(
    x1: Float[Array, "b1 d"],
    x2: Float[Array, "b2 d"],
    own1: Own,
    own2: Own,
    stack: Stack,
    *,
    reversible: bool = False,
) -> KernelPair:
    """Returns both kernels of a block, (b1, b2).

    Args:
        x1: images.
        x2: images.
        own1: `own` of the first.
        own2: `own` of the second.
        stack: the architecture.
        reversible: whether reverse-mode derivatives are needed.
    """
    dual = stack.phi.dual
    pair_of = dual.reversible if reversible else dual.pair
    variances = zip(own1.variances, own2.variances, strict=True)

    def activated(of: _Kernels, pairs: bool) -> _Kernels:
        var1, var2 = (jnp.moveaxis(var, 0, -1) for var in next(variances))
        var1 = jnp.repeat(var1, len(x2), axis=-1)
        var2 = jnp.tile(var2, len(x1))
        if pairs:
            var1 = var1[:, :, None, None]
        # kernels of quadrature take equal shapes
        q1, q2 = (jnp.broadcast_to(var, of.cov.shape) for var in (var1, var2))
        found = pair_of(q1, q2, of.cov)
        # both kernels hold the value: compilers would compute it for each of them
        value, slope = jax.lax.optimization_barrier((found.value, found.slope))
        return _Kernels(value, _times(slope, of.ntk))

    last = _through_stack(x1, x2, stack, activated, across=True)
    block = len(x1), len(x2)
    return KernelPair(nngp=last.cov.reshape(block), ntk=last.ntk.reshape(block))


def pair(
    one: Float[Array, " d"],
    two: Float[Array, " d"],
    stack: Stack,
    *,
    reversible: bool = False,
) -> KernelPair:
    """Returns both kernels of two images; `reversible` as in `cross`."""
    one, two = one[None], two[None]
    known = (own(x, stack) for x in (one, two))
    found = cross(one, two, *known, stack, reversible=reversible)
    return KernelPair(nngp=found.nngp[0, 0], ntk=found.ntk[0, 0])


def numbers_of_a_pair(stack: Stack) -> int:
    """Returns how many numbers a pair of images has in the first layer."""
    if isinstance(stack.layers[0], Flatten):
        return 1
    positions = math.prod(stack.shape[:2])
    return positions**2 if _needs_pairs(stack.layers) else positions
