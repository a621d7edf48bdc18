"""One route at one corruption level: what most experiments are made of.

A cell holds every setting that decides its numbers, so an experiment may sweep any of
them: `cell` makes one of a config, `compute` computes it.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Generator

import jax
import numpy as np
import tqdm

import theory
from experiments.harness.flags import setting
from experiments.harness.run_directory import Cell, Row
from experiments.shared import settings as shared_settings
from experiments.shared.rows import accuracies
from ntk_corrupt.ensembles import ensemble
from theory.errors import InputError, unknown

ROUTES = ("first_order", "resummed", "exact", "network")
_SAMPLES = 2  # training images kept with every cell, for pictures
# Presets hold these, and what is their own. Smoke runs are nothing but compiling: as
# many test images as training images, and as few shapes as show every kind of cell.
SMOKE = {
    "n_train": 60,
    "n_test": 60,
    "size": None,
    "draws": 2,
    "inits": 2,
    "width": 32,
    "epochs": 20,
}
# arXiv 2606.11319; it varies numbers of draws, initialisations and epochs
SOURCE = {
    "dataset": "mnist",
    "n_train": 4000,
    "size": None,
    "width": 2048,
    "learning_rate": 1e-4,
    "stop_loss": None,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Routes(shared_settings.Settings):
    """Settings of experiments that run routes side by side."""

    p: tuple[float, ...] = setting(
        (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99), "corruption levels in [0, 1]"
    )
    routes: tuple[str, ...] = setting(ROUTES, f"any of {', '.join(ROUTES)}")
    subsets: int = setting(1, "training subsets, each drawn from the whole data set")
    draws: int = setting(4, "corruption draws per subset")
    inits: int = setting(3, "networks per draw, averaged")


_corrupt = jax.jit(theory.corrupt)


def check(config: Routes) -> None:
    """Raises `InputError` on bad settings."""
    for route in config.routes:
        if route not in ROUTES:
            raise unknown("--routes", route, ROUTES)
    for name in ("subsets", "draws", "inits"):
        if getattr(config, name) < 1:
            raise InputError(
                f"`--{name}` must be at least 1, got {getattr(config, name)}."
            )
    shared_settings.check(config, config.p)


def cell(config: Routes, route: str, p: float, subset: int) -> Cell:
    """One route at one level on one training subset."""
    settings = dataclasses.asdict(config)
    if route == "network":
        names = (*shared_settings.of_network(config), "inits")
    else:
        names = shared_settings.of_kernel(config)
    if route in ("exact", "network"):
        names = (*names, "draws")
    own = {name: settings[name] for name in names}
    return Cell({"route": route, "p": p, "subset": subset, **own})


def cells(config: Routes) -> list[Cell]:
    """One cell per route, corruption level and training subset."""
    # one subset after the other, so that each is loaded once
    return [
        cell(config, route, p, subset)
        for subset in range(config.subsets)
        for route in config.routes
        for p in config.p
    ]


def compute(config: Routes, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell."""
    config = shared_settings.settled(config, cell)
    route, p, subset = (cell.settings[name] for name in ("route", "p", "subset"))
    problem = shared_settings.problem(config, subset)
    arch, noise = (
        shared_settings.architecture(config),
        shared_settings.corruption(config, p),
    )
    key, labels = shared_settings.corruption_key(config, subset), problem.labels_test
    scores = np.asarray(theory.class_mean_scores(problem))
    rule = scores.argmax(axis=1)
    row = {"rule_accuracy": float((rule == np.asarray(labels)).mean())}
    arrays = {
        "labels": np.asarray(labels, np.int16),
        "scores": np.asarray(scores, np.float32),
        "clean": np.asarray(problem.x_train[:_SAMPLES], np.float32),
        "corrupted": np.asarray(
            _corrupt(noise, key, 0, problem.x_train)[:_SAMPLES], np.float32
        ),
    }
    if route in ("first_order", "resummed"):
        found = getattr(theory, route)(arch, noise, problem)
        decisions = np.asarray(found.decisions())
        row["accuracies"] = accuracies(found, labels)
        for name in ("level", "valid"):
            if name in found.diagnostics:
                row[name] = found.diagnostics[name]
        if "doubts" in found.diagnostics:
            row["doubts"] = "; ".join(found.diagnostics["doubts"])
        arrays |= {
            "mean": np.asarray(found.mean),
            "cov": np.asarray(found.cov),
            "init_var": np.asarray(found.init_var),
        }
    else:
        with _progress() as progress:
            if route == "exact":
                found = theory.exact(
                    arch, noise, problem, draws=config.draws, key=key, progress=progress
                )
            else:
                found = ensemble.measure(
                    shared_settings.network(config, problem.num_classes),
                    noise,
                    problem,
                    draws=config.draws,
                    inits=config.inits,
                    key=key,
                    config=shared_settings.training(config),
                    progress=progress,
                )
        decisions = np.asarray(found.decisions())
        row["accuracies"] = accuracies(found, labels)
        row |= {
            f"mean_{name}": np.asarray(value).mean().item()
            for name, value in found.diagnostics.items()
        }
        arrays |= {"outputs": np.asarray(found.outputs, np.float32)}
        if found.init_var is not None:
            arrays["init_var"] = np.asarray(found.init_var, np.float32)
        if found.draw_keys is not None:
            arrays["draw_keys"] = np.asarray(found.draw_keys)
    return {**row, "agreement": float((decisions == rule).mean())}, arrays


@contextlib.contextmanager
def _progress() -> Generator[Callable[..., None], None, None]:
    """A second bar on the terminal, for the draws or epochs within a cell."""
    with tqdm.tqdm(position=1, leave=False, disable=None) as bar:

        def show(done: int, total: int, loss: float | None = None) -> None:
            bar.total = total
            if loss is not None:
                bar.set_postfix(loss=f"{loss:.2g}", refresh=False)
            bar.update(done - bar.n)

        yield show


def estimate(config: Routes, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    config, route = shared_settings.settled(config, cell), cell.settings["route"]
    n, m = config.n_train, config.n_test or 10_000
    if route == "first_order":
        return 1.0
    if route == "resummed":
        return 10 + n * (m + 6000) * 1200 * 1e-10
    if route == "exact":
        return 2 + config.draws * (n**3 / 3 + 2 * n**2 * m) * 2e-11
    weights = 784 * config.width + (config.depth - 2) * config.width**2
    steps = config.draws * config.inits * config.epochs * n
    return 5 + steps * 6 * weights * 1e-11
