"""One network on its way: what it is before training and after every epoch."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, PyTree

from ntk_corrupt.training import epochs
from ntk_corrupt.training.config import TrainConfig
from ntk_corrupt.training.epochs import Member
from theory.errors import InputError, NumericalError
from theory.keys import stream
from theory.numerics.signatures import checked


class Snapshot(NamedTuple):
    """A network in training.

    Attributes:
        epoch: epochs trained, 0 before training.
        params: what `model.apply` takes, float32; they stay valid.
        loss: mean of the losses before each step of the epoch; None before training.
    """

    epoch: int
    params: PyTree
    loss: Float[Array, ""] | None


@checked
def walk(
    model: nn.Module,
    config: TrainConfig,
    x: Float[Array, "n d"],
    labels: Int[Array, " labels"],
    *,
    key: Array,
) -> Iterator[Snapshot]:
    """Yields a network before training and after each of `config.epochs` epochs.

    One program for all epochs, whatever the labels. `config.stop_loss` ends the walk;
    the images are taken as they are, whatever the `noise_regime`.

    Args:
        model: the network.
        config: how it is trained.
        x: training images.
        labels: their classes.
        key: of its initialisation and its order of examples.

    Raises:
        InputError: unless every image has a label.
        NumericalError: if it diverges.
    """
    config.check()
    if labels.shape != x.shape[:1]:
        raise InputError(
            f"`labels` must have shape {x.shape[:1]} to match `x`, got {labels.shape}."
        )
    x, labels = jnp.asarray(x, jnp.float32), jnp.asarray(labels, jnp.int32)
    init_key, shuffle_key = stream(key, "init"), stream(key, "shuffle")
    params = model.init(init_key, x[:1])
    member = epochs.start(config, params, shuffle_key)
    yield Snapshot(0, member.params, None)
    for epoch in range(config.epochs):
        member, loss = _epoch(model, config, member, x[None], labels, epoch)
        if not np.isfinite(loss):
            raise NumericalError(
                f"training diverged (loss {loss} in epoch {epoch + 1}): lower "
                f"`learning_rate`, now {float(config.learning_rate):g}."
            )
        yield Snapshot(epoch + 1, member.params, loss)
        if config.stop_loss is not None and not member.active:
            return


@checked
@jax.jit
def relative_distance(params: PyTree, start: PyTree) -> Float[Array, ""]:
    """Returns |params - start|/|start|, Euclidean norms over all parameters."""
    square = lambda tree: sum((leaf**2).sum() for leaf in jax.tree.leaves(tree))
    moved = jax.tree.map(jnp.subtract, params, start)
    return jnp.sqrt(square(moved) / square(start))


@functools.partial(jax.jit, static_argnames="model")
def _epoch(model, config, member: Member, x, labels, epoch):
    return epochs.run_epoch(model.apply, config, member, x, labels, epoch=epoch)
