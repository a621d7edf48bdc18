"""How much do corrupted images add to a few clean ones?

A random share of the training images is clean. Networks trained on these alone, on
these for as many steps as the whole set takes, on these with the others corrupted, and
on all images clean; accuracy on clean test images, differences repeat by repeat.

    python -m experiments.clean_fraction --workdir=results/clean_fraction
"""

from experiments.harness import runner
from experiments.networks.mixtures.clean_fraction import (
    CleanFraction,
    cells,
    check,
    compute,
    figure,
    table,
)
from experiments.shared import trained

PRESETS = {
    "smoke": {
        "n_train": 120,
        "n_test": 100,
        "p": (0.5, 1.0),
        "fractions": (0.2,),
        "repeats": 2,
        "width": 16,
        "epochs": 4,
    },
    "cpu": {},
    # the numbers that docs/experiments/clean_fraction.md compares with
    "mnist": {"dataset": "mnist", "n_train": 4000, "n_test": 2000},
    "paper": {"dataset": "mnist", "n_train": 54_120, "width": 64, "epochs": 10},
}


EXPERIMENT = runner.Experiment(
    name="clean_fraction",
    config=CleanFraction,
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
