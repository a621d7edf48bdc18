"""Curves of several sizes, for their collapse: settings and cells."""

import dataclasses
import itertools

from experiments.harness.flags import fixed, setting
from experiments.harness.run_directory import Cell
from experiments.shared import trained
from theory.errors import InputError, unknown

BUDGETS = ("samples", "steps")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FiniteSizeScaling(trained.UntilSure, trained.Networks):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.5, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.99), "corruption levels"
    )
    n_trains: tuple[int, ...] = setting((250, 1000), "numbers of training images")
    n_train: int = fixed(0)
    batch_sizes: tuple[int, ...] = setting(
        (16, 128, 0), "images per step; 0 is all of them", least=0
    )
    batch_size: int = fixed(0)
    budget: str = setting(
        "samples",
        "samples: --epochs for all; steps: as many steps as the first batch size takes",
    )
    scale_rate: bool = setting(
        False, "whether the learning rate grows with the batch size, from the first"
    )
    optimiser: str = setting("sgd", "adam, sgd, momentum")
    learning_rate: float = setting(
        0.01, "of the optimiser, for the first batch size", above=0
    )


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
    for name in ("n_trains", "p"):
        values = getattr(config, name)
        if not values or list(values) != sorted(set(values)):
            raise InputError(f"`--{name}` must be rising numbers, got {values}.")
    if len(config.p) < 2:
        raise InputError(f"`--p` must be two levels or more, got {config.p}.")
    if not config.batch_sizes or min(config.batch_sizes) < 0:
        raise InputError(
            f"`--batch_sizes` must be positive, or 0 for all, got {config.batch_sizes}."
        )
    for each in _each(config):
        trained.check(each)


def cells(config: FiniteSizeScaling) -> list[Cell]:
    """One cell per number of images, batch size and level."""
    order = itertools.product(config.n_trains, config.batch_sizes)
    return [
        Cell({**trained.cell(each, p).settings, "batch": asked})
        for each, (_, asked) in zip(_each(config), order, strict=True)
        for p in config.p
    ]
