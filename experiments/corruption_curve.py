"""How does accuracy fall with corruption, and what moves the fall?

Networks trained on corrupted images, tested on clean ones and on images as corrupted as
they were trained on, over levels and over sizes (--sweep n_train, width, depth or
batch_size). For each size the midpoint p* and the slope of a sigmoid whose lower end is
chance, the half height without a model, all with intervals over repeats; and how well
functions of level and size put the curves of all sizes on one.

    python -m experiments.corruption_curve --workdir=results/corruption_curve
"""

import dataclasses

import numpy as np

import theory
from experiments import _networks, _runner, _settings, _snr
from experiments._curve_report import figure, table
from experiments._runner import setting
from ntk_corrupt.results import Cell, Row
from theory.errors import InputError, unknown

SWEEPS = ("n_train", "width", "depth", "batch_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorruptionCurve(_networks.Networks):
    """Settings of the experiment."""

    sweep: str = setting("n_train", f"what is varied: {', '.join(SWEEPS)}")
    sizes: tuple[int, ...] = setting((250, 500, 1000), "its values, rising")


# One network sees 64 000 images at every size.
_SAME_SAMPLES = {"samples": 64_000, "epochs": 20}
PRESETS = {
    "smoke": {
        "sizes": (60, 120),
        "n_test": 100,
        "p": (0.2, 0.6, 0.9, 1.0),
        "repeats": 2,
        "width": 16,
        "epochs": 2,
    },
    "cpu": {**_SAME_SAMPLES, "noise_regime": "frozen"},
    "width": {"sweep": "width", "n_train": 1000, "sizes": (8, 32, 128, 512)},
    "depth": {"sweep": "depth", "n_train": 1000, "sizes": (2, 5, 9), "width": 64},
    "batch_size": {
        **_SAME_SAMPLES,
        "sweep": "batch_size",
        "n_train": 1000,
        "sizes": (16, 128, 1000),
        "width": 64,
    },
    # result files of github.com/AsadullahBhuiyan/noisy_neural_networks
    "paper": {
        "dataset": "mnist",
        "sizes": (54_120,),
        "p": tuple(round(0.1 * k, 1) for k in range(11)),
        "depth": 4,
        "repeats": 100,
    },
}


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
        _networks.check(each)


def cells(config: CorruptionCurve) -> list[Cell]:
    """One cell per size and level."""
    return [
        Cell({**_networks.cell(each, p).settings, "sweep": config.sweep})
        for each in _each(config)
        for p in config.p
    ]


def compute(config: CorruptionCurve, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: lists over repeats, and the closed-form signal to noise."""
    row, arrays = _networks.compute(config, cell)
    row["ln_snr"] = _ln_snr(_settings.settled(config, cell), cell.settings["p"])
    return row, arrays


def _ln_snr(config: CorruptionCurve, p: float) -> float | None:
    """Mean ln SNR of the margin by the law of first order, None where it has none.

    Of averages over initialisations; no network is asked.
    """
    noise = _settings.corruption(config, p)
    if not (isinstance(noise, theory.Replacement | theory.Additive) and 0 < p < 1):
        return None
    problem = _settings.problem(config, 0)
    law = theory.first_order(_settings.architecture(config), noise, problem)
    labels = np.asarray(problem.labels_test)
    return _snr.of_law(law, labels, "margin", inits=None, draws=None).value


EXPERIMENT = _runner.Experiment(
    name="corruption_curve",
    config=CorruptionCurve,
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
