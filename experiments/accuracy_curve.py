"""How accurately does a network trained on corrupted images classify clean ones?

Four routes answer for each corruption level p, on the same training subsets and the
same corrupted copies: the nearest-class-mean law (first_order), the law that keeps the
noise to all orders (resummed), the exact infinite-width kernel (exact) and trained
networks (network).

    python -m experiments.accuracy_curve --workdir=results/digits
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Generator

import numpy as np
import tqdm

import theory
from experiments import _accuracy, _runner, _settings
from experiments._accuracy import ROUTES
from experiments._runner import setting
from ntk_corrupt import ensembles
from ntk_corrupt.results import Cell, Row
from theory.errors import InputError, unknown

# Sizes of averages over initialisations that the exact route is evaluated for.
AVERAGES = (1, 2, 3, 5, 10, 20, 50)
_SAMPLES = 2  # training images kept with every cell, for the picture
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
class AccuracyCurve(_settings.Settings):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99), "corruption levels in [0, 1]"
    )
    routes: tuple[str, ...] = setting(ROUTES, f"any of {', '.join(ROUTES)}")
    subsets: int = setting(1, "training subsets, each drawn from the whole data set")
    draws: int = setting(4, "corruption draws per subset")
    inits: int = setting(3, "networks per draw, averaged")


PRESETS = {
    "smoke": {
        "n_train": 100,
        "n_test": 100,
        "p": (0.5, 0.95),
        "draws": 2,
        "inits": 2,
        "width": 32,
        "epochs": 20,
    },
    "cpu": {},
    # arXiv 2606.11319, its figure on the centroid rule
    "paper": {
        "dataset": "mnist",
        "n_train": 4000,
        "p": (0.5, 0.8, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 1.0),
        "draws": 20,
        "inits": 10,
        "width": 2048,
        "learning_rate": 1e-4,
        "epochs": 25,
        "stop_loss": None,
    },
}


def check(config: AccuracyCurve) -> None:
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


def cells(config: AccuracyCurve) -> list[Cell]:
    """One cell per route, corruption level and training subset."""
    settings = dataclasses.asdict(config)

    def cell(route: str, p: float, subset: int) -> Cell:
        names = [*_settings.DATA, *_settings.ARCHITECTURE]
        if route in ("exact", "network"):
            names += ["draws"]
        if route == "network":
            names += ["inits", *_TRAINING]
        own = {name: settings[name] for name in names}
        return Cell({"route": route, "p": p, "subset": subset, **own})

    # one subset after the other, so that each is loaded once
    return [
        cell(route, p, subset)
        for subset in range(config.subsets)
        for route in config.routes
        for p in config.p
    ]


def compute(config: AccuracyCurve, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell."""
    route, p, subset = (cell.settings[name] for name in ("route", "p", "subset"))
    problem = _settings.problem(config, subset)
    arch, noise = _settings.architecture(config), _settings.corruption(config, p)
    key, labels = _settings.corruption_key(config, subset), problem.labels_test
    rule = np.asarray(theory.class_mean_scores(problem).argmax(axis=1))
    row = {"rule_accuracy": float((rule == np.asarray(labels)).mean())}
    arrays = {
        "labels": np.asarray(labels, np.int16),
        "rule": rule.astype(np.int16),
        "clean": np.asarray(problem.x_train[:_SAMPLES], np.float32),
        "corrupted": np.asarray(
            theory.corrupt(noise, key, 0, problem.x_train)[:_SAMPLES], np.float32
        ),
    }
    if route in ("first_order", "resummed"):
        law = getattr(theory, route)(arch, noise, problem)
        decisions = np.asarray(law.decisions())
        row |= _law_accuracies(law, labels)
        arrays |= {"mean": np.asarray(law.mean), "cov": np.asarray(law.cov)}
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
            draws = measure(
                arch, noise, problem, draws=config.draws, key=key, progress=progress
            )
        decisions = np.asarray(draws.decisions())
        row |= _accuracies(draws, labels)
        row |= {
            f"mean_{name}": np.asarray(value).mean().item()
            for name, value in draws.diagnostics.items()
        }
        arrays |= {"outputs": np.asarray(draws.outputs, np.float32)}
        if draws.init_var is not None:
            arrays["init_var"] = np.asarray(draws.init_var, np.float32)
        if draws.draw_keys is not None:
            arrays["draw_keys"] = np.asarray(draws.draw_keys)
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


def estimate(config: AccuracyCurve, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    n, route = config.n_train, cell.settings["route"]
    m = config.n_test or 10_000
    if route == "first_order":
        return 1.0
    if route == "resummed":
        return 10 + n * (m + 6000) * 1200 * 1e-10
    if route == "exact":
        return 2 + config.draws * (n**3 / 3 + 2 * n**2 * m) * 2e-11
    weights = 784 * config.width + (config.depth - 2) * config.width**2
    steps = config.draws * config.inits * config.epochs * n
    return 5 + steps * 6 * weights * 1e-11


EXPERIMENT = _runner.Experiment(
    name="accuracy_curve",
    config=AccuracyCurve,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=_accuracy.table,
    figure=_accuracy.figure,
    estimate=estimate,
)


if __name__ == "__main__":
    _runner.main(EXPERIMENT)
