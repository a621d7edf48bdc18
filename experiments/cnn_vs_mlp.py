"""Do convolutional networks tolerate more corruption than multilayer perceptrons?

Both are trained on the same images with the same noise, repeat by repeat, and tested on
clean images and on images as corrupted as the training images. Midpoints p* of sigmoids
and their difference, with intervals over repeats; differences of accuracy level by
level. The same question for kernels of infinitely wide networks (`--preset=kernel`):
convolutions with and without pooling against the multilayer perceptron.

    python -m experiments.cnn_vs_mlp --workdir=results/cnn_vs_mlp
"""

from experiments.harness import runner
from experiments.networks.models.cnn_report import figure, table
from experiments.networks.models.cnn_vs_mlp import (
    NETWORKS,
    CnnVsMlp,
    cells,
    check,
    compute,
    estimate,
)

PRESETS = {
    "smoke": {
        "n_train": 100,
        "n_test": 60,
        "p": (0.0, 0.4, 0.8, 1.0),
        "repeats": 2,
        "width": 16,
        "channels": (2, 4),
        "dense": 8,
        "size": None,
        "epochs": 2,
    },
    "cpu": {},
    # Kernels learn one corrupted copy, and so do the networks beside them here.
    "kernel": {
        "models": ("cnn_kernel", "flat_kernel", "mlp_kernel", *NETWORKS),
        "n_train": 100,
        "n_test": 100,
        "p": (0.0, 0.4, 0.6, 0.8),
        "size": None,
        "noise_regime": "frozen",
    },
    "mnist": {"dataset": "mnist", "n_train": 2000, "size": None, "epochs": 30},
    # code of github.com/AsadullahBhuiyan/noisy_neural_networks
    "paper": {
        "dataset": "mnist",
        "n_train": 54_120,
        "size": None,
        "normalise": "unit",
        "noise": "uniform(0,1)",
        "depth": 3,
        "width": 256,
        "channels": (32, 64),
        "dense": 128,
        "epochs": 20,
        "p": tuple(round(0.1 * k, 1) for k in range(11)),
    },
}


EXPERIMENT = runner.Experiment(
    name="cnn_vs_mlp",
    config=CnnVsMlp,
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
