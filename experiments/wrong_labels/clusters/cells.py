"""Cells of clusters with wrong labels: what each computes, and its cost."""

import dataclasses

import jax
import numpy as np

from experiments.harness.run_directory import Cell, Row
from experiments.wrong_labels.clusters import checks, stages, trajectories
from experiments.wrong_labels.clusters.settings import PARTS, ClusterNoise, model_of
from theory.activations import registry
from theory.errors import InputError, unknown

# Settings of the two-layer part of the duplicates: share of flips, last iteration.
_DUPLICATES = {"flip": 0.2, "steps": 1500}
# Share of flips where the radius is swept.
FLIP = 0.2
_COMPUTE = {
    "training": trajectories.training,
    "distance": checks.distance,
    "duplicates": checks.duplicates,
    "ridge": checks.ridge,
    "covariance": checks.covariance,
    "bounds": stages.bounded,
    "radius": stages.radius,
}
_COMMON = ("repeats", "seed", "n", "d", "points")


def check(config: ClusterNoise) -> None:
    """Raises `InputError` on bad settings."""
    for part in config.parts:
        if part not in PARTS:
            raise unknown("--parts", part, PARTS)
    least = {"repeats": 1, "n": 4, "n_test": 1, "d": 2, "early": 1, "samples": 100_000}
    for name, value in least.items():
        if getattr(config, name) < value:
            raise InputError(
                f"`--{name}` must be at least {value}, got {getattr(config, name)}."
            )
    for name in ("late", "flip_late"):
        if getattr(config, name) <= config.early:
            raise InputError(
                f"`--{name}` must be after --early, {config.early}, got "
                f"{getattr(config, name)}."
            )
    for width in (config.width, config.flip_width, *config.widths):
        if width < 2 or width % 2:
            raise InputError(
                "`--width`, `--flip_width` and `--widths` must be even and positive, "
                f"got {width}."
            )
    if not config.activations:
        raise InputError("`--activations` must name one at least.")
    for name in (*config.activations, *config.covariances, *config.learned_activations):
        if not registry.get(name).trainable:
            raise InputError(
                "`--activations`, `--covariances` and `--learned_activations` must "
                f"have slopes, got {name}."
            )
    for name in ("flips", "radii"):
        for value in getattr(config, name):
            if not 0 <= value < 1:
                raise InputError(f"`--{name}` must be in [0, 1), got {value}.")
    if not 0 < config.share <= 1:
        raise InputError(f"`--share` must be in (0, 1], got {config.share}.")
    if any(not weight > 0 for weight in config.ridges):
        raise InputError(f"`--ridges` must be positive, got {config.ridges}.")
    if not jax.config.jax_enable_x64:  # ty: ignore[missing-attribute]
        raise InputError("`--x64` must be on: laws and checks need float64.")
    for radius in (config.eps0, *config.radii):
        model_of(config, radius).check()
    if config.classes > config.clusters:
        raise InputError(
            f"`--classes` must be at most --clusters, {config.clusters}, got "
            f"{config.classes}."
        )
    small = dataclasses.replace(config, n=config.learned_n)
    for radius in config.learned:
        if not 0 < radius < 1:
            raise InputError(f"`--learned` must be in (0, 1), got {radius}.")
        model_of(small, radius).check()


def cells(config: ClusterNoise) -> list[Cell]:
    """One cell per kind of network, share, ridge and activation of a covariance."""
    common = {name: getattr(config, name) for name in _COMMON}
    if (config.clusters, config.classes) != (2, 2):
        # not in the keys of runs from before there was the setting
        common |= {"clusters": config.clusters, "classes": config.classes}
    base = common | {"eps0": config.eps0}
    first, test = config.activations[0], {"n_test": config.n_test}
    kinds = [
        *((name, config.width, config.eps0) for name in config.activations),
        *((first, width, config.eps0) for width in config.widths),
        *((first, config.width, radius) for radius in config.radii),
    ]
    how = {"share": config.share, "late": config.late}
    asked = {
        "training": [
            common | test | how
            | {"activation": name, "width": width, "radius": radius,
               "early": config.early}
            for name, width, radius in dict.fromkeys(kinds)
        ],
        "distance": [
            base
            | {"flip": flip, "activation": first, "flip_width": config.flip_width,
               "early": config.early, "flip_late": config.flip_late}
            for flip in config.flips
        ],
        "duplicates": [
            common | _DUPLICATES
            | {"activation": first, "width": config.width, "early": config.early}
        ],
        "ridge": [
            base | test | how
            | {"ridge": weight, "activation": first, "width": config.width}
            for weight in config.ridges
        ],
        "covariance": [
            {"repeats": config.repeats, "seed": config.seed, "d": config.d,
             "activation": name, "samples": config.samples}
            for name in config.covariances
        ],
        **_of_stages(config, common, base),
    }  # fmt: skip
    return [
        Cell({"part": part, **settings})
        for part in config.parts
        for settings in asked[part]
    ]


def _of_stages(config: ClusterNoise, common: Row, base: Row) -> dict[str, list[Row]]:
    """Cells of what clusters alone say, and of the radius."""
    return {
        "bounds": [
            common
            | {"n_test": config.n_test, "activation": name, "width": config.width,
               "radius": radius, "share": config.share, "early": config.early}
            for name in config.activations
            for radius in dict.fromkeys((config.eps0, *config.radii))
        ],
        "radius": [
            base
            | {"n": config.learned_n, "n_test": config.learned_n, "radius": radius,
               "activation": name, "width": config.flip_width, "flip": FLIP,
               "flip_late": config.flip_late}
            for name in config.learned_activations
            for radius in config.learned
        ],
    }  # fmt: skip


def compute(config: ClusterNoise, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: lists over repeats."""
    settings = dict(cell.settings)
    names = {field.name for field in dataclasses.fields(config)}
    own = {name: value for name, value in settings.items() if name in names}
    if "activation" in settings:  # the first of them is the one of the cell
        own["activations"] = (settings["activation"],)
    settled = dataclasses.replace(config, **own)
    return _COMPUTE[settings["part"]](settled, settings)


def estimate(config: ClusterNoise, cell: Cell) -> float:
    """Returns a rough number of seconds on one core."""
    settings = cell.settings
    if settings["part"] == "covariance":
        return 2 + settings["repeats"] * settings["samples"] * 1e-6
    steps = settings.get("late", settings.get("flip_late", settings.get("steps")))
    if settings["part"] == "bounds":
        steps = stages.LAST * settings["early"]
    elif settings["part"] == "radius":
        steps *= max(1.0, settings["eps0"] / settings["radius"]) ** 2
    width = settings.get("width", settings.get("flip_width"))
    slow = {"relu": 1.0, "softplus": 2.5}.get(settings["activation"], 1.5)
    if settings["part"] == "duplicates":
        slow = 2.0  # float64
    work = steps * settings["repeats"] * settings["n"] * width
    return 5 + slow * work * 4e-9 * (0.4 + settings["d"] / 40)
