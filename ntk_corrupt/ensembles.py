"""Ensembles of trained networks: corruption draws x initialisations, vmapped.

Members are trained in blocks that fit in memory; each block is one compiled
computation, spread over the devices. What a member is depends on (key, draw, init) and
the settings only, not on how many others there are or how they are laid out: its
corrupted images are `theory.corrupt(noise, key, draw, x)`, the same that `theory.exact`
uses.

Cost: O(draws inits epochs n_train parameters); the corrupted images of a block are held
once per draw, not once per member.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from ntk_corrupt import models, training
from ntk_corrupt.training import Member, TrainConfig
from theory.corruption import Corruption, corrupt, draw_key
from theory.errors import InputError, NumericalError
from theory.laws import Draws
from theory.problem import Architecture, Problem

Progress = Callable[[int, int, float], None]

# On CPU a vmapped matrix product runs at the speed of single ones, and the weights of
# many members leave the cache between steps: with depth 3, erf, adam, d=784, batch 250
# on two cores, 8 vmapped members of width 512 (1024, 2048) train at 0.85 (0.86, 0.91)
# times the rate of one by one, and `lax.map` over members at 0.98 (0.90, 0.86), as it
# copies their states. Small networks gain by sharing what each step costs besides
# arithmetic: 4 together, width 64 of d=64 1.2 times, width 256 of d=784 1.06 times.
_CPU_WEIGHTS = 4 * 2**20  # bytes in a block
_CPU_MEMBERS = 4
_MEMORY_SHARE = 0.6  # of what is free on an accelerator
_DEFAULT = TrainConfig()


def _stream(key: Array, name: str) -> Array:
    return jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode())))


@functools.partial(jax.jit, static_argnames=("model", "d"))
def _start(model: nn.Module, config: TrainConfig, key, members, *, d: int) -> Member:
    """Initialises a block; `members` are its (draw, init), (m, 2)."""
    streams = _stream(key, "init"), _stream(key, "shuffle")

    def one(member):
        init_key, shuffle_key = (
            jax.random.fold_in(jax.random.fold_in(stream, member[0]), member[1])
            for stream in streams
        )
        params = model.init(init_key, jnp.zeros((1, d), jnp.float32))
        return training.start(config, params, shuffle_key)

    return jax.vmap(one)(members)


@jax.jit
def _corrupted(noise: Corruption, key, draws, x) -> Array:
    # Not vmapped: random bits of other generators than threefry depend on the batch.
    return jax.lax.map(lambda draw: corrupt(noise, key, draw, x), draws)


@functools.partial(jax.jit, static_argnames=("model",), donate_argnames=("member",))
def _epoch(model: nn.Module, config: TrainConfig, member, copies, x, labels, epoch):
    def one(member, copy):
        return training.run_epoch(
            model.apply, config, member, x, labels, epoch=epoch, copy=copy
        )

    return jax.vmap(one)(member, copies)


@functools.partial(jax.jit, static_argnames=("model",))
def _finish(model: nn.Module, config: TrainConfig, member, copies, x, labels, x_test):
    """Returns outputs (m, n_test, c) and training losses (m,)."""

    def one(member, copy):
        outputs = training.predict(
            model.apply, member.params, x_test, block=config.batch_size
        )
        if config.stop_loss is not None:
            return outputs, member.train_loss
        return outputs, training.train_loss(
            model.apply, config, member.params, x, labels, copy=copy
        )

    return jax.vmap(one)(member, copies)


def _bytes(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def block_size(
    model: nn.Module, config: TrainConfig, problem: Problem, *, inits: int
) -> int:
    """Returns how many members to train at once on one device, by its memory.

    On CPU the cache decides; in the "fresh" regime all initialisations of a draw are
    taken together, so that each epoch's copy is made once.
    """
    n, d = problem.x_train.shape
    batch = jax.ShapeDtypeStruct((config.batch(n), d), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), batch)
    device = jax.devices()[0]
    if device.platform == "cpu":
        size = min(max(1, _CPU_WEIGHTS // _bytes(params)), _CPU_MEMBERS)
        return max(size, inits) if config.noise_regime == "fresh" else size
    stats = device.memory_stats() or {}
    free = stats.get("bytes_limit", 2**33) - stats.get("bytes_in_use", 0)
    opt_state = jax.eval_shape(config.transform().init, params)
    # What reverse mode keeps (it includes the weights), as much again for cotangents;
    # the state twice, as the scan may double-buffer it; the batch and its gather. And
    # every device holds the copies of all draws of the block, old and new.
    backward = lambda params, batch: jax.vjp(model.apply, params, batch)[1]
    residuals = jax.eval_shape(backward, params, batch)
    member = 2 * (_bytes(residuals) + _bytes((params, opt_state, batch)))
    copies = 2 * 4 * problem.x_train.size
    room = int(_MEMORY_SHARE * free) - copies
    return max(1, room // (member + copies * len(jax.devices()) // inits))


def _blocks(members: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields member numbers of each block, all of one length, and how many are new.

    `size` is rounded up to a multiple of the devices, and then down to spread the
    members evenly. Only the last block is padded, by repeating the last member.
    """
    devices = len(jax.devices())
    size = devices * -(-size // devices)
    size = -(-members // -(-members // size))
    size = devices * -(-size // devices)
    for first in range(0, members, size):
        numbers = np.minimum(np.arange(first, first + size), members - 1)
        yield numbers, min(size, members - first)


def _check_finite(losses: np.ndarray, members: np.ndarray, config: TrainConfig) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        draw, init = members[bad[0]]
        raise NumericalError(
            f"training diverged (loss {losses[bad[0]]} in draw {draw}, init {init}): "
            f"lower `learning_rate`, now {float(config.learning_rate):g}."
        )


def _model(
    arch: Architecture | nn.Module, width: int | None, num_classes: int, **settings
) -> nn.Module:
    if isinstance(arch, Architecture):
        return models.mlp(arch, width, num_classes, **settings)
    if width is not None:
        raise InputError(f"`width` must be None with a Flax module, got {width!r}.")
    return arch


def _check_count(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(
            f"`{name}` must be an integer of at least {least}, got {value!r}."
        )


def measure(
    arch: Architecture | nn.Module,
    noise: Corruption,
    problem: Problem,
    *,
    width: int | None = None,
    draws: int,
    inits: int,
    key: Array,
    config: TrainConfig = _DEFAULT,
    parametrisation: str = "standard",
    first_draw: int = 0,
    progress: Progress | None = None,
    member_block: int | None = None,
) -> Draws:
    """Trains `draws` x `inits` networks on corrupted images, predicts at clean ones.

    Args:
        arch: the network, see `ntk_corrupt.models.mlp`; or any hashable Flax module
            (n, d) -> (n, c) without state or randomness beyond its parameters.
        noise: the corruption; its strength is traced, a sweep compiles once.
        problem: clean images; trained on in float32.
        width: units of each hidden layer; None with a Flax module.
        draws: number of corruption draws, `first_draw` ... `first_draw + draws - 1`.
        inits: networks per draw, which share its images and differ in initialisation
            and order of examples.
        key: a typed key; draw k is that of `theory.corrupt(noise, key, k, x)` ("fresh"
            regime: every epoch of draw k is another copy).
        config: how to train.
        parametrisation: "standard" or "ntk"; of an `Architecture` only.
        first_draw: where to begin: measuring 5 draws and then 5 from `first_draw=5`
            gives the networks of measuring 10.
        progress: called after every epoch with (epochs done, of how many, mean loss);
            both counts add up blocks.
        member_block: members trained at once over all devices; by memory if None.

    Returns:
        `Draws` with outputs (draws, inits, n_test, c), float32, and diagnostics of
        shape (draws, inits): `train_loss` on the whole corrupted training set (the last
        epoch's in the "fresh" regime), `epochs` trained, `reached` the `stop_loss`.

    Raises:
        InputError: for arguments that make no sense.
        NumericalError: if a network diverges.
    """
    _check_count("draws", draws, 1)
    _check_count("inits", inits, 1)
    _check_count("first_draw", first_draw, 0)
    if member_block is not None:
        _check_count("member_block", member_block, 1)
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise InputError("`key` must be a typed key, jax.random.key(seed).")
    problem.check()
    noise.check()
    noise.check_images(problem.x_train)
    config.check()
    model = _model(arch, width, problem.num_classes, parametrisation=parametrisation)

    problem = problem.astype(jnp.float32)
    devices = jax.devices()
    size = member_block or len(devices) * block_size(
        model, config, problem, inits=inits
    )
    fresh = config.noise_regime == "fresh"
    # What is compiled does not depend on the regime: one program for both.
    config = dataclasses.replace(config, noise_regime="frozen")
    mesh = Mesh(np.asarray(devices), ("members",))
    split = NamedSharding(mesh, PartitionSpec("members"))
    x_train, labels, x_test, shared_key, noise = jax.device_put(
        (problem.x_train, problem.labels_train, problem.x_test, key, noise),
        NamedSharding(mesh, PartitionSpec()),
    )
    grid = np.indices((draws, inits), np.int32).reshape(2, -1).T
    grid[:, 0] += first_draw
    blocks = list(_blocks(len(grid), size))
    held = max(len(np.unique(grid[numbers, 0])) for numbers, _ in blocks)

    @functools.lru_cache(maxsize=1)  # consecutive blocks often belong to one draw
    def corrupted(draws_held: tuple[int, ...], epoch: int) -> Array:
        stream = shared_key
        if fresh:
            stream = jax.random.fold_in(_stream(shared_key, "fresh"), epoch)
        return _corrupted(noise, stream, np.resize(draws_held, held), x_train)

    def train(members: np.ndarray, new: int, done: int) -> tuple[np.ndarray, ...]:
        """Trains one block: (outputs, loss, epochs, reached) of its `new` members."""
        draws_held, copies = np.unique(members[:, 0], return_inverse=True)
        draws_held = tuple(draws_held.tolist())
        copies = jax.device_put(copies.reshape(-1).astype(np.int32), split)
        members_split = jax.device_put(members, split)
        state = _start(model, config, shared_key, members_split, d=x_train.shape[1])
        x = corrupted(draws_held, 0)
        for epoch in range(config.epochs):
            x = corrupted(draws_held, epoch if fresh else 0)
            state, losses = _epoch(model, config, state, copies, x, labels, epoch)
            losses = np.asarray(losses)
            _check_finite(losses, members, config)
            stop = config.stop_loss is not None and not np.asarray(state.active).any()
            if progress is not None:
                at = done * config.epochs + (config.epochs if stop else epoch + 1)
                progress(at, len(blocks) * config.epochs, float(losses[:new].mean()))
            if stop:
                break
        outputs, losses = _finish(model, config, state, copies, x, labels, x_test)
        _check_finite(np.asarray(losses), members, config)
        result = (outputs, losses, state.epochs, ~state.active)
        return jax.tree.map(lambda part: part[:new], jax.device_get(result))

    results = [
        train(grid[numbers], new, done) for done, (numbers, new) in enumerate(blocks)
    ]
    outputs, losses, epochs, reached = zip(*results, strict=True)
    shaped = lambda parts: jnp.asarray(
        np.concatenate(parts).reshape(draws, inits, *parts[0].shape[1:])
    )
    keys = [
        jax.random.key_data(draw_key(key, draw))
        for draw in range(first_draw, first_draw + draws)
    ]
    return Draws(
        outputs=shaped(outputs),
        # Fresh noise has no single copy that another route could share.
        draw_keys=None if fresh else jnp.stack(keys),
        diagnostics={
            "train_loss": shaped(losses),
            "epochs": shaped(epochs),
            "reached": shaped(reached),
        },
    )
