"""Does what a Boltzmann machine represents survive corruption better than raw pixels?

Logistic regression on the hidden units of a Bernoulli RBM (ours, trained by CD-k, and
scikit-learn's, with persistent chains) beside logistic regression on pixels, the
nearest class mean and a network of one hidden layer. Training images, test images or
both are corrupted: the same copies for all methods, pixels in [0, 1]. The network alone
centres what it sees, 2x - 1, because rectifiers die on raw pixels in heavy noise.

    python -m experiments.rbm --workdir=results/rbm
"""

from experiments.harness import runner
from experiments.networks.models.rbm import RbmSettings, cells, check, compute, estimate
from experiments.networks.models.rbm_report import figure, table

PRESETS = {
    "smoke": {
        "n_train": 100,
        "n_test": 100,
        "p": (0.0, 0.6, 0.9),
        "repeats": 3,
        "trials": 2,
        "components": 16,
        "rbm_epochs": 3,
        "width": 16,
        "epochs": 3,
    },
    "cpu": {},
    # scripts of github.com/AsadullahBhuiyan/noisy_neural_networks
    "paper": {
        "dataset": "mnist",
        "n_train": 54_120,
        "p": tuple(round(0.8 + 0.01 * k, 2) for k in range(21)),
        "repeats": 100,
        "trials": 100,
        "components": 256,
        "rbm_rate": 0.01,
        "rbm_batch": 128,
        "rbm_epochs": 20,
    },
}


EXPERIMENT = runner.Experiment(
    name="rbm",
    config=RbmSettings,
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
