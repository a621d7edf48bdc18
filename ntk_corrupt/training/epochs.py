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

import dataclasses
import functools
import typing
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from ntk_corrupt.training.config import LOSSES, TrainConfig
from theory.records import record

Apply = Callable[[PyTree, Array], typing.Any]  # Flax: `model.apply`


def _in_precision(fn: Callable) -> Callable:
    """Returns `fn` of (apply, config, ...), with products of `config.precision`.

    And with JAX's usual promotion of dtypes, which optax and Flax rely on.
    """

    @functools.wraps(fn)
    def run(apply, config, *args, **kwargs):
        with config.matrix_products(), jax.numpy_dtype_promotion("standard"):
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
        train_loss: of the last epoch trained, if there is a `stop_loss`; else infinite.
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
        train_loss=jnp.full((), jnp.inf, jnp.float32),
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
