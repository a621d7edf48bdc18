"""Do principal components part what a network learned from what it memorised?

Networks are trained on wrong labels to the end. Their last layer then reads only the
first d principal components of its features: accuracy on clean test images at every d,
against the whole head, stopping early, heads of low rank, random subspaces and weight
decay; linear probes of leading components, of the tail and of random subspaces, of the
untrained network too; how much of each component true and wrong labels explain.

    python -m experiments.spectral_truncation --workdir=results/spectral_truncation
"""

from experiments.harness import runner
from experiments.wrong_labels.spectral.cells import (
    Truncations,
    cells,
    check,
    compute,
    estimate,
)
from experiments.wrong_labels.spectral.figure import figure
from experiments.wrong_labels.spectral.report import table

PRESETS = {
    "smoke": {
        "n_train": 100,
        "n_val": 50,
        "n_test": 100,
        "rho": (0.0, 0.4),
        "weight_decay": (0.0,),
        "sgd_rate": None,
        "repeats": 2,
        "width": 24,
        "epochs": 4,
        "snapshots": (0, 1),
        "draws": 2,
        "batch_size": 10,
    },
    "cpu": {},
    "mnist": {
        "dataset": "mnist",
        "n_train": 4000,
        "n_val": 1000,
        "n_test": 5000,
        "width": 512,
        "batch_size": 100,
    },
    # The source's abstract names neither data nor sizes: these are ours.
    "paper": {
        "dataset": "cifar10",
        "n_train": 45_000,
        "n_val": 5000,
        "width": 512,
        "batch_size": 128,
        "epochs": 200,
        "repeats": 5,
    },
}


EXPERIMENT = runner.Experiment(
    name="spectral_truncation",
    config=Truncations,
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
