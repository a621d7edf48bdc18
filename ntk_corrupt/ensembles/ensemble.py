"""Ensembles of trained networks: corruption draws x initialisations, vmapped.

Members are trained in blocks that fit in memory; each block is one compiled
computation, spread over the devices. What a member is depends on (key, draw, init) and
the settings only, not on how many others there are or how they are laid out: its
corrupted images are `theory.corrupt(noise, key, draw, x)`, the same that `theory.exact`
uses, and so are its further copies and its corrupted test images.

Cost: O(draws inits epochs copies n_train parameters); the corrupted images of a block
are held once per draw, not once per member.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from ntk_corrupt.ensembles import layout, programs
from ntk_corrupt.networks import mlp
from ntk_corrupt.probes.basic import Probe
from ntk_corrupt.training.config import TrainConfig
from theory.corruption.base import Corruption
from theory.corruption.copies import check_options
from theory.errors import InputError, NumericalError
from theory.kernels.architecture import Architecture
from theory.keys import draw_key, stream
from theory.outputs.draws import Draws
from theory.problem import Problem

Progress = Callable[[int, int, float], None]

_DEFAULT = TrainConfig()


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
        return mlp.mlp(arch, width, num_classes, **settings)
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
    copies: int = 1,
    test_corruption: Corruption | None = None,
    first_draw: int = 0,
    probes: Sequence[Probe] = (),
    progress: Progress | None = None,
    member_block: int | None = None,
) -> Draws:
    """Trains `draws` x `inits` networks on corrupted images and predicts.

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
            regime: every epoch of draw k corrupts anew).
        config: how to train.
        parametrisation: "standard" or "ntk"; of an `Architecture` only.
        copies: corrupted copies of every training image, independent of each other; an
            epoch passes over all of them (`theory.corrupt_copies`).
        test_corruption: corrupts the test images too, anew in every draw; None leaves
            them clean.
        first_draw: where to begin: measuring 5 draws and then 5 from `first_draw=5`
            gives the networks of measuring 10.
        probes: what else to measure on every trained network (`ntk_corrupt.probes`).
        progress: called after every epoch with (epochs done, of how many, mean loss);
            both counts add up blocks.
        member_block: members trained at once over all devices; by memory if None.

    Returns:
        `Draws` with outputs (draws, inits, n_test, c), float32, and diagnostics of
        shape (draws, inits): `train_loss` on the whole corrupted training set (the last
        epoch's in the "fresh" regime), `epochs` trained, `reached` the `stop_loss`; and
        what the probes found, (draws, inits, ...).

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
    check_options(noise, problem, copies=copies, test_corruption=test_corruption)
    config.check()
    model = _model(arch, width, problem.num_classes, parametrisation=parametrisation)

    problem = problem.astype(jnp.float32)
    devices = jax.devices()
    size = member_block or len(devices) * layout.block_size(
        model,
        config,
        problem,
        inits=inits,
        copies=copies,
        corrupt_test=test_corruption is not None,
    )
    fresh = config.noise_regime == "fresh"
    # What is compiled does not depend on the regime: one program for both.
    config = dataclasses.replace(config, noise_regime="frozen")
    mesh = Mesh(np.asarray(devices), ("members",))
    split = NamedSharding(mesh, PartitionSpec("members"))
    labels = jnp.tile(problem.labels_train, copies)
    x_train, labels, x_test, shared_key, noise, test_corruption = jax.device_put(
        (problem.x_train, labels, problem.x_test, key, noise, test_corruption),
        NamedSharding(mesh, PartitionSpec()),
    )
    grid = np.indices((draws, inits), np.int32).reshape(2, -1).T
    grid[:, 0] += first_draw
    blocks = list(layout.plan(len(grid), size))
    room = max(len(np.unique(grid[numbers, 0])) for numbers, _ in blocks)

    @functools.lru_cache(maxsize=1)  # consecutive blocks often belong to one draw
    def corrupted(draws_held: tuple[int, ...], epoch: int) -> Array:
        source = shared_key
        if fresh:
            source = jax.random.fold_in(stream(shared_key, "fresh"), epoch)
        numbers = np.resize(draws_held, room)
        return programs.corrupted(noise, source, numbers, x_train, copies=copies)

    @functools.lru_cache(maxsize=1)
    def asked(draws_held: tuple[int, ...]) -> Array:
        """The test images: (n_test, d), or (draws, n_test, d) if they differ."""
        if test_corruption is None:
            return x_test
        numbers = np.resize(draws_held, room)
        return programs.corrupted_test(test_corruption, shared_key, numbers, x_test)

    def train(members: np.ndarray, new: int, done: int) -> tuple[Any, ...]:
        """Trains one block: outputs, loss, epochs, reached, found by probes; `new`."""
        draws_held, held = np.unique(members[:, 0], return_inverse=True)
        draws_held = tuple(draws_held.tolist())
        held = jax.device_put(held.reshape(-1).astype(np.int32), split)
        members_split = jax.device_put(members, split)
        state = programs.start(
            model, config, shared_key, members_split, d=x_train.shape[1], split=split
        )
        x = corrupted(draws_held, 0)
        for epoch in range(config.epochs):
            x = corrupted(draws_held, epoch if fresh else 0)
            state, losses = programs.epoch(
                model, config, state, held, x, labels, epoch, split=split
            )
            losses = np.asarray(losses)
            _check_finite(losses, members, config)
            stop = config.stop_loss is not None and not np.asarray(state.active).any()
            if progress is not None:
                at = done * config.epochs + (config.epochs if stop else epoch + 1)
                progress(at, len(blocks) * config.epochs, float(losses[:new].mean()))
            if stop:
                break
        asked_now = asked(draws_held)
        outputs, losses = programs.finish(
            model, config, state, held, x, labels, asked_now
        )
        _check_finite(np.asarray(losses), members, config)
        found = {}
        if probes:
            asked_of = model, config, tuple(probes), state, shared_key
            found = programs.probed(*asked_of, members_split, split=split)
        result = (outputs, losses, state.epochs, ~state.active, found)
        return jax.tree.map(lambda part: part[:new], jax.device_get(result))

    results = [
        train(grid[numbers], new, done) for done, (numbers, new) in enumerate(blocks)
    ]
    outputs, losses, epochs, reached, found = zip(*results, strict=True)
    # not jnp.asarray, which compiles a program for every shape
    shaped = lambda parts: jax.device_put(
        np.concatenate(parts).reshape(draws, inits, *parts[0].shape[1:])
    )
    keys = [
        jax.random.key_data(draw_key(key, draw))
        for draw in range(first_draw, first_draw + draws)
    ]
    return Draws(
        outputs=shaped(outputs),
        # Fresh noise has no images that another route could share.
        draw_keys=None if fresh else jnp.stack(keys),
        diagnostics={
            "train_loss": shaped(losses),
            "epochs": shaped(epochs),
            "reached": shaped(reached),
            **{name: shaped([part[name] for part in found]) for name in found[0]},
        },
    )
