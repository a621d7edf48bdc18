"""Kernels and networks of architectures beside the class mean in their metric: cells.

A cell is a metric, or the kernels of one architecture at one level on every corrupted
copy of the training images, or its networks on the same copies.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import theory
from experiments.harness.lines import known
from experiments.harness.run_directory import Cell, Row
from experiments.laws.architecture_settings import (
    PARTS,
    STAGES,
    TRAINING,
    Architectures,
    images,
    pixels,
)
from experiments.shared import settings as shared_settings
from experiments.shared import stacks
from ntk_corrupt.ensembles import ensemble
from theory import architectures
from theory.architectures import Metric
from theory.corruption.copies import corrupt_problem
from theory.keys import stream

PREDICTED_AT = 0.9
DIRECTIONS = 4  # stored of every metric
_OF_DECISIONS = ("accuracy", "alike", "alike_plain")
_OF_METRIC = (*shared_settings.DATA, "activation", "w_var", "b_var", "samples")


def cells(config: Architectures) -> list[Cell]:
    """The metric of every architecture, then kernels level by level, then networks."""
    settings = dataclasses.asdict(config)
    common = {name: settings[name] for name in _OF_METRIC}
    metrics = [
        Cell({"stage": "metric", "architecture": name, **common})
        for name in config.architectures
    ]
    found = metrics
    for stage in STAGES:
        own: dict[str, Any] = {"draws": config.draws}
        if stage == "network":
            own |= {name: settings[name] for name in ("inits", *TRAINING)}
            # as in the keys of other scripts
            if config.precision:
                own["precision"] = config.precision
        if stage in config.stages:
            found += [
                Cell({"stage": stage, "architecture": name, "p": p, **own, **common})
                for p in config.p
                for name in config.architectures
            ]
    return found


def compute(config: Architectures, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell."""
    settled, name = shared_settings.settled(config, cell), cell.settings["architecture"]
    if cell.settings["stage"] == "metric":
        return _metric_cell(settled, name)
    _announce(config, jax.config.jax_enable_x64)  # ty: ignore[missing-attribute]
    of_stage = {"kernel": _kernel_cell, "network": _network_cell}
    return of_stage[cell.settings["stage"]](settled, name, cell.settings["p"])


def metric(config: Architectures, name: str) -> tuple[np.ndarray, list[Metric]]:
    """Returns W and the metrics of equal parts of the samples, whose mean it is."""
    # what decides nothing here must not be told apart
    like = Architectures(**{name: getattr(config, name) for name in _OF_METRIC}, p=())
    return _metric(like, name, pixels(config), jax.config.jax_enable_x64)  # ty: ignore[missing-attribute]


@functools.lru_cache(maxsize=2 * len(stacks.ARCHITECTURES))
def _metric(config, name, d, _x64):
    of, noise = stacks.stack(config, name, d), shared_settings.corruption(config, 1.0)
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
    problem = images(config)
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
    noise, key = (
        shared_settings.corruption(config, p),
        shared_settings.corruption_key(config, 0),
    )
    return corrupt_problem(noise, images(config), key, draw)


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
    """Says once, before the first kernel or network, what the class means predict."""
    p = told_at(config.p)
    print(
        f"predicted before any kernel or network, p = {p:g}, class mean in W: "
        f"{in_order(predicted(config, p))}",
        flush=True,
    )


def _beside(
    decided: np.ndarray, seen: theory.Problem, weight: np.ndarray, clean: np.ndarray
) -> dict[str, float]:
    """Accuracy of decisions (n_test,), and shares decided as the class means do."""
    rule, plain = _rule(seen, weight), _rule(seen)
    return {
        "accuracy": _share(decided, seen.labels_test),
        "weighted": _share(rule, seen.labels_test),
        "plain": _share(plain, seen.labels_test),
        "alike": _share(decided, rule),
        "alike_plain": _share(decided, plain),
        "alike_clean": _share(decided, clean),
    }


def _kernel_cell(config: Architectures, name: str, p: float) -> tuple[Row, dict]:
    weight, _ = metric(config, name)
    clean = _rule(images(config), weight)
    found, decided = [], []
    for draw in range(config.draws):
        seen = _seen(config, p, draw)
        of = stacks.stack(config, name, pixels(config))
        kernel = np.asarray(stacks.outputs(of, seen)[0].argmax(axis=1))
        found.append(_beside(kernel, seen, weight, clean))
        decided.append(kernel)
    row: Row = {column: [each[column] for each in found] for column in found[0]}
    return row, {"decisions": np.asarray(decided, np.int16)}


def _network_cell(config: Architectures, name: str, p: float) -> tuple[Row, dict]:
    """Of each draw the mean over its networks, and what their mean output decides."""
    weight, _ = metric(config, name)
    problem, of = images(config), stacks.stack(config, name, pixels(config))
    clean = _rule(problem, weight)
    nets = ensemble.measure(
        stacks.network(config, of, problem.num_classes),
        shared_settings.corruption(config, p),
        problem,
        draws=config.draws,
        inits=config.inits,
        key=shared_settings.corruption_key(config, 0),
        config=shared_settings.training(config),
    )
    each = np.asarray(nets.outputs.argmax(axis=-1))  # draw, init, point
    mean, found = np.asarray(nets.decisions())[:, 0], []
    for draw in range(config.draws):
        seen = _seen(config, p, draw)
        one = [_beside(decided, seen, weight, clean) for decided in each[draw]]
        of_mean = _beside(mean[draw], seen, weight, clean)
        found.append(
            {column: float(np.mean([net[column] for net in one])) for column in one[0]}
            | {f"mean_{column}": of_mean[column] for column in _OF_DECISIONS}
        )
    losses = np.asarray(nets.diagnostics["train_loss"]).mean(axis=1)
    row: Row = {
        **{column: [each[column] for each in found] for column in found[0]},
        "train_loss": [known(float(loss)) for loss in losses],
        "trained": np.asarray(nets.diagnostics["epochs"]).mean(axis=1).tolist(),
    }
    return row, {"decisions": each.astype(np.int16)}


def estimate(config: Architectures, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    d, tests = pixels(config), len(images(config).labels_test)
    name, n = cell.settings["architecture"], config.n_train
    of = stacks.stack(config, name, d)
    if cell.settings["stage"] == "network":
        seen = config.draws * config.inits * config.epochs * n
        return 10 + seen * (6 * stacks.multiply_adds(config, of) * 3e-11 + 2e-5)
    each = stacks.pair_seconds(of)
    if cell.settings["stage"] == "metric":
        return 8 + config.samples * d * 3 * each
    pairs = n**2 / 2 + n * tests
    return 1 + config.draws * (pairs * each + (n**3 / 3 + n**2 * 10) * 2e-11)
