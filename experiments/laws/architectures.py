"""Kernels of architectures beside the class mean in their metric: settings, cells."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import theory
from experiments.harness.flags import setting
from experiments.harness.run_directory import Cell, Row
from experiments.shared import settings as shared_settings
from theory import architectures
from theory.activations import registry
from theory.architectures import Metric, Stack
from theory.architectures.positions import numbers_of_a_pair
from theory.corruption.copies import corrupt_problem
from theory.errors import InputError, NumericalError, unknown
from theory.keys import stream
from theory.numerics import memory, solve

# Name -> the builder and its arguments; depths count weight layers.
ARCHITECTURES: dict[str, tuple[Callable[..., Stack], dict]] = {
    "dense": (architectures.dense, {"depth": 3}),
    "conv": (architectures.convolutional, {"depth": 2}),
    "conv2": (architectures.convolutional, {"depth": 3}),
    "residual": (architectures.convolutional, {"depth": 4, "residual": True}),
    "unshared": (
        architectures.convolutional,
        {"depth": 2, "pooling": "local", "shared": False},
    ),
    "local": (architectures.convolutional, {"depth": 2, "pooling": "local"}),
    "global": (architectures.convolutional, {"depth": 2, "pooling": "global"}),
}
PREDICTED_AT = 0.9
PARTS = 4  # of the metric's samples, for the error of its rank
DIRECTIONS = 4  # stored of every metric
_HELD = 50  # arrays of a pair's numbers that a derivative of its kernel takes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architectures(shared_settings.Corrupted):
    """Settings of the experiment."""

    architectures: tuple[str, ...] = setting(
        tuple(ARCHITECTURES), f"any of {', '.join(ARCHITECTURES)}"
    )
    n_train: int = setting(200, "training images, balanced over classes")
    n_test: int | None = setting(200, "test images, balanced; none is all")
    p: tuple[float, ...] = setting((0.3, 0.6, 0.8, 0.9, 0.95), "corruption levels")
    draws: int = setting(3, "corrupted copies of the training images per level")
    samples: int = setting(200, f"pairs of noise in a metric, in {PARTS} parts")
    activation: str = setting("erf", "between layers, e.g. erf, relu, tanh, gelu")
    w_var: float = setting(1.0, "weight variance times fan-in", above=0)
    b_var: float = setting(0.0, "bias variance")


def image_shape(pixels: int, dataset: str) -> tuple[int, int, int]:
    """Returns height, width and channels of square images, channels last."""
    for channels in (1, 3):
        side = math.isqrt(pixels // channels)
        if side**2 * channels == pixels:
            return side, side, channels
    raise InputError(
        f"`--dataset` must hold square images, got {dataset} of {pixels} numbers."
    )


def stack(config: Architectures, name: str, pixels: int) -> Stack:
    """Returns the architecture of a name, for images of so many numbers."""
    build, arguments = ARCHITECTURES[name]
    try:
        return build(
            shape=image_shape(pixels, config.dataset),
            activation=config.activation,
            w_var=config.w_var,
            b_var=config.b_var,
            **arguments,
        )
    except InputError as error:
        raise InputError(f"`--architectures` {name}: {error}") from None


def check(config: Architectures) -> None:
    """Raises `InputError` on bad settings."""
    for name in config.architectures:
        if name not in ARCHITECTURES:
            raise unknown("--architectures", name, ARCHITECTURES)
    if not registry.get(config.activation).trainable:
        raise InputError(
            "`--activation` must have a slope, for without there is no tangent kernel, "
            f"got {config.activation}."
        )
    if config.samples % PARTS or config.samples < 2 * PARTS:
        raise InputError(
            f"`--samples` must be a multiple of {PARTS} and at least {2 * PARTS}, got "
            f"{config.samples}."
        )
    if not shared_settings.corruption(config, config.p[0]).ends_in_noise:
        raise InputError(
            "`--corruption` must leave nothing but noise at its strongest, for that is "
            f"where the metric is taken, got {config.corruption}."
        )
    shared_settings.check_data(config, config.p)
    pixels = shared_settings.problem(config, 0).x_train.shape[1]
    for name in config.architectures:
        numbers = numbers_of_a_pair(stack(config, name, pixels))
        memory.check_memory(
            8 * max(_HELD * numbers, 6 * pixels**2, 3 * config.n_train**2),
            f"`--architectures` {name} on {config.n_train} images of {pixels} pixels",
            "take a smaller --size or --n_train, or others",
        )


def cells(config: Architectures) -> list[Cell]:
    """The metric of every architecture, then its kernels level by level."""
    settings = dataclasses.asdict(config)
    names = (*shared_settings.DATA, "activation", "w_var", "b_var", "samples")
    common = {name: settings[name] for name in names}
    metrics = [
        Cell({"stage": "metric", "architecture": name, **common})
        for name in config.architectures
    ]
    return metrics + [
        Cell(
            {
                "stage": "kernel",
                "architecture": name,
                "p": p,
                "draws": config.draws,
                **common,
            }
        )
        for p in config.p
        for name in config.architectures
    ]


def compute(config: Architectures, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell."""
    settled, name = shared_settings.settled(config, cell), cell.settings["architecture"]
    if cell.settings["stage"] == "metric":
        return _metric_cell(settled, name)
    _announce(config, jax.config.jax_enable_x64)  # ty: ignore[missing-attribute]
    return _kernel_cell(settled, name, cell.settings["p"])


