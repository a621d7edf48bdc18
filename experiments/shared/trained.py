"""Trained networks at one strength of a corruption: what curves over it are made of.

A cell is one strength. Each of its repeats has training images, noise, initialisation
and order of examples of its own; repeats are added until the accuracy on clean images
is as sure as asked.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import theory
from experiments.harness.flags import fixed, setting
from experiments.harness.lines import known
from experiments.harness.run_directory import Cell, Row
from experiments.shared import corruptions
from experiments.shared import settings as shared_settings
from ntk_corrupt.ensembles import ensemble
from ntk_corrupt.probes import basic, margin_scores, margins
from theory.errors import InputError
from theory.keys import stream

# Test images that alive units and margins are looked at on.
_PROBED = 500
TESTS = ("clean", "same")
# (problem, corruption, key) -> probes
ProbesOf = Callable[[theory.Problem, theory.Corruption, Any], Sequence[basic.Probe]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class UntilSure:
    """A mix-in before `Networks`: repeats are added until the mean is sure."""

    most_repeats: int = setting(3, "the most of them, with --stderr", most=10_000)
    stderr: float | None = setting(
        None, "of the mean clean accuracy, reached by more repeats; none adds none"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """A mix-in before `Networks`: how long to train, in images."""

    samples: int | None = setting(
        None, "training images seen in all, in place of --epochs"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks(shared_settings.Settings):
    """Settings of experiments on networks alone; pixels are centred."""

    p: tuple[float, ...] = setting(
        (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 1.0),
        "corruption levels; of clipped_additive the widths sigma, above 0",
    )
    repeats: int = setting(
        3, "networks per level, each with images of its own", most=10_000
    )
    most_repeats: int = fixed(3)
    stderr: float | None = fixed(None)
    samples: int | None = fixed(None)
    rates: str = fixed("ntk")
    normalise: str = setting(
        "signed", "pixel scale; on raw pixels (unit) rectifiers die in heavy noise"
    )
    noise: str = setting(
        "uniform(-1,1)",
        f"law of a noise pixel: {', '.join(corruptions.NOISES)}, with parameters",
    )
    activation: str = setting("relu", "between layers, e.g. erf, relu, tanh, gelu")
    depth: int = setting(2, "weight layers; 2 is one hidden layer", most=1000)
    w_var: float = setting(2.0, "weight variance times fan-in")
    width: int = setting(128, "units of each hidden layer")
    loss: str = setting("cross_entropy", "mse, cross_entropy, softmax_mse")
    batch_size: int = setting(128, "training images per step")
    epochs: int = setting(20, "epochs to train", least=0)
    stop_loss: float | None = setting(None, "training loss to stop at; none trains all")
    noise_regime: str = setting("fresh", "fresh: other noise in each epoch; or frozen")


def check(config: Networks) -> None:
    """Raises `InputError` on bad settings."""
    for name in ("repeats", "most_repeats"):
        if getattr(config, name) < 1:
            raise InputError(
                f"`--{name}` must be at least 1, got {getattr(config, name)}."
            )
    if config.stderr is not None and config.most_repeats < config.repeats:
        raise InputError(
            f"`--most_repeats` must be at least --repeats, {config.repeats}, got "
            f"{config.most_repeats}."
        )
    if config.stderr is not None and not config.stderr > 0:
        raise InputError(f"`--stderr` must be positive, got {config.stderr}.")
    if config.stderr is not None and config.repeats < 2:
        raise InputError("`--stderr` needs at least 2 --repeats, got 1.")
    if config.samples is not None and config.samples < 1:
        raise InputError(f"`--samples` must be at least 1, got {config.samples}.")
    if len(set(config.p)) < len(config.p):
        raise InputError(f"`--p` must be different levels, got {config.p}.")
    shared_settings.check(config, config.p)


def cell(config: Networks, p: float) -> Cell:
    """One strength."""
    settings = dataclasses.asdict(config)
    names = [*shared_settings.of_network(config), "repeats"]
    if config.samples is not None:
        names = [name for name in names if name != "epochs"] + ["samples"]
    if config.stderr is not None:
        names += ["most_repeats", "stderr"]
    return Cell({"p": p, **{name: settings[name] for name in names}})


def epochs(config: Networks) -> int:
    """Epochs to train: as given, or those in which so many images are seen."""
    if config.samples is None:
        return config.epochs
    return max(1, round(config.samples / config.n_train))


def train(
    config: Networks, p: float | None, repeat: int, probes_of: ProbesOf
) -> tuple[theory.Problem, theory.Draws]:
    """Trains the network of one repeat, and measures it with probes of its images.

    On clean images if p is None: not every corruption has a level that is none.
    """
    problem = shared_settings.problem(config, repeat).astype(jnp.float32)
    key = shared_settings.corruption_key(config, repeat)
    clean = theory.Replacement(p=0.0)
    noise = clean if p is None else shared_settings.corruption(config, p)
    nets = ensemble.measure(
        shared_settings.network(config, problem.num_classes),
        noise,
        problem,
        draws=1,
        inits=1,
        key=key,
        config=dataclasses.replace(
            shared_settings.training(config), epochs=epochs(config)
        ),
        probes=probes_of(problem, noise, stream(key, "test")),
    )
    return problem, nets


def said(nets: theory.Draws) -> dict[str, np.ndarray]:
    """What is known of the one network of a repeat."""
    return {name: np.asarray(part[0, 0]) for name, part in nets.diagnostics.items()}


def some(problem: theory.Problem, count: int) -> tuple[Array, Array]:
    """Test images and labels, `count` at most, always the same ones.

    Not the first ones: the head of MNIST's test set is harder than its tail.
    """
    n = len(problem.labels_test)
    chosen = np.sort(np.random.default_rng(0).permutation(n)[:count])
    return problem.x_test[chosen], problem.labels_test[chosen]


def _probes(problem: theory.Problem, corruption: theory.Corruption, key):
    x, labels = some(problem, _PROBED)
    return (
        basic.Accuracies(
            corruption=corruption,
            x=problem.x_test,
            labels=problem.labels_test,
            name="same",
        ),
        basic.AliveUnits(x=theory.corrupt(corruption, key, 0, x)),
        margins.Margins(corruption=corruption, x=x, labels=labels),
    )


# There is no loss without a `stop_loss`, no score where no image is right.
_MAY_LACK = ("train_loss", "z")


def compute(config: Networks, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: lists over repeats."""
    config, p, found = shared_settings.settled(config, cell), cell.settings["p"], []
    most = config.repeats if config.stderr is None else config.most_repeats
    for repeat in range(most):
        problem, nets = train(config, p, repeat, _probes)
        found.append(_of_repeat(nets, problem))
        clean = np.array([each["clean"] for each in found])
        enough = config.stderr is None or theory.standard_error(clean) <= config.stderr
        if repeat + 1 >= config.repeats and enough:
            break
    row: Row = {name: [each[name] for each in found] for name in found[0]}
    row["classes"] = problem.num_classes
    arrays = {name: np.asarray(values) for name, values in row.items()}
    return {n: known(v) if n in _MAY_LACK else v for n, v in row.items()}, arrays


def _of_repeat(nets: theory.Draws, problem: theory.Problem) -> dict[str, float]:
    found = said(nets)
    return {
        "clean": float(nets.accuracy(problem.labels_test, inits=1)),
        "same": float(found["same"]),
        "train_loss": float(found["train_loss"]),
        "alive": float(found["alive"].mean()) if found["alive"].size else 1.0,
        "z": margin_scores.judge(margin_scores.measured(found))["mid"].median,
    }


def estimate(config: Networks, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    config = shared_settings.settled(config, cell)
    weights = 784 * config.width + (config.depth - 2) * config.width**2
    images = epochs(config) * config.n_train
    return config.repeats * (0.5 + images * 6 * weights * 3e-11)
