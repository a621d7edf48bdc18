"""What is learned from perturbations: the settings, and which runs they ask for.

A panel is a list of points: a value, and all settings that decide its numbers. Panels
share the base point.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.harness import planning
from experiments.harness.flags import Config, setting
from ntk_corrupt.adversarial import attacks, descent, protocol, two_classes
from ntk_corrupt.adversarial.two_classes import SYNTHETIC, TwoClasses
from ntk_corrupt.data import loading
from ntk_corrupt.data.stand_in import stand_in
from theory.errors import InputError, unknown
from theory.keys import stream

DIRECTIONS = {
    "gradient": "of f",
    "kernel": "the closed form D(x_n), no network",
    "means": "the difference of the class means, the same for all",
    "oracle": "sum_n y_n x_n/|x_n|^2, of the widest margin on orthogonal inputs",
}
PointSettings = dict[str, Any]
Point = tuple[float | str, PointSettings]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialLearning(Config):
    """Settings of the experiment; the defaults are shifted Gaussians, r alone."""

    dataset: str = setting(
        "shifted",
        f"one of {', '.join((*SYNTHETIC, *loading.NAMES))}, images less a mean",
    )
    classes: tuple[int, ...] = setting(
        (1, 2), "of images: which is 1, which is -1", least=0
    )
    size: int | None = setting(
        None, "of images: side to resize them to; none keeps it", most=1024
    )
    scenario: str = setting(
        "alone", "g is trained on perturbations alone, or added to the inputs"
    )
    n: int = setting(1000, "training inputs, half of each class")
    n_test: int = setting(1000, "fresh inputs")
    d: int = setting(100, "inputs per point of the synthetic sets")
    m: int = setting(100, "hidden units of f")
    m_g: int | None = setting(None, "hidden units of g; none is as many as of f")
    eps: float = setting(0.01, "length of a perturbation; over d it grows as sqrt(d)")
    slope: float = setting(0.0, "of the rectifiers where they are negative, in [0, 1)")
    steps_f: int = setting(300, "steps of f")
    steps_g: int = setting(300, "steps of g")
    loss: str = setting("identity", "identity (-y f), logistic or exponential")
    rates_f: tuple[float, ...] = setting(
        (0.1, 1.0), "learning rates of f; verdicts and figures are of the first"
    )
    rates_g: tuple[float, ...] = setting((0.1, 1.0), "learning rates of g, likewise")
    targets: str = setting("balanced", ", ".join(protocol.TARGETS))
    norm: str = setting("l2", "of the perturbations: l2 or linf")
    attack_steps: int = setting(1, "gradients per perturbation")
    direction: str = setting("gradient", f"of perturbations: {', '.join(DIRECTIONS)}")
    repeats: int = setting(
        5, "each with data, targets and initialisations of its own", most=10_000
    )
    over_d: tuple[int, ...] | None = setting((10, 30, 50, 100), "a panel; none: none")
    over_m: tuple[int, ...] | None = setting((10, 20, 50, 100), "a panel")
    over_eps: tuple[float, ...] | None = setting(
        (0.0, 0.001, 0.002, 0.004, 0.01), "a panel"
    )
    over_slope: tuple[float, ...] | None = setting((0.0, 0.25, 0.5, 0.9), "a panel")
    over_n: tuple[int, ...] | None = setting((100, 300, 1000), "a panel")
    over_steps_f: tuple[int, ...] | None = setting((1, 2, 3, 5, 10, 300), "a panel")
    over_steps_g: tuple[int, ...] | None = setting((1, 10, 30, 100, 300), "a panel")
    variants: bool = setting(
        True, "other targets and attacks, transfer between widths, another loss"
    )
    map_points: int = setting(
        81, "points per side of the decision maps; 0 draws none", least=0
    )
    map_limit: float = setting(7.0, "the maps reach from minus to plus this", above=0)


PANELS = ("d", "m", "eps", "slope", "n", "steps_f", "steps_g")
_SHARED = (
    "seed",
    "dataset",
    "scenario",
    "n",
    "n_test",
    "m",
    "m_g",
    "eps",
    "slope",
    "steps_f",
    "steps_g",
    "loss",
    "rates_f",
    "rates_g",
    "targets",
    "norm",
    "attack_steps",
    "direction",
    "repeats",
)


def base(config: AdversarialLearning) -> PointSettings:
    """Returns the settings of the point that all panels share."""
    own = ("d",) if config.dataset in SYNTHETIC else ("classes", "size")
    found = {name: getattr(config, name) for name in (*_SHARED, *own)}
    return {**found, "m_g": config.m_g or config.m}


def panels(config: AdversarialLearning) -> dict[str, list[Point]]:
    """Returns the points of every panel that is asked for, controls among them."""
    at, found = base(config), {}
    for name in PANELS:
        values = getattr(config, f"over_{name}") or ()
        if values and name in at:
            found[name] = [(value, _moved(config, name, value)) for value in values]
    found["variants"] = [
        (name, {**at, **change}) for name, change in _variants(config).items()
    ]
    return found


def _moved(config: AdversarialLearning, name: str, value: float) -> PointSettings:
    at = {**base(config), name: value}
    if name == "m" and config.m_g is None:
        at["m_g"] = value
    if name == "d":  # the length per input stays
        at["eps"] = config.eps * math.sqrt(value / config.d)
    return at


def _variants(config: AdversarialLearning) -> dict[str, PointSettings]:
    """What differs from the base, by name; controls are always among them."""
    found: dict[str, PointSettings] = {
        "base": {},
        "balanced": {"targets": "balanced"},
        "stratified": {"targets": "stratified"},
        "eps 0, balanced": {"eps": 0.0, "targets": "balanced"},
        "eps 0, stratified": {"eps": 0.0, "targets": "stratified"},
    }
    if not config.variants:
        return found
    by_inputs = {"norm": "linf", "eps": config.eps / inputs(config) ** 0.5}
    return {
        **found,
        "iid targets": {"targets": "iid"},
        "always wrong": {"targets": "wrong"},
        "10 steps": {"attack_steps": 10},
        "l_inf": by_inputs,
        "l_inf, 10 steps": {**by_inputs, "attack_steps": 10},
        "g of m/5": {"m_g": max(1, config.m // 5)},
        "g of 2m": {"m_g": 2 * config.m},
        "D(x_n)": {"direction": "kernel"},
        "class means": {"direction": "means"},
        "oracle": {"direction": "oracle"},
        "logistic": {"loss": "logistic"},
        "exponential": {"loss": "exponential"},
        "oracle, exponential": {"direction": "oracle", "loss": "exponential"},
    }


@functools.lru_cache(maxsize=2)
def _sample(dataset, n, n_test, d, classes, size, seed, repeat, data_dir):
    own = int(np.random.SeedSequence((seed, repeat)).generate_state(1)[0])
    if dataset not in SYNTHETIC:
        # the same test images for all repeats, other training images
        return two_classes.images(
            dataset,
            classes,
            n=n,
            n_test=n_test,
            seed=own,
            data_dir=data_dir,
            size=size,
        )
    draw = {
        "shifted": two_classes.shifted_gauss,
        "gauss": two_classes.gauss,
        "orthogonal": two_classes.orthogonal,
    }
    return draw[dataset](n, d, n_test=n_test, seed=own)


def sample(settings: Mapping[str, Any], repeat: int, data_dir: str | None):
    """Returns the inputs of a repeat."""
    classes = settings.get("classes")
    return _sample(
        settings["dataset"],
        settings["n"],
        settings["n_test"],
        settings.get("d"),
        classes and tuple(classes),
        settings.get("size"),
        settings["seed"],
        repeat,
        data_dir,
    )


def inputs(config: AdversarialLearning) -> int:
    """Returns d, which images decide."""
    if config.dataset in SYNTHETIC:
        return config.d
    if planning.active():
        raw = config.dataset == "gaussian_prototypes"
        return stand_in(
            config.dataset,
            n_train=config.n,
            n_test=config.n_test,
            normalise="none" if raw else "unit",
            size=config.size,
            classes=config.classes,
        ).x_train.shape[1]
    found: TwoClasses = sample(base(config), 0, config.data_dir)
    return found.x.shape[1]


def repeat_key(settings: Mapping[str, Any], repeat: int) -> jax.Array:
    """Returns the key of a repeat, from which every stream is drawn."""
    start = stream(jax.random.key(settings["seed"]), "adversarial")
    return jax.random.fold_in(start, repeat)


def check(config: AdversarialLearning) -> None:
    """Raises `InputError` on bad settings."""
    valid = {
        "dataset": (*SYNTHETIC, *loading.NAMES),
        "scenario": protocol.SCENARIOS,
        "loss": tuple(descent.LOSSES),
        "targets": tuple(protocol.TARGETS),
        "norm": attacks.NORMS,
        "direction": tuple(DIRECTIONS),
    }
    for name, values in valid.items():
        if getattr(config, name) not in values:
            raise unknown(f"--{name}", getattr(config, name), values)
    for name in ("n", "d", "m", "m_g", "over_n", "over_d", "over_m"):
        _at_least(config, name, 2 if name.endswith("n") else 1)
    for name in ("n_test", "steps_f", "steps_g", "over_steps_f", "over_steps_g"):
        _at_least(config, name, 1)
    for name in ("attack_steps", "repeats"):
        _at_least(config, name, 1)
    for name in ("eps", "over_eps", "map_points"):
        _at_least(config, name, 0)
    for name in ("rates_f", "rates_g"):
        rates = getattr(config, name)
        if not rates or min(rates) <= 0 or len(set(rates)) < len(rates):
            raise InputError(f"`--{name}` must be different and positive, got {rates}.")
    for name in ("slope", "over_slope"):
        if any(not 0 <= value < 1 for value in _values(config, name)):
            raise InputError(
                f"`--{name}` must be in [0, 1), got {getattr(config, name)}."
            )
    if not config.map_limit > 0:
        raise InputError(f"`--map_limit` must be positive, got {config.map_limit}.")
    for name in PANELS:
        values = _values(config, f"over_{name}")
        if list(values) != sorted(set(values)):
            raise InputError(f"`--over_{name}` must rise, got {values}.")
    if len(config.classes) != 2:
        raise InputError(f"`--classes` must be two labels, got {config.classes}.")
    largest = max((config.n, *(config.over_n or ())))
    least = min((config.d, *(config.over_d or ())))
    if config.dataset == "orthogonal" and largest > least:
        raise InputError(
            f"`--n` must be at most --d where inputs are orthogonal, got {largest} "
            f"and {least}."
        )
    inputs(dataclasses.replace(config, n=largest))


def _values(config: AdversarialLearning, name: str) -> tuple:
    value = getattr(config, name)
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _at_least(config: AdversarialLearning, name: str, least: float) -> None:
    for value in _values(config, name):
        if not least <= value < math.inf:
            raise InputError(f"`--{name}` must be at least {least}, got {value}.")
