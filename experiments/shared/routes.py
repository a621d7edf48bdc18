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
from experiments.harness.flags import fixed, setting
from experiments.harness.run_directory import Cell, Row
from experiments.shared import online, stacks
from experiments.shared import settings as shared_settings
from experiments.shared.rows import kept
from experiments.shared.ways import ROUTES, Asked
from theory.activations import registry
from theory.errors import InputError, unknown

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


# Spelt out: another route is asked for, and changes no default run.
_USUAL = ("first_order", "resummed", "exact", "network")
# Settings that an architecture with layers of its own has not.
_OF_MLP = ("depth", "biases", "rates")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Routes(shared_settings.Settings):
    """Settings of experiments that run routes side by side."""

    p: tuple[float, ...] = setting(
        (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99), "corruption levels in [0, 1]"
    )
    routes: tuple[str, ...] = setting(_USUAL, f"any of {', '.join(ROUTES)}")
    subsets: int = setting(
        1, "training subsets, each drawn from the whole data set", most=10_000
    )
    draws: int = setting(4, "corruption draws per subset")
    inits: int = setting(3, "networks per draw, averaged")
    architecture: str = fixed(stacks.MLP)


_corrupt = jax.jit(theory.corrupt)


def check_kernel(config: shared_settings.Network) -> None:
    """Raises `InputError` on an activation that has no tangent kernel."""
    if config.depth > 1 and not registry.get(config.activation).trainable:
        raise InputError(
            "`--activation` must have a slope, for without there is no tangent kernel, "
            f"got {config.activation}."
        )


def under_adam(config: Routes) -> bool:
    """Whether networks are trained by Adam, and at rates that are known."""
    return (config.optimiser, config.parametrisation) == ("adam", "standard")


def check(config: Routes) -> None:
    """Raises `InputError` on bad settings."""
    for route in config.routes:
        if route not in ROUTES:
            raise unknown("--routes", route, ROUTES)
    if "adam" in config.routes and not under_adam(config):
        raise InputError(
            "`--routes` must be without adam but for --optimiser=adam and "
            f"--parametrisation=standard, got {config.optimiser} and "
            f"{config.parametrisation}."
        )
    if config.rates == shared_settings.ADAM and not under_adam(config):
        raise InputError(
            "`--rates` must not be adam but for --optimiser=adam and "
            f"--parametrisation=standard, got {config.optimiser} and "
            f"{config.parametrisation}."
        )
    shared_settings.check(
        config, config.p, (*shared_settings.RATES, shared_settings.ADAM)
    )
    if set(config.routes) - {"network"}:
        check_kernel(config)
    if config.architecture != stacks.MLP:
        _check_stack(config)
    if "online" in config.routes:
        online.check(config)
    if "resummed_lazy" in config.routes and min(config.p) == 0:
        raise InputError(
            "`--routes` must be without resummed_lazy for --p=0: it needs corrupted "
            "images. The route lazy does not."
        )
    for route in taken(config):
        why_not = ROUTES[route].takes(shared_settings.corruption(config, config.p[0]))
        if why_not:
            raise InputError(
                f"`--routes` must be without {route} for --corruption="
                f"{config.corruption}: it {why_not}."
            )


def taken(config: Routes) -> tuple[str, ...]:
    """The routes asked for; of the usual ones those that take the architecture."""
    if config.architecture == stacks.MLP or config.routes != _USUAL:
        return config.routes
    return tuple(route for route in config.routes if ROUTES[route].stacks)


def _check_stack(config: Routes) -> None:
    """Raises `InputError` on what does not go with layers of their own."""
    name = config.architecture
    if name not in stacks.ARCHITECTURES:
        raise unknown("--architecture", name, (stacks.MLP, *stacks.ARCHITECTURES))
    for route in taken(config):
        if not ROUTES[route].stacks:
            raise InputError(
                f"`--routes` must be without {route} for --architecture={name}: it "
                "knows multilayer perceptrons alone."
            )
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in _OF_MLP and value != field.default:
            raise InputError(
                f"`--{field.name}` must be left at {field.default} for --architecture="
                f"{name}, got {value}."
            )
    kernel = set(taken(config)) != {"network"}
    stacks.check(config, name, shared_settings.problem(config, 0), kernel=kernel)


def cell(config: Routes, route: str, p: float, subset: int) -> Cell:
    """One route at one level on one training subset."""
    settings, names = dataclasses.asdict(config), ROUTES[route].settings(config)
    own = {name: settings[name] for name in names}
    if config.architecture != stacks.MLP:
        own = {name: own[name] for name in own if name not in _OF_MLP}
        own["architecture"] = config.architecture
    return Cell({"route": route, "p": p, "subset": subset, **own})


def cells(config: Routes) -> list[Cell]:
    """One cell per route, corruption level and training subset."""
    # one subset after the other, so that each is loaded once
    return [
        cell(config, route, p, subset)
        for subset in range(config.subsets)
        for route in taken(config)
        for p in config.p
    ]


def compute(config: Routes, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell."""
    config = shared_settings.settled(config, cell)
    route, p, subset = (cell.settings[name] for name in ("route", "p", "subset"))
    problem = shared_settings.problem(config, subset)
    noise = shared_settings.corruption(config, p)
    key, labels = shared_settings.corruption_key(config, subset), problem.labels_test
    scores = np.asarray(theory.class_mean_scores(problem))
    rule = scores.argmax(axis=1)
    with _progress() as progress:
        asked = Asked(
            arch=_architecture(config, noise, problem, key),
            corruption=noise,
            problem=problem,
            key=key,
            progress=progress,
        )
        found = ROUTES[route].outputs(config, asked)
    row, arrays = kept(found, labels)
    samples = _corrupt(noise, key, 0, problem.x_train)[:_SAMPLES]
    return {
        "rule_accuracy": float((rule == np.asarray(labels)).mean()),
        **row,
        "agreement": float((np.asarray(found.decisions()) == rule).mean()),
    }, {
        "labels": np.asarray(labels, np.int16),
        "scores": np.asarray(scores, np.float32),
        "clean": np.asarray(problem.x_train[:_SAMPLES], np.float32),
        "corrupted": np.asarray(samples, np.float32),
        **arrays,
    }


def _architecture(
    config: Routes, noise, problem, key
) -> theory.Architecture | stacks.Stack:
    """With the rates of its kernel; those of Adam are the first draw's."""
    if config.architecture != stacks.MLP:
        return stacks.stack(config, config.architecture, problem.x_train.shape[1])
    if config.rates != shared_settings.ADAM:
        return shared_settings.architecture(config)
    seen = theory.corrupt(noise, key, 0, problem.x_train)
    return shared_settings.architecture(
        config, dataclasses.replace(problem, x_train=seen)
    )


@contextlib.contextmanager
def _progress() -> Generator[Callable[..., None], None, None]:
    """A second bar on the terminal, for the draws or epochs of a cell that has any."""
    with contextlib.ExitStack() as stack:
        opened: list[tqdm.tqdm] = []

        def show(done: int, total: int, loss: float | None = None) -> None:
            if not opened:
                bar = tqdm.tqdm(position=1, total=total, leave=False, disable=None)
                opened.append(stack.enter_context(bar))
            (bar,) = opened
            if loss is not None:
                bar.set_postfix(loss=f"{loss:.2g}", refresh=False)
            bar.update(done - bar.n)

        yield show


def estimate(config: Routes, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    config = shared_settings.settled(config, cell)
    n, m = config.n_train, config.n_test or 10_000
    return ROUTES[cell.settings["route"]].seconds(config, n, m)
