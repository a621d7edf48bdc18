"""Normalisations of pixels: pure functions from (n, ...) arrays to (n, ...) arrays.

Pixels are floats, 0 black and 1 white. Each image is treated alone: no statistic of
the data set enters, so that a subset is normalised as the whole set is. What cannot
be normalised is refused with `ImageError`, never repaired.
"""

from collections.abc import Callable

import numpy as np

from theory.errors import InputError, unknown

# An image whose pixels differ by less than this share of its largest one is constant
# up to the rounding of float32. One grey level of 255 in one pixel of a 4096 x 4096
# image, the least that an image of bytes can vary, is still above it in RMS.
_CONSTANT = 5e-7


class ImageError(InputError):
    """An image that a normalisation refuses.

    Attributes:
        index: its position along the first axis of the array that was passed.
        reason: what is wrong and the way out, to follow "image {index}".
    """

    def __init__(self, index: int, reason: str):
        """Makes the error from the position of the image and the reason."""
        super().__init__(f"image {index} {reason}")
        self.index = index
        self.reason = reason


def standardise(pixels: np.ndarray) -> np.ndarray:
    """Mean 0 and mean square 1 over the pixels of each image.

    x <- (x - mean(x)) / RMS(x - mean(x)); the scale of the pixels does not matter.

    Args:
        pixels: (n, ...) floats of any scale.

    Returns:
        Array of the same shape and dtype.

    Raises:
        ImageError: an image is constant.
    """
    flat = pixels.reshape(len(pixels), -1)
    peak = np.abs(flat).max(axis=1, keepdims=True)
    # In units of the largest pixel nothing overflows, and 1e-200 is not yet constant.
    centred = flat / np.where(peak > 0, peak, 1)
    centred -= centred.mean(axis=1, keepdims=True)
    rms = np.sqrt(np.einsum("nd,nd->n", centred, centred) / flat.shape[1])
    constant = rms <= _CONSTANT
    if constant.any():
        raise ImageError(
            int(constant.argmax()),
            "is constant, and `normalise='standardise'` divides by its standard "
            "deviation: drop the image, or pass `normalise='unit'`.",
        )
    centred /= rms[:, None]
    return centred.reshape(pixels.shape)


def unit(pixels: np.ndarray) -> np.ndarray:
    """The pixels themselves, in [0, 1].

    Args:
        pixels: (n, ...) floats in [0, 1].

    Returns:
        Array of the same shape and dtype.

    Raises:
        ImageError: a pixel lies outside [0, 1].
    """
    _check_range(pixels, "unit")
    return pixels


def signed(pixels: np.ndarray) -> np.ndarray:
    """2 x - 1, in [-1, 1]. Arguments, result and errors as in `unit`."""
    _check_range(pixels, "signed")
    return 2 * pixels - 1


def binary(pixels: np.ndarray) -> np.ndarray:
    """1 where x >= 1/2, else 0. Arguments, result and errors as in `unit`."""
    _check_range(pixels, "binary")
    return (pixels >= 0.5).astype(pixels.dtype)


def none(pixels: np.ndarray) -> np.ndarray:
    """The values as they are, of any scale: for arrays that are already normalised."""
    return pixels


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    function.__name__: function
    for function in (standardise, unit, signed, binary, none)
}
NORMALISATIONS = tuple(_FUNCTIONS)


def get(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the normalisation called `name`, one of `NORMALISATIONS`.

    Raises:
        InputError: there is none of that name.
    """
    if name not in _FUNCTIONS:
        raise unknown("normalisation", name, NORMALISATIONS)
    return _FUNCTIONS[name]


def _check_range(pixels: np.ndarray, name: str) -> None:
    flat = pixels.reshape(len(pixels), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    outside = (low < 0) | (high > 1)
    if outside.any():
        i = int(outside.argmax())
        raise ImageError(
            i,
            f"has values from {low[i]:.4g} to {high[i]:.4g}, and `normalise='{name}'` "
            "takes pixels in [0, 1]: divide by the largest possible value first, or "
            "pass `normalise='standardise'` or 'none', which take any scale.",
        )
