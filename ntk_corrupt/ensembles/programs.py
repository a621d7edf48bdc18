"""What is compiled to train and measure a block of members of an ensemble."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, PyTree

from ntk_corrupt.networks.tangent import Trainable
from ntk_corrupt.training import epochs
from ntk_corrupt.training.config import TrainConfig
from ntk_corrupt.training.epochs import Member
from theory.corruption.base import Corruption
from theory.corruption.copies import corrupt_copies, corrupt_test
from theory.keys import stream


def _spread(block, split: NamedSharding):
    # Left to itself XLA keeps some arrays whole, others not, in every program anew, so
    # that the second epoch on several devices would be compiled for its own layout.
    return jax.lax.with_sharding_constraint(block, split)


@functools.partial(jax.jit, static_argnames=("model", "d"))
def initial(model: Trainable, key, member, d: int) -> PyTree:
    """Returns the parameters that a member (draw, init) starts from."""
    at = stream(key, "init")
    for number in member:
        at = jax.random.fold_in(at, number)
    return model.init(at, jnp.zeros((1, d), jnp.float32))


@functools.partial(jax.jit, static_argnames=("model", "d", "split"))
def start(
    model: Trainable, config: TrainConfig, key, members, *, d: int, split: NamedSharding
) -> Member:
    """Initialises a block; `members` are its (draw, init), (m, 2)."""
    shuffled = stream(key, "shuffle")

    def one(member):
        shuffle_key = jax.random.fold_in(
            jax.random.fold_in(shuffled, member[0]), member[1]
        )
        return epochs.start(config, initial(model, key, member, d), shuffle_key)

    return _spread(jax.vmap(one)(members), split)


@functools.partial(jax.jit, static_argnames="copies")
def corrupted(corruption: Corruption, key, draws, x, *, copies: int) -> Array:
    """Returns the training images (draws, copies n, d) of several draws."""
    # Not vmapped: random bits of other generators than threefry depend on the batch.
    return jax.lax.map(
        lambda draw: corrupt_copies(corruption, key, draw, x, copies), draws
    )


@jax.jit
def corrupted_test(test_corruption: Corruption, key, draws, x) -> Array:
    """Returns the test images (draws, n_test, d) of several draws."""
    return jax.lax.map(lambda draw: corrupt_test(test_corruption, key, draw, x), draws)


@functools.partial(
    jax.jit, static_argnames=("model", "split"), donate_argnames=("member",)
)
def epoch(
    model: Trainable,
    config: TrainConfig,
    member,
    held,
    x,
    labels,
    epoch,
    *,
    split: NamedSharding,
):
    """Trains a block for one epoch; what `member` held is gone."""

    def one(member, held):
        return epochs.run_epoch(
            model.apply, config, member, x, labels, epoch=epoch, copy=held
        )

    return _spread(jax.vmap(one)(member, held), split)


@functools.partial(jax.jit, static_argnames=("model",))
def finish(model: Trainable, config: TrainConfig, member, held, x, labels, x_test):
    """Returns outputs (m, n_test, c) and training losses (m,)."""

    def one(member, held):
        asked = None if x_test.ndim == 2 else held
        outputs = epochs.predict(model.apply, config, member.params, x_test, copy=asked)
        if config.stop_loss is not None:
            return outputs, member.train_loss
        return outputs, epochs.train_loss(
            model.apply, config, member.params, x, labels, copy=held
        )

    return jax.vmap(one)(member, held)


@functools.partial(jax.jit, static_argnames=("model", "split"))
def probed(
    model: Trainable, config: TrainConfig, probes, state, key, members, *, split
):
    """What the probes say of the networks of a block, by name, (m, ...)."""
    name = stream(key, "probe")

    def one(params, member):
        own = jax.random.fold_in(jax.random.fold_in(name, member[0]), member[1])
        with config.matrix_products():
            found = [probe(model, params, own) for probe in probes]
        return {name: value for part in found for name, value in part.items()}

    return _spread(jax.vmap(one)(state.params, members), split)
