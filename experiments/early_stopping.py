"""Do networks that are stopped early ignore wrong labels?

A share of the training labels is wrong, and as many of those that decide when to stop.
Accuracy over epochs on noisy and true training labels, on noisy validation labels and
on test images; rules that stop, against the oracle; what losses tell about wrong labels
at the stop and at the end; how far the parameters move, and the least they must; the
Jacobian at images of two classes. Beside the networks, kernel regression of infinite
width on the same labels, over its training time.

    python -m experiments.early_stopping --workdir=results/early_stopping
    python -m experiments.early_stopping --preset=cnn --workdir=results/stopping_cnn
    python -m experiments.early_stopping --preset=resnet --workdir=results/resnet
    python -m experiments.early_stopping --preset=lenet --data_dir=DIR
"""

from experiments.harness import runner
from experiments.wrong_labels.stopping.cells import (
    EarlyStopping,
    cells,
    check,
    compute,
    estimate,
)
from experiments.wrong_labels.stopping.figure import figure
from experiments.wrong_labels.stopping.report import table

PRESETS = {
    "smoke": {
        "shares": (0.0, 0.5),
        "repeats": 2,
        "n_train": 100,
        "n_valid": 40,
        "n_test": 100,
        "width": 16,
        "batch_size": 20,
        "learning_rate": 0.01,
        "epochs": 10,
    },
    "cpu": {},
    "mnist": {"dataset": "mnist", "n_train": 4000, "n_valid": 1000, "epochs": 50},
    "cnn": {
        "models": ("cnn",),
        "losses": ("cross_entropy", "mse"),
        "shares": (0.0, 0.3, 0.5),
        "epochs": 200,
    },
    "resnet": {
        "dataset": "colour_digits",
        "models": ("resnet",),
        "losses": ("cross_entropy", "mse"),
        "shares": (0.0, 0.3, 0.5),
        "epochs": 100,
        "spectrum": 50,
        "clusters": 50,
    },
    "lenet": {
        "dataset": "mnist",
        "models": ("lenet",),
        "n_train": 3000,
        "n_valid": 1000,
        "optimiser": "adadelta",
        "learning_rate": 1.0,
        "epochs": 60,
        "spectrum": 50,
        "clusters": 50,
    },
    # arXiv:1903.11680, Fig. 1, has 50 000 unbalanced images, and does not say its rate
    "paper": {
        "dataset": "mnist",
        "models": ("four_layers",),
        "shares": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "n_train": 44_120,
        "n_valid": 10_000,
        "optimiser": "adadelta",
        "learning_rate": 1.0,
        "batch_size": 128,
        "epochs": 200,
        "repeats": 1,
    },
}


EXPERIMENT = runner.Experiment(
    name="early_stopping",
    config=EarlyStopping,
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
