"""Where does accuracy vanish, over batch size and number of images, and is it critical?

Networks trained by SGD on freshly corrupted images over (p, batch size, n_train). For
each pair the level where accuracy falls through a threshold, its power law in the batch
size, and the finite-size collapse of the curves of all n_train onto one, with a score
that is not degenerate, intervals over repeats and parameters at an edge named.

Larger batches take fewer steps on as many images. The control --budget=steps gives all
batch sizes as many steps, --scale_rate a learning rate in proportion to the batch: what
is left of the difference is the noise of small batches.

    python -m experiments.finite_size_scaling --workdir=results/finite_size_scaling
"""

import dataclasses
import itertools

import numpy as np

from experiments import _networks, _runner
from experiments._networks import compute as compute
from experiments._runner import setting
from experiments._scaling_report import figure, table
from ntk_corrupt.results import Cell
from theory.errors import InputError, unknown

BUDGETS = ("samples", "steps")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FiniteSizeScaling(_networks.Networks):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.5, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.99), "corruption levels"
    )
    n_trains: tuple[int, ...] = setting((250, 1000), "numbers of training images")
    n_train: int = setting(0, "not used here: see --n_trains")
    batch_sizes: tuple[int, ...] = setting(
        (16, 128, 0), "images per step; 0 is all of them"
    )
    batch_size: int = setting(128, "not used here: see --batch_sizes")
    budget: str = setting(
        "samples",
        "samples: --epochs for all; steps: as many steps as the first batch size takes",
    )
    scale_rate: bool = setting(
        False, "whether the learning rate grows with the batch size, from the first"
    )
    optimiser: str = setting("sgd", "adam, sgd, momentum")
    learning_rate: float = setting(0.01, "of the optimiser, for the first batch size")


PRESETS = {
    "smoke": {
        "n_trains": (60, 120),
        "batch_sizes": (8, 0),
        "n_test": 100,
        "p": (0.2, 0.5, 0.8, 0.95),
        "repeats": 2,
        "width": 16,
        "epochs": 3,
        "learning_rate": 0.1,
    },
    "cpu": {},
    "steps": {"budget": "steps"},
    # the phase diagram of github.com/AsadullahBhuiyan/noisy_neural_networks
    "paper": {
        "dataset": "mnist",
        "n_trains": (5000, 10_000, 20_000, 40_000),
        "batch_sizes": (16, 64, 256, 1024, 4096, 0),
        "p": tuple(np.linspace(0.9, 0.995, 30).round(5).tolist()),
        "width": 512,
        "epochs": 50,
        "repeats": 5,
    },
}


def _each(config: FiniteSizeScaling) -> list[FiniteSizeScaling]:
    """One config per number of images and batch size."""
    found = []
    for n, asked in itertools.product(config.n_trains, config.batch_sizes):
        batch, first = asked or n, config.batch_sizes[0] or n
        # steps are ceil(n/batch) an epoch
        epochs = config.epochs
        if config.budget == "steps":
            epochs = max(1, round(epochs * -(-n // first) / -(-n // batch)))
        rate = config.learning_rate * (batch / first if config.scale_rate else 1)
        found.append(
            dataclasses.replace(
                config, n_train=n, batch_size=batch, epochs=epochs, learning_rate=rate
            )
        )
    return found


def check(config: FiniteSizeScaling) -> None:
    """Raises `InputError` on bad settings."""
    if config.budget not in BUDGETS:
        raise unknown("--budget", config.budget, BUDGETS)
    if config.n_train:
        raise InputError(
            f"`--n_train` must be left out here, got {config.n_train}: give --n_trains."
        )
    if config.samples is not None:
        raise InputError("`--samples` must be left out here: give --epochs.")
    for name in ("n_trains", "p"):
        values = getattr(config, name)
        if not values or list(values) != sorted(set(values)):
            raise InputError(f"`--{name}` must be rising numbers, got {values}.")
    if not config.batch_sizes or min(config.batch_sizes) < 0:
        raise InputError(
            f"`--batch_sizes` must be positive, or 0 for all, got {config.batch_sizes}."
        )
    for each in _each(config):
        _networks.check(each)


def cells(config: FiniteSizeScaling) -> list[Cell]:
    """One cell per number of images, batch size and level."""
    order = itertools.product(config.n_trains, config.batch_sizes)
    return [
        Cell({**_networks.cell(each, p).settings, "batch": asked})
        for each, (_, asked) in zip(_each(config), order, strict=True)
        for p in config.p
    ]


EXPERIMENT = _runner.Experiment(
    name="finite_size_scaling",
    config=FiniteSizeScaling,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=table,
    figure=figure,
    estimate=_networks.estimate,
)


if __name__ == "__main__":
    _runner.main(EXPERIMENT)
