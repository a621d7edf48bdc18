"""Curves of trained networks in sweeps of one setting: settings and cells."""

import dataclasses

import numpy as np

import theory
from experiments.harness.flags import setting
from experiments.harness.lines import known
from experiments.harness.run_directory import Cell, Row
from experiments.shared import settings, snr, trained
from theory.errors import InputError, unknown

SWEEPS = ("n_train", "width", "depth", "batch_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorruptionCurve(trained.UntilSure, trained.Samples, trained.Networks):
    """Settings of the experiment."""

    sweep: str = setting("n_train", f"what is varied: {', '.join(SWEEPS)}")
    sizes: tuple[int, ...] = setting((250, 500, 1000), "its values, rising")


# One network sees 64 000 images at every size.
SAME_SAMPLES = {"samples": 64_000, "epochs": 20}


def _each(config: CorruptionCurve) -> list[CorruptionCurve]:
    return [dataclasses.replace(config, **{config.sweep: n}) for n in config.sizes]


def check(config: CorruptionCurve) -> None:
    """Raises `InputError` on bad settings."""
    if config.sweep not in SWEEPS:
        raise unknown("--sweep", config.sweep, SWEEPS)
    if not config.sizes or list(config.sizes) != sorted(set(config.sizes)):
        raise InputError(f"`--sizes` must be rising numbers, got {config.sizes}.")
    if len(config.p) < 4:
        raise InputError(
            f"`--p` must be at least 4 levels to fit a fall, got {config.p}."
        )
    for each in _each(config):
        trained.check(each)


def cells(config: CorruptionCurve) -> list[Cell]:
    """One cell per size and level."""
    return [
        Cell({**trained.cell(each, p).settings, "sweep": config.sweep})
        for each in _each(config)
        for p in config.p
    ]


def compute(config: CorruptionCurve, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: lists over repeats, and the closed-form signal to noise."""
    row, arrays = trained.compute(config, cell)
    row["ln_snr"] = _ln_snr(settings.settled(config, cell), cell.settings["p"])
    return row, arrays


def _ln_snr(config: CorruptionCurve, p: float) -> float | None:
    """Mean ln SNR of the margin by the law of first order, None where it has none.

    Of averages over initialisations; no network is asked.
    """
    noise = settings.corruption(config, p)
    if not (noise.ends_in_noise and 0 < p < 1):
        return None
    problem = settings.problem(config, 0)
    law = theory.first_order(settings.architecture(config), noise, problem)
    labels = np.asarray(problem.labels_test)
    return known(snr.of_law(law, labels, "margin", inits=None, draws=None).value)
