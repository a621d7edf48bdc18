"""What every route takes: the classification problem and the architecture.

Letters of the shapes, used in all of `theory` and `ntk_corrupt`: `n_train` and
`n_test` points, `d` inputs per point, `c` classes, `w` width.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from theory import activations
from theory.errors import InputError
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

        Runs on the host, once per public call. A class without a training image is
        legal here (its output is the constant part of the law); the loaders of
        `ntk_corrupt.data` refuse it.
        """
        for part in ("train", "test"):
            x, labels = getattr(self, f"x_{part}"), getattr(self, f"labels_{part}")
            if x.ndim != 2 or 0 in x.shape:
                raise InputError(
                    f"`x_{part}` must have shape (n, d) with n, d >= 1, got {x.shape}: "
                    "flatten the images first."
                )
            if not jnp.issubdtype(x.dtype, jnp.floating):
                raise InputError(
                    f"`x_{part}` must be floating point, got {x.dtype}: normalise it."
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
            values = np.asarray(labels)
            bad = values[(values < 0) | (values >= self.num_classes)]
            if bad.size:
                raise InputError(
                    f"`labels_{part}` must lie in 0 ... {self.num_classes - 1} "
                    f"(`num_classes` is {self.num_classes}), got {bad[0]}."
                )
            if not bool(jnp.isfinite(x).all()):
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


@record(kw_only=True)
class Architecture:
    """A multilayer perceptron: `depth` weight layers, one activation between them.

    Pre-activations have weight variance `w_var`/fan_in and bias variance `b_var`. The
    training rates of theory/README.md (2) multiply the learning rate of each layer's
    weights (in the NTK parametrisation) and biases; `None` is the NTK parametrisation,
    rates 1 and `b_var`.

    Attributes:
        depth: number of weight layers, static; 1 is a linear model, 3 has two hidden
            layers.
        activation: a name of `theory.activations.names()` or an `Activation`, static.
        w_var: weight variance C_w > 0, times fan_in; traced.
        b_var: bias variance C_b >= 0; traced.
        w_rates: a_l of each layer, length `depth`, or None for 1.
        b_rates: b_l of each layer, length `depth`, or None for `b_var`. Biases that
            start at zero and are trained: `b_var=0.0` and `b_rates` of 1.
    """

    depth: int = static()
    activation: str | activations.Activation = static()
    w_var: Float[Array, ""] | float = 1.0
    b_var: Float[Array, ""] | float = 0.0
    w_rates: Sequence[float] | None = None
    b_rates: Sequence[float] | None = None

    @classmethod
    def standard(
        cls,
        *,
        widths: Sequence[int],
        activation: str | activations.Activation,
        w_var: float = 1.0,
        b_var: float = 0.0,
    ) -> "Architecture":
        """Rates of ordinary layers y = W x + b with trained biases.

        In the standard parametrisation W itself, of variance `w_var`/fan_in, is the
        parameter. Gradient descent then moves the kernel at rate a_l = fan_in_l/`w_var`
        and b_l = 1 (Sohl-Dickstein et al. 2020, arXiv:2001.07301).

        Args:
            widths: fan-in of each weight layer: (d, width, ..., width), length `depth`.
            activation: as in the class.
            w_var: as in the class.
            b_var: as in the class; 0 starts the biases at zero.
        """
        return cls(
            depth=len(widths),
            activation=activation,
            w_var=w_var,
            b_var=b_var,
            w_rates=tuple(fan_in / w_var for fan_in in widths),
            b_rates=(1.0,) * len(widths),
        )

    @property
    def phi(self) -> activations.Activation:
        """The activation and its dual."""
        return activations.get(self.activation)

    def check(self) -> None:
        """Raises `InputError` unless the settings make sense. Host only."""
        if isinstance(self.depth, bool) or not isinstance(self.depth, int):
            raise InputError(f"`depth` must be an integer, got {self.depth!r}.")
        if self.depth < 1:
            raise InputError(
                f"`depth` must be at least 1 (a linear model), got {self.depth}."
            )
        activations.get(self.activation)
        if not float(self.w_var) > 0:
            raise InputError(f"`w_var` must be positive, got {self.w_var}.")
        if not float(self.b_var) >= 0:
            raise InputError(f"`b_var` must not be negative, got {self.b_var}.")
        for name in ("w_rates", "b_rates"):
            rates = getattr(self, name)
            if rates is None:
                continue
            if len(rates) != self.depth:
                raise InputError(
                    f"`{name}` must have one entry per weight layer, {self.depth}, "
                    f"got {len(rates)}."
                )
            if not all(float(rate) >= 0 for rate in rates):
                raise InputError(f"`{name}` must not be negative, got {tuple(rates)}.")
