"""Accuracy against signal and noise at many sizes: settings and cells."""

import dataclasses

import numpy as np

from experiments.harness.flags import fixed, setting
from experiments.harness.run_directory import Cell, Row
from experiments.shared import routes
from theory.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SnrScaling(routes.Routes):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting((0.9,), "corruption levels in [0, 1]")
    n_trains: tuple[int, ...] = setting((100, 200, 400, 700, 1150), "training images")
    sizes: tuple[int, ...] = setting(
        (14, 20, 28, 40), "sides of the images in pixels", most=1024
    )
    trained_biases: tuple[bool, ...] = setting(
        (False, True), "whether biases are trained; kernels have the rates of that"
    )
    n_train: int = fixed(0)
    size: int | None = fixed(None)
    biases: bool = fixed(True)
    rates: str = setting("standard", "training rates of the kernels: standard or ntk")
    n_test: int | None = setting(500, "test images, balanced; none is all")
    draws: int = setting(8, "corruption draws", least=2)
    inits: int = setting(2, "networks per draw, averaged")


def _each(config: SnrScaling) -> list[SnrScaling]:
    return [
        dataclasses.replace(config, n_train=n, size=size, biases=biases)
        for biases in config.trained_biases
        for size in config.sizes
        for n in config.n_trains
    ]


def check(config: SnrScaling) -> None:
    """Raises `InputError` on bad settings."""
    if not config.n_test:
        raise InputError(
            f"`--n_test` must be the number of test images, got {config.n_test}: it "
            "keeps them the same for all sizes of the training set."
        )
    for each in _each(config):
        routes.check(each)


def cells(config: SnrScaling) -> list[Cell]:
    """One cell per training set, treatment of biases, route and level."""
    return [cell for each in _each(config) for cell in routes.cells(each)]


def compute(config: SnrScaling, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell."""
    row, arrays = routes.compute(config, cell)
    row["pixels"] = arrays["clean"].shape[1]
    return row, arrays
