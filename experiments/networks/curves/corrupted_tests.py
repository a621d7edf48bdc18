"""Networks asked about corrupted images: settings and cells."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

import theory
from experiments.harness.flags import fixed, setting
from experiments.harness.run_directory import Cell, Row
from experiments.shared import settings, trained
from ntk_corrupt.probes import basic
from theory.errors import InputError, unknown

ARMS = ("clean", "same")
_PROBED = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorruptedTests(trained.Samples, trained.Networks):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0),
        "levels of test images; of clipped_additive the widths sigma, above 0",
    )
    arms: tuple[str, ...] = setting(
        ARMS, "clean: trained on clean images; same: at the level of the test"
    )
    activations: tuple[str, ...] = setting(("relu",), "one network each")
    activation: str = fixed("")
    trials: int = setting(100, "corruptions of every test image")


_FOUR = ("relu", "tanh", "sigmoid", "gelu")
BINARY = {
    "corruption": "binary_replacement",
    "normalise": "binary",
    "activations": _FOUR,
    "width": 256,
}


def check(config: CorruptedTests) -> None:
    """Raises `InputError` on bad settings."""
    for arm in config.arms:
        if arm not in ARMS:
            raise unknown("--arms", arm, ARMS)
    if config.trials < 1:
        raise InputError(f"`--trials` must be at least 1, got {config.trials}.")
    if not config.activations:
        raise InputError("`--activations` must be one or more, got none.")
    for each in _each(config):
        trained.check(each)


def _each(config: CorruptedTests) -> list[CorruptedTests]:
    return [dataclasses.replace(config, activation=name) for name in config.activations]


def cells(config: CorruptedTests) -> list[Cell]:
    """One cell per activation for the network of clean images, one per level else."""
    asked = {"trials": config.trials}
    found = []
    for each in _each(config):
        if "clean" in config.arms:
            settings = trained.cell(each, 0.0).settings
            levels = {"p_test": list(config.p), "arm": "clean"}
            found.append(Cell({**settings, **asked, **levels}))
        if "same" in config.arms:
            found += [
                Cell(
                    {
                        **trained.cell(each, p).settings,
                        **asked,
                        "p_test": [p],
                        "arm": "same",
                    }
                )
                for p in config.p
            ]
    return found


def compute(config: CorruptedTests, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: `corrupted` (repeats, levels, trials), `clean` (repeats,)."""
    asked = cell.settings
    config = settings.settled(config, cell)
    levels = [settings.corruption(config, p) for p in asked["p_test"]]
    trained_at = None if asked["arm"] == "clean" else asked["p"]
    look = functools.partial(_probes, levels, config.trials)
    clean, corrupted, alive = [], [], []
    for repeat in range(config.repeats):
        problem, nets = trained.train(config, trained_at, repeat, look)
        found = trained.said(nets)
        clean.append(float(nets.accuracy(problem.labels_test, inits=1)))
        corrupted.append(found["corrupted"])
        alive.append(float(found["alive"].mean()) if found["alive"].size else 1.0)
    row: Row = {
        "classes": problem.num_classes,
        "clean": clean,
        "corrupted": np.mean(corrupted, axis=2).tolist(),
        "spread": np.std(corrupted, axis=2).tolist(),
        "alive": alive,
    }
    return row, {"corrupted": np.array(corrupted), "clean": np.array(clean)}


def _probes(levels, trials, problem, noise, key):
    x, _ = trained.some(problem, _PROBED)
    return (
        basic.Accuracies(
            corruption=jax.tree.map(lambda *leaves: jnp.stack(leaves), *levels),
            key=key,
            x=problem.x_test,
            labels=problem.labels_test,
            trials=trials,
            name="corrupted",
        ),
        basic.AliveUnits(x=theory.corrupt(noise, key, 0, x)),
    )


def estimate(config: CorruptedTests, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    settled = settings.settled(config, cell)
    seen = len(cell.settings["p_test"]) * settled.trials * (settled.n_test or 10_000)
    tests = settled.repeats * seen * 784 * (settled.width * 2e-11 + 5e-9)
    return trained.estimate(settled, cell) + tests
