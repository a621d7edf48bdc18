"""Corrupted copies of images: which draw of the noise, and which copy of an image.

Every route sees the same images for the same (key, draw). What is drawn for other ends
has a stream of its own.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from theory.corruption.base import Corruption
from theory.errors import InputError, check_count
from theory.keys import draw_key, stream
from theory.numerics import doors
from theory.numerics.signatures import checked
from theory.problem import Problem
from theory.renamed import renamed


@renamed("noise", "corruption")
@checked
def corrupt(
    corruption: Corruption, key: Array, draw: Array | int, x: Shaped[Array, "n d"]
) -> Float[Array, "n d"]:
    """Returns corrupted copy number `draw` of the images `x`.

    The same (key, draw) gives the same copy in float32 and float64, to every route; up
    to a rounding in float32, by which compiled and op-by-op noise may differ.

    Args:
        corruption: the corruption.
        key: a typed PRNG key; consumed (fold a name into it for other uses).
        draw: number of the copy, >= 0; may be traced.
        x: clean images; half precision becomes float32.

    Returns:
        The corrupted images, of the shape of `x`.

    Raises:
        InputError: a corruption that makes no sense or does not suit the images, where
            their values are known.
    """
    x = _images(corruption, draw, x)
    return corruption.apply(draw_key(key, draw), x)


def _images(corruption: Corruption, draw: Array | int, x: Any) -> Array:
    """The images as floats; what can be looked at is checked."""
    if doors.concrete(corruption):
        corruption.check()
    if doors.concrete(draw):
        if np.shape(draw):
            raise InputError(f"`draw` must be one number, got {np.shape(draw)}.")
        check_count("draw", np.asarray(draw).item(), 0)
    x = doors.array("x", x, "(n, d)", whole=False, finite=False)
    if doors.concrete(x, corruption):
        corruption.check_images(x)
    return x


@renamed("noise", "corruption")
@checked
def corrupt_copies(
    corruption: Corruption,
    key: Array,
    draw: Array | int,
    x: Shaped[Array, "n d"],
    copies: int,
) -> Float[Array, "m d"]:
    """Returns several corrupted copies of every image of draw number `draw`.

    Copy 0 is `corrupt(corruption, key, draw, x)`; copies are independent, and the first
    ones are the same however many follow.

    Args:
        corruption: the corruption.
        key: as in `corrupt`.
        draw: as in `corrupt`.
        x: clean images.
        copies: how many of each, >= 1.

    Returns:
        (copies n, d): all images of copy 0, then all of copy 1 and so on, so that
        image a of copy r is row r n + a.
    """
    check_count("copies", copies)
    x = _images(corruption, draw, x)
    first = corruption.apply(draw_key(key, draw), x)
    if copies == 1:
        return first
    # By name: the second half of a split key is the key with 1 folded in.
    more = stream(draw_key(key, draw), "copies")
    # Not vmapped: random bits of other generators than threefry depend on the batch.
    rest = jax.lax.map(
        lambda copy: corruption.apply(jax.random.fold_in(more, copy), x),
        jnp.arange(1, copies),
    )
    return jnp.concatenate([first, rest.reshape(-1, x.shape[1])])


@checked
def corrupt_test(
    test_corruption: Corruption | None,
    key: Array,
    draw: Array | int,
    x: Shaped[Array, "n d"],
) -> Float[Array, "n d"]:
    """Returns the test images that draw number `draw` is asked about.

    Corrupted independently of the training images, by the stream "test" of the draw;
    `x` itself for None.
    """
    if test_corruption is None:
        return x
    x = _images(test_corruption, draw, x)
    return test_corruption.apply(stream(draw_key(key, draw), "test"), x)


@checked
def corrupt_problem(
    corruption: Corruption,
    problem: Problem,
    key: Array,
    draw: Array | int,
    *,
    copies: int = 1,
    test_corruption: Corruption | None = None,
) -> Problem:
    """Returns what draw number `draw` trains on and is asked about.

    `corrupt_copies` of the training images, their labels repeated, and `corrupt_test`
    of the test images.
    """
    return dataclasses.replace(
        problem,
        x_train=corrupt_copies(corruption, key, draw, problem.x_train, copies),
        labels_train=jnp.tile(problem.labels_train, copies),
        x_test=corrupt_test(test_corruption, key, draw, problem.x_test),
    )


def check_options(
    corruption: Corruption,
    problem: Problem,
    *,
    copies: int,
    test_corruption: Corruption | None,
) -> None:
    """Raises `InputError` on corruptions that do not suit the images. Host only."""
    corruption.check()
    corruption.check_images(problem.x_train)
    check_count("copies", copies)
    check_test_corruption(test_corruption, problem.x_test)


def check_test_corruption(
    test_corruption: Corruption | None, x_test: Float[Array, "n d"]
) -> None:
    """Raises `InputError` on a corruption that does not suit the images. Host only."""
    if test_corruption is None:
        return
    try:
        test_corruption.check()
        test_corruption.check_images(x_test)
    except InputError as error:
        raise InputError(f"`test_corruption`: {error}") from None
