"""What does training on corrupted images do to a network's tangent kernel?

Spectrum of the empirical NTK at 64 test images, corrupted as in training and clean,
before and after training, over levels and widths: of each image's own output (`true`)
and summed over all outputs (`trace`). How far training moved the kernel, and how far
the kernel of this width is from that of infinite width.

    python -m experiments.empirical_ntk --workdir=results/empirical_ntk
    python -m experiments.empirical_ntk --preset=widths --workdir=results/ntk_widths
"""

from experiments.harness import runner
from experiments.networks.inside.empirical_ntk import (
    EmpiricalNtk,
    cells,
    check,
    compute,
    estimate,
)
from experiments.networks.inside.empirical_report import (
    figure,
    table,
)

PRESETS = {
    "smoke": {
        "n_train": 100,
        "n_test": 60,
        "p": (0.2, 0.9),
        "repeats": 2,
        "widths": (16,),
        "points": 20,
        "epochs": 2,
    },
    "cpu": {},
    # Gradient descent in a parametrisation where width leaves its speed alone.
    "widths": {
        "p": (0.2, 0.9),
        "widths": (32, 128, 512, 2048),
        "parametrisation": "ntk",
        "optimiser": "sgd",
        "learning_rate": 1.0,
        "loss": "mse",
    },
    # On raw pixels rectifiers die in heavy noise, and the kernel with them.
    "mnist": {
        "dataset": "mnist",
        "n_train": 4000,
        "normalise": "unit",
        "noise": "uniform(0,1)",
    },
    # code of github.com/AsadullahBhuiyan/noisy_neural_networks
    "paper": {
        "dataset": "mnist",
        "n_train": 54_120,
        "normalise": "unit",
        "noise": "uniform(0,1)",
        "depth": 3,
        "widths": (256,),
        "repeats": 5,
        "most_repeats": 5,
        "p": tuple(round(0.1 * k, 1) for k in range(11)),
    },
}


EXPERIMENT = runner.Experiment(
    name="empirical_ntk",
    config=EmpiricalNtk,
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
