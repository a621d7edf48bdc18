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

import numpy as np

from experiments.harness import runner
from experiments.networks.curves.finite_size_scaling import (
    FiniteSizeScaling,
    cells,
    check,
)
from experiments.networks.curves.scaling_report import figure, table
from experiments.shared import trained
from experiments.shared.trained import compute

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


EXPERIMENT = runner.Experiment(
    name="finite_size_scaling",
    config=FiniteSizeScaling,
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
