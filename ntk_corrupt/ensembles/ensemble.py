"""Ensembles of trained networks: corruption draws x initialisations, vmapped.

Members are trained in blocks that fit in memory; each block is one compiled
computation, spread over the devices. What a member is depends on (key, draw, init) and
the settings only, not on how many others there are or how they are laid out: its
corrupted images are `theory.corrupt(corruption, key, draw, x)`, the same that
`theory.exact` uses, and so are its further copies and its corrupted test images.

Cost: O(draws inits epochs copies n_train parameters); the corrupted images of a block
are held once per draw, not once per member.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from ntk_corrupt.ensembles import layout
from ntk_corrupt.ensembles.trainer import DrawImages, Report, TrainedBlock, Trainer
from ntk_corrupt.networks import mlp
from ntk_corrupt.networks.tangent import Tangent, Trainable
from ntk_corrupt.probes.basic import Probe
from ntk_corrupt.training.config import TrainConfig
from theory.corruption.base import Corruption
from theory.corruption.copies import check_options
from theory.errors import InputError, check_count
from theory.kernels.architecture import Architecture
from theory.keys import draw_key
from theory.numerics.signatures import checked
from theory.outputs.draws import Draws
from theory.problem import Problem
from theory.renamed import renamed

Progress = Callable[[int, int, float], None]

_DEFAULT = TrainConfig()


def model_of(
    arch: Architecture | Trainable,
    width: int | None,
    num_classes: int,
    inputs: int,
    **settings,
) -> Any:
    """Returns the network of an architecture, or a module that is fit to be one."""
    if isinstance(arch, Architecture):
        return mlp.mlp(arch, width, num_classes, **settings)
    if width is not None:
        raise InputError(f"`width` must be None with a Flax module, got {width!r}.")
    _check_module(arch, num_classes, inputs)
    return arch


def _check_module(model: Trainable, num_classes: int, inputs: int) -> None:
    """Raises `InputError` on a module that cannot be trained as it is."""
    name = type(model).__name__
    try:
        hash(model)
    except TypeError:
        raise InputError(
            f"the attributes of {name} must be hashable: use tuples for lists."
        ) from None
    x = jax.ShapeDtypeStruct((2, inputs), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    if state := sorted(set(variables) - {"params"}):
        raise InputError(
            f"{name} must have no state beside its parameters, as BatchNorm has, got "
            f"{', '.join(state)}: use LayerNorm, or none."
        )
    try:
        found: Any = jax.eval_shape(model.apply, variables, x)
    except flax.errors.InvalidRngError as error:
        raise InputError(
            f"{name} must need no random numbers beside its parameters, as Dropout "
            f"does: make it deterministic ({str(error).splitlines()[0]})."
        ) from None
    shape = getattr(found, "shape", type(found).__name__)
    if shape != (2, num_classes):
        raise InputError(
            f"{name} must map (n, {inputs}) to (n, {num_classes}), an output for each "
            f"class; two points give {shape}."
        )


def _check_grid(draws, inits, first_draw, member_block) -> None:
    for name, value in (("draws", draws), ("inits", inits)):
        check_count(name, value)
    check_count("first_draw", first_draw, least=0)
    if member_block is not None:
        check_count("member_block", member_block)


def _trainer(
    model, config, corruption, problem, *, key, copies, test_corruption, probes, room
) -> Trainer:
    """Puts what all blocks share on every device."""
    mesh = Mesh(np.asarray(jax.devices()), ("members",))
    labels = jnp.tile(problem.labels_train, copies)
    x_train, labels, x_test, key, corruption, test_corruption = jax.device_put(
        (problem.x_train, labels, problem.x_test, key, corruption, test_corruption),
        NamedSharding(mesh, PartitionSpec()),
    )
    return Trainer(
        model=model,
        # what is compiled does not depend on the regime: one program for both
        config=dataclasses.replace(config, noise_regime="frozen"),
        images=DrawImages(
            corruption=corruption,
            test_corruption=test_corruption,
            key=key,
            x_train=x_train,
            labels=labels,
            x_test=x_test,
            copies=copies,
            fresh=config.noise_regime == "fresh",
            room=room,
        ),
        probes=probes,
        split=NamedSharding(mesh, PartitionSpec("members")),
    )


@renamed("noise", "corruption")
@checked
def measure(
    arch: Architecture | Trainable,
    corruption: Corruption,
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
            (n, d) -> (n, c) without state or randomness beyond its parameters; or the
            `Tangent` of one.
        corruption: the corruption; its strength is traced, a sweep compiles once.
        problem: clean images; trained on in float32.
        width: units of each hidden layer; None with a Flax module.
        draws: number of corruption draws, `first_draw` ... `first_draw + draws - 1`.
        inits: networks per draw, which share its images and differ in initialisation
            and order of examples.
        key: a typed key; draw k is that of `theory.corrupt(corruption, key, k, x)`
            ("fresh" regime: every epoch of draw k corrupts anew).
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
    _check_grid(draws, inits, first_draw, member_block)
    problem.check()
    check_options(corruption, problem, copies=copies, test_corruption=test_corruption)
    config.check()
    if isinstance(arch, Tangent) and config.optimiser == "adamw":
        raise InputError(
            "`optimiser` must not be adamw for a Tangent: decay would move its start."
        )
    model = model_of(
        arch,
        width,
        problem.num_classes,
        problem.x_train.shape[1],
        parametrisation=parametrisation,
    )

    problem = problem.astype(jnp.float32)
    layout.check_memory(model, problem, members=draws * inits, copies=copies)
    size = member_block or len(jax.devices()) * layout.block_size(
        model,
        config,
        problem,
        inits=inits,
        copies=copies,
        corrupt_test=test_corruption is not None,
    )
    grid = np.indices((draws, inits), np.int32).reshape(2, -1).T
    grid[:, 0] += first_draw
    blocks = list(layout.plan(len(grid), size))
    train = _trainer(
        model,
        config,
        corruption,
        problem,
        key=key,
        copies=copies,
        test_corruption=test_corruption,
        probes=probes,
        room=max(len(np.unique(grid[numbers, 0])) for numbers, _ in blocks),
    )
    results = []
    for numbers, new in blocks:
        report = _counting(progress, len(results), len(blocks), config.epochs)
        results.append(train(grid[numbers], new, report))
    return _stacked(results, key, range(first_draw, first_draw + draws), config)


def _counting(progress: Progress | None, done: int, blocks: int, epochs: int) -> Report:
    """Tells `progress` the epochs of a block, with those of the blocks before it."""
    if progress is None:
        return lambda epoch, loss: None
    return lambda epoch, loss: progress(done * epochs + epoch, blocks * epochs, loss)


def _stacked(
    results: Sequence[TrainedBlock], key: Array, draws: range, config: TrainConfig
) -> Draws:
    """The members of all blocks, by draw and initialisation."""

    def shaped(*parts):
        # not jnp.asarray, which compiles a program for every shape
        whole = np.concatenate(parts)
        return jax.device_put(
            whole.reshape(len(draws), len(whole) // len(draws), *whole.shape[1:])
        )

    found = jax.tree.map(shaped, *results)
    keys = [jax.random.key_data(draw_key(key, draw)) for draw in draws]
    return Draws(
        outputs=found.outputs,
        # fresh noise has no images that another route could share
        draw_keys=None if config.noise_regime == "fresh" else jnp.stack(keys),
        diagnostics={
            "train_loss": found.losses,
            "epochs": found.epochs,
            "reached": found.reached,
            **found.found,
        },
    )
