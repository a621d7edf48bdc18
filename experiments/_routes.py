"""One route at one corruption level: what most experiments are made of.

A cell holds every setting that decides its numbers, so an experiment may sweep any of
them: `cell` makes one of a config, `compute` computes it.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
import tqdm

import theory
from experiments import _settings
from experiments._runner import setting
from ntk_corrupt import ensembles
from ntk_corrupt.results import Cell, Row, RunDirectory
from theory.errors import InputError, unknown

ROUTES = ("first_order", "resummed", "exact", "network")
# Sizes of averages over initialisations that the analytic routes are evaluated for.
AVERAGES = (1, 2, 3, 5, 10, 20, 50)
_SAMPLES = 2  # training images kept with every cell, for pictures
_TRAINING = (
    "width",
    "parametrisation",
    "loss",
    "optimiser",
    "learning_rate",
    "batch_size",
    "epochs",
    "stop_loss",
    "noise_regime",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Routes(_settings.Settings):
    """Settings of experiments that run routes side by side."""

    p: tuple[float, ...] = setting(
        (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99), "corruption levels in [0, 1]"
    )
    routes: tuple[str, ...] = setting(ROUTES, f"any of {', '.join(ROUTES)}")
    subsets: int = setting(1, "training subsets, each drawn from the whole data set")
    draws: int = setting(4, "corruption draws per subset")
    inits: int = setting(3, "networks per draw, averaged")


C = TypeVar("C", bound=Routes)


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
    _settings.check(config, config.p)


def cell(config: Routes, route: str, p: float, subset: int) -> Cell:
    """One route at one level on one training subset."""
    settings = dataclasses.asdict(config)
    names = [*_settings.DATA, *_settings.ARCHITECTURE]
    if route in ("exact", "network"):
        names += ["draws"]
    if route == "network":
        names += ["inits", *_TRAINING]
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


def settled(config: C, cell: Cell) -> C:
    """The config with the settings of the cell in place of its own."""
    names = {field.name for field in dataclasses.fields(config)} - {"p"}
    own = {name: value for name, value in cell.settings.items() if name in names}
    return dataclasses.replace(config, **own)


def compute(config: Routes, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell."""
    config = settled(config, cell)
    route, p, subset = (cell.settings[name] for name in ("route", "p", "subset"))
    problem = _settings.problem(config, subset)
    arch, noise = _settings.architecture(config), _settings.corruption(config, p)
    key, labels = _settings.corruption_key(config, subset), problem.labels_test
    scores = np.asarray(theory.class_mean_scores(problem))
    rule = scores.argmax(axis=1)
    row = {"rule_accuracy": float((rule == np.asarray(labels)).mean())}
    arrays = {
        "labels": np.asarray(labels, np.int16),
        "scores": np.asarray(scores, np.float32),
        "clean": np.asarray(problem.x_train[:_SAMPLES], np.float32),
        "corrupted": np.asarray(
            theory.corrupt(noise, key, 0, problem.x_train)[:_SAMPLES], np.float32
        ),
    }
    if route in ("first_order", "resummed"):
        found = getattr(theory, route)(arch, noise, problem)
        decisions = np.asarray(found.decisions())
        row |= _law_accuracies(found, labels)
        arrays |= {
            "mean": np.asarray(found.mean),
            "cov": np.asarray(found.cov),
            "init_var": np.asarray(found.init_var),
        }
    else:
        measure = {
            "exact": theory.exact,
            "network": functools.partial(
                ensembles.measure,
                width=config.width,
                inits=config.inits,
                config=_settings.training(config),
                parametrisation=config.parametrisation,
            ),
        }[route]
        with _progress() as progress:
            found = measure(
                arch, noise, problem, draws=config.draws, key=key, progress=progress
            )
        decisions = np.asarray(found.decisions())
        row |= _accuracies(found, labels)
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


def _law_accuracies(law: theory.OutputLaw, labels) -> Row:
    """Predicted accuracies in the form of `_accuracies`, and how far to trust them."""
    by_inits = {"inf": [law.accuracy(labels)]}
    if bool(np.isfinite(law.init_var).all()):
        for inits in AVERAGES:
            by_inits[str(inits)] = [law.averaged(inits).accuracy(labels)]
    row: Row = {"accuracies": by_inits}
    for name in ("level", "valid", "doubts"):
        if name in law.diagnostics:
            row[name] = law.diagnostics[name]
    return row


def _accuracies(draws: theory.Draws, labels) -> Row:
    """Accuracy of each draw, for the averages over initialisations there are."""
    analytic = draws.init_var is not None
    inits = AVERAGES if analytic else {1, draws.outputs.shape[1]}
    by_inits = {
        str(m): np.asarray(draws.accuracies(labels, m)).tolist() for m in sorted(inits)
    }
    if analytic:
        by_inits["inf"] = np.asarray(draws.accuracies(labels)).tolist()
    return {"accuracies": by_inits}


def stored(directory: RunDirectory, row: Row) -> theory.OutputLaw | theory.Draws:
    """What a computed cell holds: the law, or the draws."""
    arrays = directory.arrays(row)
    if "mean" in arrays:
        n = len(arrays["mean"])
        return theory.OutputLaw(
            mean=jnp.asarray(arrays["mean"]),
            cov=jnp.asarray(arrays["cov"]),
            # of runs before it was kept
            init_var=jnp.asarray(arrays.get("init_var", np.full(n, np.nan))),
        )
    keys, init_var = arrays.get("draw_keys"), arrays.get("init_var")
    return theory.Draws(
        outputs=jnp.asarray(arrays["outputs"]),
        init_var=None if init_var is None else jnp.asarray(init_var),
        draw_keys=None if keys is None else jnp.asarray(keys),
    )


def pool(rows: Sequence[Row], inits: str) -> tuple[float, float] | None:
    """Mean accuracy and standard error over the subsets and draws of `rows`.

    None where the rows do not know this average; the error is NaN where nothing tells.
    """
    if not rows or any(inits not in row.get("accuracies", {}) for row in rows):
        return None
    # The mean of a subset's draws is one number: its draws share the training images.
    per_subset = [np.mean(row["accuracies"][inits]) for row in rows]
    if len(rows) > 1:
        stderr = theory.standard_error(np.asarray(per_subset))
    else:
        stderr = theory.standard_error(np.asarray(rows[0]["accuracies"][inits]))
    return float(np.mean(per_subset)), stderr


def estimate(config: Routes, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    config, route = settled(config, cell), cell.settings["route"]
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
