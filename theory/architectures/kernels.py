"""NNGP and tangent kernel of a `Stack`, between two sets of images.

Beside the two kernels of the features, every layer has them between positions: of equal
ones if no pooling follows, of all pairs if it does.

Equations: docs/theory/architectures.md (M1)-(M3).

References: Garriga-Alonso et al. 2019, arXiv:1808.05587; Novak et al. 2019,
arXiv:1810.05148; Arora et al. 2019, arXiv:1904.11955.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

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
from theory.errors import InputError
from theory.kernels.propagation import KernelPair
from theory.numerics import blocks, doors, memory
from theory.numerics.edges import matmul
from theory.numerics.signatures import checked

# Bytes of a block of pairs of images, of which some ten arrays are held at once.
_BLOCK_BYTES, _HELD = 2**28, 10


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


def _each(fn: Callable[[Array], Array], known: _Known) -> _Known:
    return jax.tree.map(fn, known)


def _equal(of: Array) -> Array:
    """Entries of equal positions, of those of all pairs."""
    h, w = jnp.arange(of.shape[-2])[:, None], jnp.arange(of.shape[-1])[None, :]
    return of[..., h, w, h, w]


def _shifted(of: Array, layer: Convolution, axes: tuple[int, int], shape):
    """Pads two axes and returns the cut of them that an offset in the window sees."""
    pads = layer.pads(shape)
    if layer.padding != "valid":
        widths = [(0, 0)] * of.ndim
        for axis, pad in zip(axes, pads, strict=True):
            widths[axis] = pad
        mode = "wrap" if layer.padding == "circular" else "constant"
        of = jnp.pad(of, widths, mode=mode)
    counts = [(of.shape[axis] - layer.size) // layer.stride + 1 for axis in axes]

    def cut(of: Array, offset: tuple[int, int]) -> Array:
        for axis, start, count in zip(axes, offset, counts, strict=True):
            stop = start + (count - 1) * layer.stride + 1
            of = jax.lax.slice_in_dim(of, start, stop, layer.stride, axis)
        return of

    return of, cut


def _window_mean(of: Array, layer: Convolution, pairs: bool) -> Array:
    """Mean over the windows of a convolution, which move together for both images."""
    last = of.ndim
    places = [(last - 4, last - 3), (last - 2, last - 1)][0 if pairs else 1 :]
    cuts = []
    for axes in places:
        shape = of.shape[last - 2], of.shape[last - 1]
        if pairs:
            shape = tuple(of.shape[axis] for axis in axes)
        cuts.append((axes, shape))
    seen = []
    for axes, shape in cuts:
        of, cut = _shifted(of, layer, axes, shape)
        seen.append(cut)
    total = jnp.zeros((), of.dtype)
    for row in range(layer.size):
        for column in range(layer.size):
            part = of
            for cut in seen:
                part = cut(part, (row, column))
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
    lead = lambda var, axis: jnp.expand_dims(var, axis)
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
        h, w = jnp.arange(var.shape[-2])[:, None], jnp.arange(var.shape[-1])[None, :]
        # of a position and itself closed forms would lose half of the digits
        return jax.tree.map(
            lambda all, of: all.at[..., h, w, h, w].set(of), found, same
        )

    cross = through(known.cross, spread1(lead(var1, 1)), spread2(lead(var2, 0)))
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
            known = _each(lambda of: of.mean(axis=(-2, -1)), known)
        elif isinstance(layer, GlobalAverage):
            known = _each(lambda of: of.mean(axis=(-4, -3, -2, -1)), known)
            pairs = False
        elif isinstance(layer, AveragePooling):
            known = _each(functools.partial(_pooled, size=layer.size), known)
            if not _needs_pairs(layers[number + 1 :]):
                known, pairs = _each(_equal, known), False
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


def _block(stack: Stack, n1: int, n2: int, itemsize: int) -> tuple[int, int]:
    """Images of a block, so that its pairs of positions fit."""
    most = max(1, _BLOCK_BYTES // (_HELD * numbers_of_a_pair(stack) * itemsize))
    side = max(1, math.isqrt(most))
    return min(n1, side), min(n2, max(1, most // min(n1, side)))


def _checked(stack: Stack, *xs: Any) -> list[Array]:
    """The images of the public entries, of one floating dtype."""
    stack.check()
    points = [doors.array("points", x, "(n, d)") for x in xs]
    for x in points:
        if x.shape[1] != stack.pixels:
            raise InputError(
                f"images of shape {stack.shape} are rows of {stack.pixels} numbers, "
                f"got {x.shape[1]}."
            )
    dtype = functools.reduce(jnp.promote_types, (x.dtype for x in points))
    n1, n2, size = len(points[0]), len(points[-1]), jnp.dtype(dtype).itemsize
    block = math.prod(_block(stack, n1, n2, size)) * numbers_of_a_pair(stack)
    memory.check_memory(
        (2 * n1 * n2 + _HELD * block) * size,
        f"a kernel of {n1} x {n2} images with all pairs of positions",
        "use fewer or smaller images, float32, or no pooling",
    )
    return [x.astype(dtype) for x in points]


@functools.partial(jax.jit, static_argnames=("own", "block"))
def _filled(x1, x2, stack: Stack, *, own: bool, block: tuple[int, int]) -> KernelPair:
    def of(i, j):
        part1 = jax.lax.dynamic_slice_in_dim(x1, i, block[0])
        part2 = jax.lax.dynamic_slice_in_dim(x2, j, block[1])
        found = known(part1, part2, stack)
        if not own:
            return KernelPair(nngp=found.cross.cov, ntk=found.cross.ntk)
        row, column = jnp.arange(block[0]) + i, jnp.arange(block[1]) + j
        same = row[:, None] == column[None, :]
        pick = lambda cross, each: jnp.where(same, each[:, None], cross)
        return KernelPair(
            nngp=pick(found.cross.cov, found.own1.cov),
            ntk=pick(found.cross.ntk, found.own1.ntk),
        )

    if own:
        return blocks.fill_upper(of, len(x1), block)
    return blocks.fill(of, len(x1), len(x2), block)


def _kernels(x1: Array, x2: Array, stack: Stack, *, own: bool = False) -> KernelPair:
    block = _block(stack, len(x1), len(x2), x1.dtype.itemsize)
    return _filled(x1, x2, stack, own=own, block=block)


@checked
def nngp_ntk(
    x1: Shaped[ArrayLike, "n1 d"], x2: Shaped[ArrayLike, "n2 d"], stack: Stack
) -> KernelPair:
    """Returns both kernels between two sets of images.

    Cost, for s positions and windows of k of them: n1 n2 s (k + the dual) a layer where
    no pooling follows, n1 n2 s^2 of the same where it does: for 28 x 28 pixels 784
    times as much. Memory: the result, and blocks of 256 MB. Nearly parallel images lose
    half of the digits with kinked activations; an image and itself do not in `gram`.

    Args:
        x1: images, as rows of `stack.pixels` numbers.
        x2: images.
        stack: the architecture.

    Returns:
        nngp and ntk, each (n1, n2).

    Raises:
        InputError: bad layers, images of another shape, or a kernel larger than the
            memory.
    """
    return _kernels(*_checked(stack, x1, x2), stack)


@checked
def gram(x: Shaped[ArrayLike, "n d"], stack: Stack) -> KernelPair:
    """Returns both kernels of images with themselves, symmetric: half of `nngp_ntk`.

    Args:
        x: images, as rows of `stack.pixels` numbers.
        stack: the architecture.

    Raises:
        InputError: as `nngp_ntk`.
    """
    (points,) = _checked(stack, x)
    return jax.tree.map(_mirrored, _kernels(points, points, stack, own=True))


_mirrored = jax.jit(blocks.mirror)
