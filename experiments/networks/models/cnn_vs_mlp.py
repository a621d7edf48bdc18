"""Convolutional against fully connected networks: settings and cells."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import theory
from experiments.harness.flags import setting
from experiments.harness.lines import known
from experiments.harness.run_directory import Cell, Row
from experiments.shared import models, trained
from experiments.shared import settings as shared_settings
from ntk_corrupt.ensembles import ensemble
from ntk_corrupt.kernels import convolutional
from theory.corruption.copies import corrupt_problem
from theory.errors import InputError, unknown
from theory.keys import stream
from theory.numerics import solve

NETWORKS = ("cnn", "mlp")
KERNELS = ("cnn_kernel", "flat_kernel", "mlp_kernel")
_KERNEL_IMAGES = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class CnnVsMlp(models.Convolutional, trained.Samples, trained.Networks):
    """Settings of the experiment; width and depth are the perceptron's."""

    models: tuple[str, ...] = setting(
        NETWORKS, f"what is compared: {', '.join((*NETWORKS, *KERNELS))}"
    )
    channels: tuple[int, ...] = setting((8, 16), "of each convolution", distinct=False)
    dense: int = setting(64, "units of the hidden layer after the convolutions")
    p: tuple[float, ...] = setting(
        (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0), "corruption levels"
    )
    size: int | None = setting(
        14,
        "side in pixels to resize the images to, bilinearly; none keeps them",
        most=1024,
    )
    epochs: int = setting(100, "epochs to train", least=0)


def check(config: CnnVsMlp) -> None:
    """Raises `InputError` on bad settings."""
    for model in config.models:
        if model not in (*NETWORKS, *KERNELS):
            raise unknown("--models", model, (*NETWORKS, *KERNELS))
    if not config.models or len(set(config.models)) < len(config.models):
        raise InputError(f"`--models` must be different ones, got {config.models}.")
    if len(config.p) < 4:
        raise InputError(
            f"`--p` must be at least 4 levels to fit a fall, got {config.p}."
        )
    models.check_biases(config)
    kernels = [model for model in config.models if model in KERNELS]
    if kernels and config.n_train > _KERNEL_IMAGES:
        raise InputError(
            f"`--n_train` must be at most {_KERNEL_IMAGES} with {kernels[0]}, got "
            f"{config.n_train}."
        )
    if kernels and config.activation not in convolutional.ACTIVATIONS:
        raise unknown("--activation", config.activation, convolutional.ACTIVATIONS)
    trained.check(config)
    problem = shared_settings.problem(config, 0)
    models.check_images(config, problem)


def cells(config: CnnVsMlp) -> list[Cell]:
    """One cell per model and level."""
    return [_cell(config, model, p) for model in config.models for p in config.p]


def _cell(config: CnnVsMlp, model: str, p: float) -> Cell:
    settings = dict(trained.cell(config, p).settings)
    if model in KERNELS:
        kept = ("p", "repeats", *shared_settings.of_kernel(config))
        settings = {name: settings[name] for name in kept if name != "rates"}
    if not model.startswith("mlp"):
        for name in ("depth", "width", "biases"):
            settings.pop(name, None)
        settings["channels"] = list(config.channels)
        settings["dense"] = config.dense
    if model in ("cnn_kernel", "flat_kernel"):  # of infinitely many units
        settings["convolutions"] = len(settings.pop("channels"))
        del settings["dense"]
    return Cell({"model": model, **settings})


def compute(config: CnnVsMlp, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: accuracies over repeats."""
    settled = shared_settings.settled(config, cell)
    found = [
        _of_repeat(settled, cell.settings, repeat) for repeat in range(settled.repeats)
    ]
    lists = {name: [each[name] for each in found] for name in found[0]}
    classes = shared_settings.problem(settled, 0).num_classes
    arrays = {name: np.asarray(values) for name, values in lists.items()}
    return {**lists, "classes": classes}, arrays


def _of_repeat(
    config: CnnVsMlp, settings: Mapping[str, Any], repeat: int
) -> dict[str, float]:
    problem, model = shared_settings.problem(config, repeat), settings["model"]
    noise = shared_settings.corruption(config, settings["p"])
    key, said = shared_settings.corruption_key(config, repeat), {}
    # the clean test images, then the same ones corrupted, alike for all models
    same = theory.corrupt(noise, stream(key, "test"), 0, problem.x_test)
    asked = dataclasses.replace(
        problem,
        x_test=jnp.concatenate([problem.x_test, same]),
        labels_test=jnp.tile(problem.labels_test, 2),
    )
    if model in NETWORKS:
        training = shared_settings.training(config)
        nets = ensemble.measure(
            models.network(config, model, problem),
            noise,
            asked,
            draws=1,
            inits=1,
            key=key,
            config=dataclasses.replace(training, epochs=trained.epochs(config)),
        )
        outputs = nets.outputs[0, 0]
        said["train_loss"] = known(float(nets.diagnostics["train_loss"][0, 0]))
    elif model == "mlp_kernel":
        arch = shared_settings.architecture(config)
        limit = theory.exact(arch, noise, asked, draws=1, key=key, with_init_var=False)
        outputs = limit.outputs[0, 0]
    else:
        kernel = convolutional.ntk(
            settings["convolutions"],
            pooled=model == "cnn_kernel",
            activation=config.activation,
            w_var=config.w_var,
            b_var=config.b_var,
        )
        outputs = _regression(kernel, corrupt_problem(noise, asked, key, 0))
    right = np.asarray(outputs.argmax(axis=-1) == asked.labels_test, float)
    clean, same = right.reshape(2, -1).mean(axis=1).tolist()
    return {"clean": clean, "same": same, **said}


def _regression(kernel: Callable, seen: theory.Problem) -> Array:
    """Mean outputs (n_test, c) of infinitely wide networks trained to the end."""
    smoother = solve.inverse(kernel(seen.x_train, seen.x_train), 0.0)
    solve.check(float(smoother.margin), seen.x_train, flow=False, ridge=0.0)
    return kernel(seen.x_test, seen.x_train) @ smoother.apply(seen.y)


def estimate(config: CnnVsMlp, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    settled = shared_settings.settled(config, cell)
    problem, repeats = shared_settings.problem(settled, 0), settled.repeats
    side = math.isqrt(problem.x_train.shape[1])
    if cell.settings["model"] == "mlp":
        return trained.estimate(config, cell)
    if cell.settings["model"] in KERNELS:
        tests = 2 * len(problem.labels_test)
        pairs = settled.n_train * (settled.n_train + tests)
        covariances = {"cnn_kernel": side**4, "flat_kernel": side**2}
        return repeats * pairs * covariances.get(cell.settings["model"], 1) * 1e-7
    multiply_adds, before = 0, 1
    for number, channels in enumerate(settled.channels):
        multiply_adds += (side // 2**number) ** 2 * 9 * before * channels
        before = channels
    images = trained.epochs(settled) * settled.n_train
    return repeats * (2 + images * 6 * multiply_adds * 1.5e-10)
