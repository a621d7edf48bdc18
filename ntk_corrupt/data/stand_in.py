"""Problems of the shapes that data sets have, without their images: for plans.

Counts of images are those of the files that the authors publish.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ntk_corrupt.data import normalise as normalisations
from ntk_corrupt.data import resizing, subsets
from ntk_corrupt.data.normalise import ImageError
from ntk_corrupt.data.pool import checked_classes
from theory.errors import InputError, unknown
from theory.problem import Problem

_TEN = 10 * (1000,)
_DIGITS = (
    (119, 121, 118, 122, 121, 121, 121, 119, 116, 120),
    (59, 61, 59, 61, 60, 61, 60, 60, 58, 60),
)
# Name -> shape of an image, and of training and test images how many in each class.
_SETS = {
    "digits": ((8, 8), *_DIGITS),
    "colour_digits": ((8, 8, 3), *_DIGITS),
    "gaussian_prototypes": ((64,), 10 * (600,), 10 * (200,)),
    "mnist": (
        (28, 28),
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
    "kmnist": ((28, 28), 10 * (6000,), _TEN),
    "fashion_mnist": ((28, 28), 10 * (6000,), _TEN),
    "cifar10": ((32, 32, 3), 10 * (5000,), _TEN),
}


def stand_in(
    name: str,
    *,
    n_train: int | None = None,
    n_test: int | None = None,
    normalise: str = "standardise",
    size: int | None = None,
    classes: Sequence[int] | None = None,
) -> Problem:
    """Returns a problem as `data.load` does, quickly, all images the same random one.

    Its arrays are views of one image, NumPy's.

    Args:
        name: of the data set.
        n_train: as in `data.load`.
        n_test: as in `data.load`.
        normalise: as in `data.load`.
        size: as in `data.load`.
        classes: as in `data.load`.

    Raises:
        InputError: as `data.load` does, but for what the files alone can tell.
    """
    if name not in _SETS:
        raise unknown("data set", name, _SETS)
    shape, *counts = _SETS[name]
    if size is not None:
        shape = resizing.target(size, shape)
    random = np.random.default_rng(0)
    is_drawn = name == "gaussian_prototypes"
    image = random.normal(size=shape) if is_drawn else random.random(shape)
    try:
        row = normalisations.get(normalise)(image[None]).ravel()
    except ImageError as error:
        raise InputError(f"`x_train`: image 0 {error.reason}") from None
    parts: dict[str, Any] = {}
    kept = checked_classes(classes, len(counts[0]))
    for part, n, all_of in zip(
        ("train", "test"), (n_train, n_test), counts, strict=True
    ):
        count = [all_of[i] for i in kept]
        labels = np.repeat(np.arange(len(count), dtype=np.int32), count)
        chosen = subsets.balanced(
            labels, n, num_classes=len(count), seed=0, stream=part
        )
        parts[f"labels_{part}"] = labels[chosen]
        parts[f"x_{part}"] = np.broadcast_to(row, (len(chosen), row.size))
    return Problem(**parts, num_classes=len(kept))