def metric(config: Architectures, name: str) -> tuple[np.ndarray, list[Metric]]:
    """Returns W and the metrics of equal parts of the samples, whose mean it is."""
    # what decides nothing here must not be told apart
    like = dataclasses.replace(config, p=(), architectures=(), draws=1, data_dir=None)
    pixels = shared_settings.problem(config, 0).x_train.shape[1]
    return _metric(like, name, pixels, jax.config.jax_enable_x64)  # ty: ignore[missing-attribute]


@functools.lru_cache(maxsize=2 * len(ARCHITECTURES))
def _metric(config, name, pixels, _x64):
    of, noise = stack(config, name, pixels), shared_settings.corruption(config, 1.0)
    key = stream(shared_settings.corruption_key(config, 0), "architectures")
    parts = [
        architectures.metric(
            of,
            noise,
            key=jax.random.fold_in(key, part),
            samples=config.samples // PARTS,
        )
        for part in range(PARTS)
    ]
    return np.mean([np.asarray(part.weight) for part in parts], axis=0), parts


def _metric_cell(config: Architectures, name: str) -> tuple[Row, dict]:
    weight, parts = metric(config, name)
    problem = shared_settings.problem(config, 0)
    values, vectors = np.linalg.eigh(weight)
    row: Row = {
        "ranks": [float(part.rank) for part in parts],
        "pixels": len(weight),
        "classes": problem.num_classes,
        "clean": _share(_rule(problem, weight), problem.labels_test),
        "clean_plain": _share(_rule(problem), problem.labels_test),
    }
    return row, {
        "weight": weight,
        "values": values[::-1],
        "directions": vectors[:, ::-1].T[:DIRECTIONS],
    }


def _rule(problem: theory.Problem, weight: np.ndarray | None = None) -> np.ndarray:
    """Decisions of the nearest class mean of the images in `problem`, in a metric."""
    dtype = problem.x_train.dtype
    scores = theory.class_mean_scores(
        problem, None if weight is None else jnp.asarray(weight, dtype)
    )
    return np.asarray(scores.argmax(axis=1))


def _share(decisions: np.ndarray, others: Array | np.ndarray) -> float:
    return float((decisions == np.asarray(others)).mean())


