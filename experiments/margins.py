"""Does a linear argument around an image say when corruption flips its decision?

Networks trained on corrupted images meet fresh corruptions of test images at the same
level. For every image three scores, margin over standard deviation to first order, are
computed without corrupting anything (`ntk_corrupt.probes.margins`); then whether the
image fails. Area under the ROC curve of each score, predicted and actual failures, and
the level where the median score falls to one.

    python -m experiments.margins --workdir=results/margins
"""

from experiments.harness import runner
from experiments.networks.inside.margins import (
    MarginSettings,
    cells,
    check,
    compute,
    estimate,
    figure,
    table,
)

PRESETS = {
    "smoke": {
        "n_train": 100,
        "n_test": 100,
        "p": (0.2, 0.8),
        "repeats": 2,
        "width": 16,
        "epochs": 3,
    },
    "cpu": {},
    "paper": {"dataset": "mnist", "n_train": 54_120, "images": 10_000, "repeats": 5},
}


EXPERIMENT = runner.Experiment(
    name="margins",
    config=MarginSettings,
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
