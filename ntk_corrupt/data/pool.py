"""Every image there is of a data set, and the road from there to a `theory.Problem`.

The road, one block of images at a time: choose (`subsets`), divide by `scale`, resize
(`resizing`), normalise (`normalise`), flatten, cast. The checks of labels and shapes
are here, so that files and the user's own arrays pass the same ones.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ntk_corrupt.data import normalise as normalisations
from ntk_corrupt.data import resizing, subsets
from theory.errors import InputError
from theory.problem import Problem

_BLOCK = 1024  # images; a block of 28 x 28 ones in float64 is 6 MB and stays in cache


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
    """All images of a data set, before any choice. Host memory, NumPy.

    Attributes:
        images_train: (n_train, ...) bytes, integers or floats.
        labels_train: (n_train,) integers in 0 ... num_classes-1.
        images_test: (n_test, ...) as the training images.
        labels_test: (n_test,) integers.
        num_classes: number of classes.
        scale: the value of a white pixel: 255 for bytes.
    """

    images_train: np.ndarray
    labels_train: np.ndarray
    images_test: np.ndarray
    labels_test: np.ndarray
    num_classes: int
    scale: float = 255.0

    def part(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of "train" or "test"."""
        return getattr(self, f"images_{name}"), getattr(self, f"labels_{name}")

    def check(self) -> None:
        """Raises `InputError` unless shapes, labels and values fit together."""
        subsets.check_integer("num_classes", self.num_classes, minimum=2)
        for part in ("train", "test"):
            images, labels = self.part(part)
            if images.ndim < 2 or 0 in images.shape:
                raise InputError(
                    f"`x_{part}` must have shape (n, ...) with at least one image and "
                    f"one pixel, got {images.shape}."
                )
            if labels.shape != images.shape[:1]:
                raise InputError(
                    f"`labels_{part}` must have shape {images.shape[:1]}, one label "
                    f"per image of `x_{part}`, got {labels.shape}."
                )
            _check_labels(labels, self.num_classes, f"labels_{part}")
            _check_values(images, f"x_{part}")
        if self.images_train.shape[1:] != self.images_test.shape[1:]:
            raise InputError(
                "`x_train` and `x_test` must hold images of one shape, got "
                f"{self.images_train.shape[1:]} and {self.images_test.shape[1:]}."
            )

    def problem(
        self,
        *,
        n_train: int | None,
        n_test: int | None,
        normalise: str,
        seed: int,
        test_seed: int,
        size: int | tuple[int, int] | None,
        classes: Sequence[int] | None,
    ) -> Problem:
        """Chooses, resizes and normalises; arguments as in `loading.load`."""
        self.check()
        classes = checked_classes(classes, self.num_classes)
        shape = self.images_train.shape[1:]
        if size is not None:
            shape = resizing.target(size, shape)
        fields: dict[str, Any] = {}
        for part, n, part_seed in (
            ("train", n_train, seed),
            ("test", n_test, test_seed),
        ):
            images, labels = self.part(part)
            position = np.full(self.num_classes, -1, dtype=np.int32)
            position[list(classes)] = np.arange(len(classes))
            relabelled = position[labels]
            kept = np.flatnonzero(relabelled >= 0)
            if part == "train":
                _check_present(relabelled[kept], classes)
            if not kept.size:
                raise InputError(f"`x_{part}` has no image of the classes {classes}.")
            chosen = kept[
                subsets.balanced(
                    relabelled[kept],
                    n,
                    num_classes=len(classes),
                    seed=part_seed,
                    stream=part,
                )
            ]
            fields[f"x_{part}"] = _inputs(
                self, part, chosen, shape=shape, normalise=normalise
            )
            fields[f"labels_{part}"] = jnp.asarray(relabelled[chosen])
        return Problem(**fields, num_classes=len(classes))


def _inputs(
    pool: Pool, part: str, chosen: np.ndarray, *, shape: tuple[int, ...], normalise: str
) -> Array:
    """The chosen images, resized to `shape` and normalised: (n, d) on the device."""
    function = normalisations.get(normalise)
    images, labels = pool.part(part)
    rows = np.empty((len(chosen), int(np.prod(shape))), dtype=jnp.result_type(float))
    for start in range(0, len(chosen), _BLOCK):
        block = chosen[start : start + _BLOCK]
        # In float64 whatever the result is: the float32 one is its rounding.
        pixels = images[block].astype(np.float64)
        if pool.scale != 1:
            pixels /= pool.scale
        if shape != images.shape[1:]:
            pixels = resizing.resize(pixels, shape)
        try:
            normalised = function(pixels)
        except normalisations.ImageError as error:
            i = int(block[error.index])
            raise InputError(
                f"`x_{part}`: image {i} (class {int(labels[i])}) {error.reason}"
            ) from None
        with np.errstate(over="ignore"):
            cast = normalised.reshape(len(block), -1).astype(rows.dtype)
        if not np.isfinite(cast).all():
            raise InputError(
                f"`x_{part}` must fit in {rows.dtype}, got values up to "
                f"{np.abs(normalised).max():.1e}: rescale them, or enable x64."
            )
        rows[start : start + _BLOCK] = cast
    return jnp.asarray(rows)


def _check_labels(labels: np.ndarray, num_classes: int, argument: str) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"`{argument}` must be integers, got {labels.dtype}: convert them with "
            "`.astype(int)`."
        )
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if bad.size:
        raise InputError(
            f"`{argument}` must lie in 0 ... {num_classes - 1}, got {labels[bad[0]]} "
            f"for image {bad[0]}."
        )


def _check_values(images: np.ndarray, argument: str) -> None:
    kind = images.dtype.kind
    if kind not in "buif":
        raise InputError(
            f"`{argument}` must hold real numbers, got dtype {images.dtype}."
        )
    if kind == "f":
        finite = np.isfinite(images.reshape(len(images), -1)).all(axis=1)
        if not finite.all():
            raise InputError(
                f"`{argument}` must be finite, got NaN or infinity in image "
                f"{int(finite.argmin())}."
            )


def checked_classes(classes: Sequence[int] | None, num_classes: int) -> tuple[int, ...]:
    """Returns the labels to keep; `InputError` unless they are two that there are."""
    if classes is None:
        return tuple(range(num_classes))
    chosen = tuple(classes)
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        raise InputError(
            f"`classes` must name at least 2 different classes, got {chosen}."
        )
    for i in chosen:
        if i not in range(num_classes):
            raise InputError(
                f"`classes` must lie in 0 ... {num_classes - 1}, got {i!r}."
            )
    return chosen


def _check_present(labels: np.ndarray, classes: tuple[int, ...]) -> None:
    absent = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
    if absent.size:
        raise InputError(
            f"`labels_train` must have an image of each of the {len(classes)} classes, "
            f"got none of class {classes[absent[0]]}: lower `num_classes`, or name the "
            "classes to keep in `classes`."
        )
