"""NNGP and tangent kernel of a `Stack`, between two sets of images.

The recursion of a block is `positions`; here blocks are filled in.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Shaped

from theory.architectures import positions
from theory.architectures.stack import Stack
from theory.errors import InputError
from theory.kernels.propagation import KernelPair
from theory.numerics import blocks, doors, memory
from theory.numerics.signatures import checked

# Arrays of a block of pairs of images: in use at once, and held at most.
_USED, _HELD = 4, 10
_PAIRS = 8  # at least: they stand side by side in memory, as vector instructions need


def _block(stack: Stack, n1: int, n2: int, itemsize: int) -> tuple[int, int]:
    """Images of a block, so that its pairs of positions stay at hand."""
    pair = positions.numbers_of_a_pair(stack) * itemsize
    most = max(_PAIRS, memory.block_bytes() // (_USED * pair))
    columns = blocks.evenly(n2, max(_PAIRS, math.isqrt(most)), 1)
    return blocks.evenly(n1, max(1, most // columns), 1), columns


def _checked(stack: Stack, *xs: Any) -> list[Array]:
    """The images of the public entries, of one floating dtype."""
    stack.check()
    stack.check_ntk()
    points = [doors.array("points", x, "(n, d)") for x in xs]
    for x in points:
        if x.shape[1] != stack.pixels:
            raise InputError(
                f"images of shape {stack.shape} are rows of {stack.pixels} numbers, "
                f"got {x.shape[1]}."
            )
    dtype = functools.reduce(jnp.promote_types, (x.dtype for x in points))
    n1, n2, size = len(points[0]), len(points[-1]), jnp.dtype(dtype).itemsize
    block = math.prod(_block(stack, n1, n2, size)) * positions.numbers_of_a_pair(stack)
    memory.check_memory(
        (2 * n1 * n2 + _HELD * block) * size,
        f"a kernel of {n1} x {n2} images",
        "use fewer or smaller images, float32, or, if it has any, no pooling",
    )
    return [x.astype(dtype) for x in points]


@functools.partial(jax.jit, static_argnames=("own", "block"))
def _filled(x1, x2, stack: Stack, *, own: bool, block: tuple[int, int]) -> KernelPair:
    alone = lambda x: blocks.map_rows(
        lambda part: positions.own(part, stack), x, min(block)
    )
    own1 = alone(x1)
    own2 = own1 if own else alone(x2)

    def rows(given, at, count):
        cut = lambda each: jax.lax.dynamic_slice_in_dim(each, at, count)
        return jax.tree.map(cut, given)

    def of(i, j):
        (part1, given1), (part2, given2) = (
            rows((x1, own1), i, block[0]),
            rows((x2, own2), j, block[1]),
        )
        return positions.cross(part1, part2, given1, given2, stack)

    if not own:
        return blocks.fill(of, len(x1), len(x2), block)
    found, at = blocks.fill_upper(of, len(x1), block), jnp.arange(len(x1))
    return KernelPair(
        nngp=found.nngp.at[at, at].set(own1.nngp),
        ntk=found.ntk.at[at, at].set(own1.ntk),
    )


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
    times as much. Memory: the result, and blocks of 8 pairs or what the caches hold.
    Nearly parallel images lose half of the digits with kinked activations; an image and
    itself do not in `gram`.

    Args:
        x1: images, as rows of `stack.pixels` numbers.
        x2: images.
        stack: the architecture.

    Returns:
        nngp and ntk, each (n1, n2).

    Raises:
        InputError: bad layers, images of another shape, an activation without NTK, or
            a kernel larger than the memory.
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
