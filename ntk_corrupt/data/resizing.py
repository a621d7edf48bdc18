"""Bilinear resizing of images, on pixels, before any normalisation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntk_corrupt.data.subsets import check_integer
from theory.errors import InputError


def target(size: object, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of one image after `resize`.

    Args:
        size: (height, width) in pixels, or one integer for both; each >= 1.
        image_shape: (height, width) or (height, width, channels) of the images.

    Raises:
        InputError: `size` is none of these, or the images have no height and width.
    """
    pair: tuple[Any, ...] = (
        tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    )
    if len(pair) != 2:
        raise InputError(f"`size` must be an integer or (height, width), got {size!r}.")
    for side in pair:
        check_integer("size", side, minimum=1)
        if side > 2**13:
            raise InputError(f"`size` must be at most {2**13} pixels, got {side}.")
    if len(image_shape) not in (2, 3):
        raise InputError(
            "`size` needs images of shape (n, height, width) or (n, height, width, "
            f"channels), got {('n', *image_shape)}: reshape them, or leave `size` out."
        )
    return (*pair, *image_shape[2:])


def resize(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bilinear interpolation, with anti-aliasing when the image shrinks.

    Every new pixel is a weighted mean of old ones, so the range never grows.

    Args:
        pixels: (n, height, width) or (n, height, width, channels) floats.
        shape: of one new image, from `target`.

    Returns:
        (n, *shape) array in JAX's default float dtype.
    """
    images = jnp.asarray(pixels, dtype=jnp.result_type(float))
    resized = jax.image.resize(images, (len(pixels), *shape), "linear", antialias=True)
    # Only rounding leaves the range of the image: the weights are positive, of sum 1.
    return np.clip(np.asarray(resized), pixels.min(), pixels.max())
