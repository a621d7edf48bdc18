"""Training one network: settings, loss, optimiser, one epoch as one compiled scan.

Everything here is written for a single member of an ensemble and is pure, so that
`ntk_corrupt.ensembles` can vmap it. Losses are means over examples, with no factor 1/2:

    mse            mean_a (1/c) sum_i (f_i(x_a) - y_ai)^2, y one-hot
    cross_entropy  mean_a -log softmax(f(x_a))_(label a)
    softmax_mse    mean_a (1/c) sum_i (softmax(f(x_a))_i - y_ai)^2

The gradient of `mse` is therefore 2/(n c) times that of half the sum of squares,
1/2 sum_a |f(x_a) - y_a|^2. Adam is not gradient flow; `gd` with a small learning rate
is. Training is float32 whatever `jax_enable_x64` is. On GPU and TPU the
matrix products follow `TrainConfig.precision`, and by default they are coarser.
"""

import contextlib
import dataclasses
import functools
import math
import typing
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from theory.errors import InputError, unknown
from theory.records import record, static

Apply = Callable[[PyTree, Array], typing.Any]  # Flax: `model.apply`


def _squares(outputs: Float[Array, "n c"], labels: Int[Array, " n"]) -> Array:
    y = jax.nn.one_hot(labels, outputs.shape[-1], dtype=outputs.dtype)
    return optax.squared_error(outputs, y).mean(-1)


