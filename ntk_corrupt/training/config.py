"""How a network is trained: loss, optimiser, noise regime, precision."""

import contextlib
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from theory.errors import InputError, check_count, unknown
from theory.numerics import doors
from theory.records import record, static


def _squares(outputs: Float[Array, "n c"], labels: Int[Array, " n"]) -> Array:
    y = jax.nn.one_hot(labels, outputs.shape[-1], dtype=outputs.dtype)
    return optax.squared_error(outputs, y).mean(-1)


LOSSES: dict[str, Callable[[Array, Array], Array]] = {  # (n, c), (n,) -> (n,)
    "mse": _squares,
    "cross_entropy": optax.softmax_cross_entropy_with_integer_labels,
    "softmax_mse": lambda outputs, labels: _squares(jax.nn.softmax(outputs), labels),
}
OPTIMISERS = ("adam", "adamw", "adadelta", "sgd", "momentum", "gd")
NOISE_REGIMES = ("frozen", "fresh")
# What JAX itself calls "bfloat16" is its default: tensorfloat32 on GPUs.
PRECISIONS = {
    "float32": "float32",
    "tensorfloat32": "tensorfloat32",
    "bfloat16": "BF16_BF16_F32",
}


@record(kw_only=True)
class TrainConfig:
    """How a network is trained. Hashable; under jit the numbers are traced.

    Attributes:
        loss: a name of `LOSSES`, static.
        optimiser: "adam", "adamw", "adadelta" (Zeiler 2012, arXiv:1212.5701, whose
            learning rate is 1), "sgd", "momentum" (heavy ball) or "gd" (full batch),
            static.
        learning_rate: of the optimiser, traced: a sweep does not recompile.
        momentum: decay of "momentum", ignored by the others; traced.
        weight_decay: of "adamw", decoupled from the gradient and in units of the
            learning rate; 0 is "adam". Refused by the others; traced.
        batch_size: examples per step, static. Each epoch visits every example once, in
            a new order: ceil(n/batch_size) steps, where the last batch holds what is
            left and its loss is the mean over those. "gd", and a batch_size of n or
            more, take one step per epoch on all examples.
        epochs: the most epochs to train; 0 leaves the network as initialised.
        stop_loss: a member whose loss over the whole (corrupted) training set is at
            most this at the end of an epoch stops there; None trains all epochs. Costs
            a forward pass over the training set per epoch. Comparisons across widths
            need it: narrow networks train more slowly.
        noise_regime: "frozen" trains on one corrupted copy, "fresh" corrupts anew in
            every epoch; static.
        precision: of the matrix products of training and of prediction, static: a name
            of `PRECISIONS`, or None for what `jax_default_matmul_precision` says.
            Only the factors of the products are rounded: parameters, optimiser state,
            sums and losses stay float32. By JAX's documentation "float32" rounds
            nowhere; "tensorfloat32" does on GPUs that have it, where it is JAX's
            default, and takes three products of bfloat16 on TPUs; "bfloat16" rounds on
            both, in convolutions as far as JAX's default does. On CPU the compiled
            program names the precision, and yet multiplies in float32: no number
            changes (jax 0.10.2, AVX2).
    """

    loss: str = static(default="mse")
    optimiser: str = static(default="adam")
    learning_rate: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = static(default=250)
    epochs: int = 25
    stop_loss: float | None = None
    noise_regime: str = static(default="frozen")
    precision: str | None = static(default=None)

    def check(self) -> None:
        """Raises `InputError` unless the settings make sense. Host only."""
        for name, valid in (
            ("loss", LOSSES),
            ("optimiser", OPTIMISERS),
            ("noise_regime", NOISE_REGIMES),
        ):
            chosen = getattr(self, name)
            if not isinstance(chosen, str) or chosen not in valid:
                raise unknown(name.replace("_", " "), getattr(self, name), valid)
        if self.precision is not None and self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        for name, least in (("batch_size", 1), ("epochs", 0)):
            check_count(name, getattr(self, name), least)
        for name in ("learning_rate", "momentum", "weight_decay"):
            doors.real(name, getattr(self, name))
        if not 0 < float(self.learning_rate) < math.inf:
            raise InputError(
                f"`learning_rate` must be positive, got {self.learning_rate}."
            )
        if not 0 <= float(self.momentum) < 1:
            raise InputError(f"`momentum` must be in [0, 1), got {self.momentum}.")
        if not 0 <= float(self.weight_decay) < math.inf:
            raise InputError(
                f"`weight_decay` must not be negative, got {self.weight_decay}."
            )
        if self.weight_decay and self.optimiser != "adamw":
            raise InputError(
                "`weight_decay` must be 0 unless the optimiser is adamw, got "
                f"{self.weight_decay} with {self.optimiser}."
            )
        if self.stop_loss is not None:
            if not float(self.stop_loss) > 0:
                raise InputError(f"`stop_loss` must be positive, got {self.stop_loss}.")
            if self.epochs == 0:
                raise InputError(
                    "`epochs` must be at least 1 with a `stop_loss`, got 0."
                )

    def transform(self) -> optax.GradientTransformation:
        """Returns the optimiser."""
        rate = jnp.asarray(self.learning_rate, jnp.float32)
        if self.optimiser == "adam":
            return optax.adam(rate)
        if self.optimiser == "adamw":
            decay = jnp.asarray(self.weight_decay, jnp.float32)
            return optax.adamw(rate, weight_decay=decay)
        if self.optimiser == "adadelta":
            return optax.adadelta(rate)
        if self.optimiser == "momentum":
            return optax.sgd(rate, momentum=jnp.asarray(self.momentum, jnp.float32))
        return optax.sgd(rate)

    def matrix_products(self) -> contextlib.AbstractContextManager:
        """Returns a context in which what is traced has products of the `precision`."""
        if self.precision is None:
            return contextlib.nullcontext()  # JAX's own None undoes a context outside
        return jax.default_matmul_precision(PRECISIONS[self.precision])

    def batch(self, n: int) -> int:
        """Returns the examples per step when there are `n`."""
        return n if self.optimiser == "gd" else min(self.batch_size, n)