def _seen(config: Architectures, p: float, draw: int) -> theory.Problem:
    """The images that draw number `draw` trains on, and the clean test images."""
    problem, key = (
        shared_settings.problem(config, 0),
        shared_settings.corruption_key(config, 0),
    )
    noise = shared_settings.corruption(config, p)
    return corrupt_problem(noise, problem, key, draw)


def predicted(config: Architectures, p: float) -> dict[str, list[float]]:
    """Accuracy of the class mean in W of each draw's corrupted images; no kernel."""
    found: dict[str, list[float]] = {name: [] for name in config.architectures}
    for draw in range(config.draws):
        seen = _seen(config, p, draw)
        for name, accuracies in found.items():
            rule = _rule(seen, metric(config, name)[0])
            accuracies.append(_share(rule, seen.labels_test))
    return found


def told_at(levels: Sequence[float]) -> float:
    """Returns the level at which the order of architectures is predicted."""
    return min(levels, key=lambda p: abs(p - PREDICTED_AT))


def in_order(found: dict[str, list[float]]) -> str:
    """Architectures by accuracy, the best first, with the mean of each."""
    means = {name: float(np.mean(values)) for name, values in found.items()}
    ranked = sorted(means, key=lambda name: -means[name])
    return " > ".join(f"{name} {means[name]:.3f}" for name in ranked)


@functools.lru_cache(maxsize=1)
def _announce(config: Architectures, _x64) -> None:
    """Says once, before the first kernel, what the class means predict."""
    p = told_at(config.p)
    print(
        f"predicted before any kernel, p = {p:g}, class mean in W: "
        f"{in_order(predicted(config, p))}",
        flush=True,
    )


def _kernel_cell(config: Architectures, name: str, p: float) -> tuple[Row, dict]:
    weight, _ = metric(config, name)
    clean = _rule(shared_settings.problem(config, 0), weight)
    found, decided = [], []
    for draw in range(config.draws):
        seen = _seen(config, p, draw)
        kernel = decisions(stack(config, name, seen.x_train.shape[1]), seen)
        rule, plain = _rule(seen, weight), _rule(seen)
        found.append({
            "accuracy": _share(kernel, seen.labels_test),
            "weighted": _share(rule, seen.labels_test),
            "plain": _share(plain, seen.labels_test),
            "alike": _share(kernel, rule),
            "alike_plain": _share(kernel, plain),
            "alike_clean": _share(kernel, clean),
        })  # fmt: skip
        decided.append(kernel)
    row: Row = {column: [each[column] for each in found] for column in found[0]}
    return row, {"decisions": np.asarray(decided, np.int16)}


def decisions(of: Stack, seen: theory.Problem) -> np.ndarray:
    """What infinitely wide networks, trained to the end on `seen`, decide.

    Raises:
        NumericalError: an indefinite or singular kernel, as of `theory.exact`, or
            outputs that are not finite.
    """
    x = seen.x_train
    smoother = solve.inverse(architectures.gram(x, of).ntk, 0.0)
    solve.check(float(smoother.margin), x, flow=False, ridge=0.0)
    weights = smoother.apply(seen.y)
    rows = architectures.nngp_ntk(seen.x_test, x, of).ntk
    outputs = np.asarray(rows @ weights)
    if not np.isfinite(outputs).all():
        raise NumericalError("outputs came out as NaN or infinity: take --x64.")
    return outputs.argmax(axis=1)


def estimate(config: Architectures, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    problem = shared_settings.problem(config, 0)
    pixels, tests = problem.x_train.shape[1], len(problem.labels_test)
    name, n = cell.settings["architecture"], config.n_train
    build = stack(config, name, pixels)
    each = numbers_of_a_pair(build) * len(build.layers) * 4e-9
    if cell.settings["stage"] == "metric":
        return 8 + config.samples * pixels * 3 * each
    pairs = n**2 / 2 + n * tests
    return 1 + config.draws * (pairs * each + (n**3 / 3 + n**2 * 10) * 2e-11)
