"""Certain decisions beside exact kernels of the same draws: settings and cells."""

import dataclasses

import numpy as np

import theory
from experiments.harness.flags import fixed, setting
from experiments.harness.run_directory import Cell, Row
from experiments.shared import routes
from experiments.shared import settings as shared_settings
from theory.activations import majorants, registry

# Name of a column -> whether the kernel is measured, and orders that are summed.
WAYS = {"bound": (False, 1), "measured": (True, 1), "order 4": (True, 4)}
# Points that the law calls stable: they flip in at most so many draws.
STABLE = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certified(shared_settings.Kernels):
    """Settings of the experiment; all combinations of the lists."""

    p: tuple[float, ...] = setting((0.5, 0.9, 0.97, 0.99), "levels in [0, 1]")
    activations: tuple[str, ...] = setting(("erf", "relu"), "between layers")
    n_trains: tuple[int, ...] = setting((50, 200), "training images, balanced")
    sizes: tuple[int, ...] = setting(
        (8, 64, 256), "sides in pixels to resize the images to", most=1024
    )
    draws: int = setting(2, "corruption draws, each certified and solved")
    n_test: int | None = setting(200, "test images, balanced; none is all")
    n_train: int = fixed(0)
    size: int | None = fixed(None)
    activation: str = fixed("erf")


def _each(config: Certified) -> list[Certified]:
    return [
        dataclasses.replace(config, activation=activation, n_train=n, size=size)
        for activation in config.activations
        for n in config.n_trains
        for size in config.sizes
    ]


def check(config: Certified) -> None:
    """Raises `InputError` on bad settings."""
    for each in _each(config):
        shared_settings.check(each, each.p)
        routes.check_kernel(each)
        majorants.check(registry.get(each.activation))


def cells(config: Certified) -> list[Cell]:
    """One cell per activation, training set, size of the images and level."""
    found = []
    for each in _each(config):
        settings = dataclasses.asdict(each)
        names = (*shared_settings.of_kernel(each), "draws")
        own = {name: settings[name] for name in names}
        found += [Cell({"p": p, **own}) for p in config.p]
    return found


def compute(config: Certified, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell."""
    config, p = shared_settings.settled(config, cell), cell.settings["p"]
    problem = shared_settings.problem(config, 0)
    arch = shared_settings.architecture(config)
    noise = shared_settings.corruption(config, p)
    key = shared_settings.corruption_key(config, 0)
    exact = theory.exact(
        arch, noise, problem, draws=config.draws, key=key, with_init_var=False
    )
    law = theory.first_order(arch, noise, problem)
    rule = np.asarray(theory.class_mean_scores(problem).argmax(axis=1))
    kept = np.asarray(exact.decisions())[:, 0] == rule[None]
    row: Row = {
        "pixels": problem.x_train.shape[1],
        "kept": float(kept.mean()),
        "law_keeps": float(1 - np.asarray(theory.flip_probability(law, rule)).mean()),
        "certified": {},
        "settled": {},
        "broken": {},
        "kept_uncertified": {},
    }
    for name, (measured, orders) in WAYS.items():
        found = theory.certificate(
            arch,
            noise,
            problem,
            draws=config.draws,
            key=key,
            orders=orders,
            measured=measured,
            law=law,
        )
        row["certified"][name] = float(found.certified.mean())
        row["settled"][name] = float(found.settled.mean())
        # a theorem: none
        row["broken"][name] = int((found.certified & ~kept).sum())
        never = kept.all(axis=0)
        missed = never & ~found.certified.all(axis=0)
        row["kept_uncertified"][name] = float(missed.sum() / max(never.sum(), 1))
        if name == "bound":
            row |= {
                "ratio": float(found.ratio.mean()),
                "least": float(found.least.mean()),
                "stable": float((found.flip <= STABLE).mean()),
                # 0 where nothing is bounded; above 1 half of the points are settled
                "gap_over_bound": float(np.median(np.abs(found.gap) / found.bound)),
            }
    return row, {"flip": found.flip.astype(np.float32), "kept": kept}


def estimate(config: Certified, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    n, m = cell.settings["n_train"], config.n_test or 10_000
    pixels = cell.settings["size"] ** 2
    one = n**3 * 2e-9 + n * (n + m) * (pixels * 1e-10 + 1e-6) + n * pixels * 2e-8
    return 15 + config.draws * len(WAYS) * one
