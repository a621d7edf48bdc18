"""Do corrupted copies of clean training images help, or hurt, or only cost steps?

To a clean training set r times as many corrupted copies are added, with their labels,
drawn from the same images. Against the clean set alone, and against it for as many
steps as the larger set takes; accuracy on clean test images, repeat by repeat.

    python -m experiments.garbage_augmentation --workdir=results/garbage
"""

from experiments.harness import runner
from experiments.networks.mixtures.garbage_augmentation import (
    Garbage,
    cells,
    check,
    compute,
    estimate,
    figure,
    table,
)

PRESETS = {
    "smoke": {
        "n_train": 80,
        "n_test": 100,
        "p": (0.2, 1.0),
        "ratios": (1, 8),
        "repeats": 2,
        "width": 16,
        "epochs": 3,
    },
    "cpu": {},
    "mnist": {"dataset": "mnist", "n_train": 1000, "n_test": 2000},
    "paper": {
        "dataset": "mnist",
        "n_train": 30_000,
        "p": (0.1, 0.2, 0.5, 0.8, 0.9, 1.0),
        "ratios": (1, 2, 4, 8, 16, 32),
        "repeats": 10,
    },
}


EXPERIMENT = runner.Experiment(
    name="garbage_augmentation",
    config=Garbage,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=table,
    figure=figure,
    estimate=estimate,
)


if __name__ == "__main__":
    runner.main(EXPERIMENT)
