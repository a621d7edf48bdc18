"""How does one trained network stand corrupted test images?

A network trained on clean images sees every test image corrupted many times, at every
level; its twins are trained at the level at which they are tested. By activation, with
the spread over corruptions and the error over networks.

    python -m experiments.corrupted_tests --workdir=results/corrupted_tests
"""

from experiments.harness import runner
from experiments.networks.curves.corrupted_report import figure, table
from experiments.networks.curves.corrupted_tests import (
    BINARY,
    CorruptedTests,
    cells,
    check,
    compute,
    estimate,
)

PRESETS = {
    "smoke": {
        "n_train": 120,
        "n_test": 100,
        "p": (0.0, 0.6, 1.0),
        "repeats": 2,
        "trials": 3,
        "width": 16,
        "epochs": 4,
    },
    "cpu": {},
    "binary": {**BINARY, "dataset": "mnist", "n_train": 2000, "n_test": 2000},
    # runs of github.com/AsadullahBhuiyan/noisy_neural_networks
    "paper": {"dataset": "mnist", "n_train": 54_120, "depth": 4, "repeats": 20},
    "paper_binary": {**BINARY, "dataset": "mnist", "n_train": 54_120},
}


EXPERIMENT = runner.Experiment(
    name="corrupted_tests",
    config=CorruptedTests,
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
