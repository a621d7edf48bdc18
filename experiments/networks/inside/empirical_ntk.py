"""Kernels of networks at their widths: settings and cells."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import theory
from experiments.harness.flags import fixed, setting
from experiments.harness.lines import known
from experiments.harness.run_directory import Cell, Row
from experiments.networks.inside.empirical_report import (
    INPUTS,
    MODES,
    TIMES,
)
from experiments.shared import settings, trained
from ntk_corrupt.kernels import empirical
from ntk_corrupt.probes import basic
from theory.errors import InputError
from theory.keys import stream

_NUMBERS = ("effective_rank", "entropy", "trace", "negative")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmpiricalNtk(trained.Samples, trained.Networks):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95), "corruption levels"
    )
    width: int = fixed(0)
    widths: tuple[int, ...] = setting((128,), "units of each hidden layer, rising")
    points: int = setting(64, "test images that the kernel is evaluated at")


def _each(config: EmpiricalNtk) -> list[EmpiricalNtk]:
    return [dataclasses.replace(config, width=width) for width in config.widths]


def check(config: EmpiricalNtk) -> None:
    """Raises `InputError` on bad settings."""
    if not config.widths or list(config.widths) != sorted(set(config.widths)):
        raise InputError(f"`--widths` must be rising numbers, got {config.widths}.")
    for each in _each(config):
        trained.check(each)
    images = settings.problem(config, 0)
    infinite(_each(config)[0], jnp.asarray(images.x_test[:1]))  # is there a kernel?
    there = len(images.labels_test)
    if not 2 <= config.points <= there:
        raise InputError(
            f"`--points` must be in 2 ... {there}, the number of test images, got "
            f"{config.points}."
        )


def cells(config: EmpiricalNtk) -> list[Cell]:
    """One cell per width and level."""
    return [
        Cell({**trained.cell(each, p).settings, "points": config.points})
        for each in _each(config)
        for p in config.p
    ]


def compute(config: EmpiricalNtk, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: numbers over repeats, and eigenvalues (repeats, points)."""
    settled = settings.settled(config, cell)
    found, values = [], []
    for repeat in range(settled.repeats):
        numbers, spectra = _of_repeat(settled, cell.settings["p"], repeat)
        found.append(numbers)
        values.append(spectra)
    row: Row = {name: [each[name] for each in found] for name in found[0]}
    return row, {name: np.stack([v[name] for v in values]) for name in values[0]}


def _points(config: EmpiricalNtk, repeat: int, p: float) -> tuple[Array, Array]:
    """Random test images of a repeat, corrupted and then clean, and their classes.

    The same images at all levels and widths.
    """
    problem = settings.problem(config, repeat).astype(jnp.float32)
    key = settings.corruption_key(config, repeat)
    # not the first ones: all test images come in the order of the data set, and
    # those of MNIST are the harder half first
    every = jax.random.permutation(stream(key, "points"), len(problem.labels_test))
    x = problem.x_test[every[: config.points]]
    noise = settings.corruption(config, p)
    both = jnp.concatenate([theory.corrupt(noise, stream(key, "points"), 0, x), x])
    return both, jnp.tile(problem.labels_test[every[: config.points]], 2)


def infinite(config: EmpiricalNtk, x: Array) -> np.ndarray:
    """Returns the NTK (n, n) of one output at infinite width, in the same rates."""
    arch = settings.architecture(
        dataclasses.replace(config, rates=config.parametrisation)
    )
    return np.asarray(theory.ntk_gram(x.astype(jnp.result_type(float)), arch))


def _of_repeat(
    config: EmpiricalNtk, p: float, repeat: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    x, labels = _points(config, repeat, p)
    asked = [basic.Kernel(x=x, labels=labels)]
    if config.depth > 1:
        asked.append(basic.AliveUnits(x=x[: config.points]))
    numbers, kernels = {}, {}
    untrained = dataclasses.replace(config, epochs=0, samples=None, stop_loss=None)
    for time, settled in zip(TIMES, (untrained, config), strict=True):
        problem, nets = trained.train(settled, p, repeat, lambda *_: asked)
        said = trained.said(nets)
        kernels["true", time], kernels["trace", time] = (
            said["ntk_true"],
            said["ntk_trace"],
        )
        numbers[f"accuracy_{time}"] = float(nets.accuracy(problem.labels_test, inits=1))
        numbers[f"alive_{time}"] = float(np.mean(said.get("alive", 1.0)))
    limit = infinite(config, x)
    kernels["trace", "infinite"] = problem.num_classes * limit
    # the outputs of two classes are independent there, their gradients orthogonal
    kernels["true", "infinite"] = limit * np.equal.outer(labels, labels)
    arrays = {}
    parts = (slice(config.points), slice(config.points, None))
    for mode, (inputs, part) in itertools.product(
        MODES, zip(INPUTS, parts, strict=True)
    ):
        before, after, limit = (
            kernels[mode, time][part, part] for time in (*TIMES, "infinite")
        )
        name = f"{mode}_{inputs}"
        for time, kernel in zip(
            (*TIMES, "infinite"), (before, after, limit), strict=True
        ):
            spectrum = empirical.spectrum(kernel)
            arrays[f"{name}_{time}"] = spectrum.eigenvalues
            for number in _NUMBERS:
                numbers[f"{name}_{time}_{number}"] = known(getattr(spectrum, number))
        numbers[f"{name}_moved"] = empirical.distance(after, before)
        numbers[f"{name}_alignment"] = empirical.alignment(after, before)
        numbers[f"{name}_before_from_infinite"] = empirical.distance(before, limit)
        numbers[f"{name}_after_from_infinite"] = empirical.distance(after, limit)
    return numbers, arrays


def estimate(config: EmpiricalNtk, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    settled = settings.settled(config, cell)
    kernels = settled.repeats * settled.points**2 * settled.width * 1e-8
    return trained.estimate(config, cell) + kernels