LOSSES: dict[str, Callable[[Array, Array], Array]] = {  # (n, c), (n,) -> (n,)
    "mse": _squares,
    "cross_entropy": optax.softmax_cross_entropy_with_integer_labels,
    "softmax_mse": lambda outputs, labels: _squares(jax.nn.softmax(outputs), labels),
}
OPTIMISERS = ("adam", "sgd", "momentum", "gd")
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
        optimiser: "adam", "sgd", "momentum" (heavy ball) or "gd" (full batch), static.
        learning_rate: of the optimiser, traced: a sweep does not recompile.
        momentum: decay of "momentum", ignored by the others; traced.
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
            if getattr(self, name) not in valid:
                raise unknown(name.replace("_", " "), getattr(self, name), valid)
        if self.precision is not None and self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        for name, least in (("batch_size", 1), ("epochs", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(
                    f"`{name}` must be an integer of at least {least}, got {value!r}."
                )
        if not 0 < float(self.learning_rate) < math.inf:
            raise InputError(
                f"`learning_rate` must be positive, got {self.learning_rate}."
            )
        if not 0 <= float(self.momentum) < 1:
            raise InputError(f"`momentum` must be in [0, 1), got {self.momentum}.")
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


def _in_precision(fn: Callable) -> Callable:
    """Returns `fn` of (apply, config, ...), with products of `config.precision`."""

    @functools.wraps(fn)
    def run(apply, config, *args, **kwargs):
        with config.matrix_products():
            return fn(apply, config, *args, **kwargs)

    return run


@record(kw_only=True)
class Member:
    """One network in training.

    In place of Flax's `TrainState`, whose optimiser is static: here it holds the traced
    learning rate and is rebuilt by `TrainConfig.transform` wherever it is needed.

    Attributes:
        params: what `apply` takes, float32.
        opt_state: of the optimiser, float32.
        shuffle_key: the key of its order of examples; epochs are folded in.
        active: False once `stop_loss` is reached; the parameters no longer change.
        epochs: epochs trained.
        train_loss: of the last epoch trained, if there is a `stop_loss`; else NaN.
    """

    params: PyTree
    opt_state: PyTree
    shuffle_key: Array
    active: Array
    epochs: Array
    train_loss: Array


def start(config: TrainConfig, params: PyTree, shuffle_key: Array) -> Member:
    """Returns a member about to be trained; the key is consumed."""
    return Member(
        params=params,
        opt_state=config.transform().init(params),
        shuffle_key=shuffle_key,
        active=jnp.ones((), bool),
        epochs=jnp.zeros((), jnp.int32),
        train_loss=jnp.full((), jnp.nan, jnp.float32),
    )


def _batches(order: Int[Array, " n"], size: int) -> tuple[Array, Array | None]:
    """Returns indices and weights (steps, size); None where all weights are 1.

    The last batch is filled up with examples of weight zero, so that every step has one
    shape.
    """
    n = order.shape[0]
    steps = -(-n // size)
    if n == steps * size:
        return order.reshape(steps, size), None
    index = jnp.resize(order, (steps, size))
    weight = jnp.arange(steps * size, dtype=jnp.int32) < n
    return index, weight.astype(jnp.float32).reshape(steps, size)


def _sum(values: Array, weight: Array | None) -> Array:
    if weight is None:
        return values.sum()
    # Never rounded: losses are compared with `stop_loss`.
    return jnp.dot(values, weight, precision="highest")


def _mean(values: Array, weight: Array | None) -> Array:
    return values.mean() if weight is None else _sum(values, weight) / weight.sum()


@_in_precision
def run_epoch(
    apply: Apply,
    config: TrainConfig,
    member: Member,
    x: Float[Array, "copies n d"],
    labels: Int[Array, " n"],
    *,
    epoch: Int[Array, ""] | int,
    copy: Int[Array, ""] | int = 0,
) -> tuple[Member, Float[Array, ""]]:
    """Trains one member for one epoch, a scan of ceil(n/batch_size) steps.

    Args:
        apply: (params, (b, d)) -> (b, c).
        config: settings.
        member: the network so far.
        x: corrupted copies of the training set, float32. All of them, because under
            vmap over members `x[copy]` would hold one copy per member, whereas
            `x[copy, batch]` gathers a batch.
        labels: classes.
        epoch: number of the epoch, which decides the order of the examples.
        copy: which copy is this member's.

    Returns:
        The member, and the mean over the epoch of the losses before each step.
    """
    n = labels.shape[0]
    transform = config.transform()
    order = jnp.arange(n, dtype=jnp.int32)
    if config.batch(n) < n:
        key = jax.random.fold_in(member.shuffle_key, epoch)
        order = jax.random.permutation(key, order)
    index, weight = _batches(order, config.batch(n))

    def batch_loss(params, index, weight):
        losses = LOSSES[config.loss](apply(params, x[copy, index]), labels[index])
        return _mean(losses, weight)

    def step(carry, batch):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(batch_loss)(params, *batch)
        updates, opt_state = transform.update(grads, opt_state, params)
        new = (optax.apply_updates(params, updates), opt_state)
        if config.stop_loss is not None:
            new = jax.tree.map(functools.partial(jnp.where, member.active), new, carry)
        return new, loss

    carry = (member.params, member.opt_state)
    (params, opt_state), losses = jax.lax.scan(step, carry, (index, weight))
    mean = _mean(losses, None if weight is None else weight.sum(-1))
    trained = dataclasses.replace(
        member,
        params=params,
        opt_state=opt_state,
        epochs=member.epochs + member.active.astype(jnp.int32),
    )
    if config.stop_loss is None:
        return trained, mean
    loss = train_loss(apply, config, params, x, labels, copy=copy)
    return dataclasses.replace(
        trained,
        train_loss=jnp.where(member.active, loss, member.train_loss),
        active=member.active & ~(loss <= config.stop_loss),
    ), mean


@_in_precision
def train_loss(
    apply: Apply,
    config: TrainConfig,
    params: PyTree,
    x: Float[Array, "copies n d"],
    labels: Int[Array, " n"],
    *,
    copy: Int[Array, ""] | int = 0,
) -> Float[Array, ""]:
    """Returns the loss over all of `x[copy]`, in blocks of the batch size."""
    n = labels.shape[0]
    index, weight = _batches(jnp.arange(n, dtype=jnp.int32), config.batch(n))

    def block(batch):
        index, weight = batch
        losses = LOSSES[config.loss](apply(params, x[copy, index]), labels[index])
        return _sum(losses, weight)

    return jax.lax.map(block, (index, weight)).sum() / n


@_in_precision
def predict(
    apply: Apply,
    config: TrainConfig,
    params: PyTree,
    x: Float[Array, "*copies n d"],
    *,
    copy: Int[Array, ""] | int | None = None,
) -> Float[Array, "n c"]:
    """Returns the outputs at `x`, computed `config.batch_size` points at a time.

    Args:
        apply: (params, (b, d)) -> (b, c).
        config: settings.
        params: of the network.
        x: points, or several corrupted copies of them as in `run_epoch`.
        copy: which copy is meant; None if there is one set of points.
    """
    n = x.shape[-2]
    index, _ = _batches(jnp.arange(n, dtype=jnp.int32), min(config.batch_size, n))
    of = lambda points: x[points] if copy is None else x[copy, points]
    outputs = jax.lax.map(lambda points: apply(params, of(points)), index)
    return outputs.reshape(-1, outputs.shape[-1])[:n]
