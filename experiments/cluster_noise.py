"""Does gradient descent learn clustered points before it learns their wrong labels?

Two clusters, labels 0 and 1 of which a share is redrawn, a network of one hidden layer
whose output layer is fixed, full-batch gradient descent. Errors, losses and distance
from the start over the iterations, beside the law of the infinitely wide network; the
singular values of the Jacobian; how far weights must move to learn wrong labels; what
theorems say exactly; a ridge in place of stopping; the covariance of the centres.

    python -m experiments.cluster_noise --workdir=results/cluster_noise

Source: Li, Soltanolkotabi & Oymak 2020, arXiv:1903.11680.
"""

from experiments.harness import runner
from experiments.wrong_labels.clusters.cells import cells, check, compute, estimate
from experiments.wrong_labels.clusters.figure import figure
from experiments.wrong_labels.clusters.report import table
from experiments.wrong_labels.clusters.settings import ClusterNoise

PRESETS = {
    "smoke": {
        "repeats": 2,
        "n": 40,
        "n_test": 60,
        "d": 6,
        "width": 20,
        "widths": (20, 40),
        "activations": ("relu",),
        "radii": (0.1,),
        "early": 10,
        "late": 60,
        "flips": (0.0, 0.3),
        "flip_width": 20,
        "flip_late": 40,
        "ridges": (1.0,),
        "learned": (0.5, 0.3),
        "learned_n": 12,
        "learned_activations": ("erf",),
        "covariances": ("relu",),
        "samples": 100_000,
    },
    "cpu": {},
    "paper": {"repeats": 5, "n_test": 10_000, "widths": (250, 1000, 4000, 16_000)},
}


EXPERIMENT = runner.Experiment(
    name="cluster_noise",
    config=ClusterNoise,
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
