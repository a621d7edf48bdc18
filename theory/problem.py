"""What every route takes: the classification problem and the architecture.

Letters of the shapes, used in all of `theory` and `ntk_corrupt`: `n_train` and
`n_test` points, `d` inputs per point, `c` classes, `w` width.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from theory.errors import InputError, check_count
from theory.numerics import doors
from theory.records import record, static


@record(kw_only=True)
class Problem:
    """Clean training images with labels, and the clean images to classify.

    Attributes:
        x_train: clean training inputs; every route corrupts them itself.
        labels_train: class of each, in 0 ... num_classes-1; need not be balanced.
        x_test: inputs to predict at, left clean.
        labels_test: their classes.
        num_classes: number of classes, static.
    """

    x_train: Float[Array, "n_train d"]
    labels_train: Int[Array, " n_train"]
    x_test: Float[Array, "n_test d"]
    labels_test: Int[Array, " n_test"]
    num_classes: int = static()

    @property
    def y(self) -> Float[Array, "n_train c"]:
        """One-hot training targets, in the dtype of `x_train`."""
        return jax.nn.one_hot(
            self.labels_train, self.num_classes, dtype=self.x_train.dtype
        )

    @property
    def class_counts(self) -> Int[Array, " c"]:
        """Number n_i of training images of each class."""
        return jnp.bincount(self.labels_train, length=self.num_classes)

    def astype(self, dtype) -> "Problem":
        """Returns the problem with its inputs in `dtype`."""
        return dataclasses.replace(
            self, x_train=self.x_train.astype(dtype), x_test=self.x_test.astype(dtype)
        )

    def check(self) -> None:
        """Raises `InputError` unless shapes, labels and values fit together.

        Runs on the host, once per public call; of traced arrays shapes and dtypes are
        looked at alone. A class without a training image is
        legal here (its output is the constant part of the law); the loaders of
        `ntk_corrupt.data` refuse it.
        """
        check_count("num_classes", self.num_classes, 2)
        for part in ("train", "test"):
            x, labels = getattr(self, f"x_{part}"), getattr(self, f"labels_{part}")
            for name, value in ((f"x_{part}", x), (f"labels_{part}", labels)):
                if not isinstance(value, jax.Array | np.ndarray):
                    raise InputError(
                        f"`{name}` must be an array, got {type(value).__name__}: use "
                        "jnp.asarray."
                    )
            if x.ndim != 2 or 0 in x.shape:
                raise InputError(
                    f"`x_{part}` must have shape (n, d) with n, d >= 1, got {x.shape}: "
                    "flatten the images first."
                )
            if x.dtype not in (jnp.float32, jnp.float64):
                raise InputError(
                    f"`x_{part}` must be floating point, float32 or float64, got "
                    f"{x.dtype}: normalise it, or use astype."
                )
            if labels.shape != x.shape[:1]:
                raise InputError(
                    f"`labels_{part}` must have shape {x.shape[:1]} to match "
                    f"`x_{part}`, got {labels.shape}."
                )
            if not jnp.issubdtype(labels.dtype, jnp.integer):
                raise InputError(
                    f"`labels_{part}` must be integers, got {labels.dtype}."
                )
            if not doors.concrete(x, labels):
                continue
            values = np.asarray(labels)
            bad = values[(values < 0) | (values >= self.num_classes)]
            if bad.size:
                raise InputError(
                    f"`labels_{part}` must lie in 0 ... {self.num_classes - 1} "
                    f"(`num_classes` is {self.num_classes}), got {bad[0]}."
                )
            if not doors.holds(jnp.isfinite, x):
                raise InputError(f"`x_{part}` must be finite, got NaN or infinity.")
        if self.x_train.shape[1] != self.x_test.shape[1]:
            raise InputError(
                "`x_train` and `x_test` must have the same number of inputs per point, "
                f"got {self.x_train.shape[1]} and {self.x_test.shape[1]}."
            )
        if self.x_train.dtype != self.x_test.dtype:
            raise InputError(
                "`x_train` and `x_test` must have the same dtype, got "
                f"{self.x_train.dtype} and {self.x_test.dtype}."
            )
