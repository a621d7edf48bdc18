"""How does accuracy fall with corruption, and what moves the fall?

Networks trained on corrupted images, tested on clean ones and on images as corrupted as
they were trained on, over levels and over sizes (--sweep n_train, width, depth or
batch_size). For each size the midpoint p* and the slope of a sigmoid whose lower end is
chance, the half height without a model, all with intervals over repeats; and how well
functions of level and size put the curves of all sizes on one.

    python -m experiments.corruption_curve --workdir=results/corruption_curve
"""

from experiments.harness import runner
from experiments.networks.curves.corruption_curve import (
    SAME_SAMPLES,
    CorruptionCurve,
    cells,
    check,
    compute,
)
from experiments.networks.curves.curve_report import figure, table
from experiments.shared import trained

PRESETS = {
    "smoke": {
        "sizes": (60, 120),
        "n_test": 100,
        "p": (0.2, 0.6, 0.9, 1.0),
        "repeats": 2,
        "width": 16,
        "epochs": 2,
    },
    "cpu": {**SAME_SAMPLES, "noise_regime": "frozen"},
    "width": {"sweep": "width", "n_train": 1000, "sizes": (8, 32, 128, 512)},
    "depth": {"sweep": "depth", "n_train": 1000, "sizes": (2, 5, 9), "width": 64},
    "batch_size": {
        **SAME_SAMPLES,
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


EXPERIMENT = runner.Experiment(
    name="corruption_curve",
    config=CorruptionCurve,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=table,
    figure=figure,
    estimate=trained.estimate,
)


if __name__ == "__main__":
    runner.main(EXPERIMENT)
