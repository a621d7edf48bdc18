"""Which architectures decide as the nearest class mean, and in which metric?

A network that is trained on images of almost nothing but noise decides, to first order,
by the nearest class mean in a metric of its architecture, which is known before any
kernel is solved. For convolutions, averages, locally connected layers and residual
branches: the metric and its effective number of pixels, the order of the architectures
that it predicts, and the exact kernels and trained networks of each.

    python -m experiments.architectures --workdir=results/architectures
"""

from experiments.harness import runner
from experiments.laws.architecture_figure import figure
from experiments.laws.architecture_report import table
from experiments.laws.architecture_settings import Architectures, check
from experiments.laws.architectures import cells, compute, estimate

PRESETS = {
    "smoke": {
        "architectures": ("dense", "conv", "local"),
        "n_train": 20,
        "n_test": 20,
        "p": (0.6, 0.9),
        "draws": 2,
        "inits": 2,
        "samples": 8,
        "width": 4,
        "epochs": 2,
    },
    "cpu": {},
    # the setting of the figures that are set beside ours
    "notes": {
        "architectures": ("dense", "conv", "local", "global"),
        "stages": ("kernel",),
        "n_train": 150,
        "n_test": 300,
        "p": (0.3, 0.6),
        "draws": 2,
    },
    "paper": {
        "dataset": "mnist",
        "size": 8,
        "n_train": 2000,
        "n_test": 1000,
        "draws": 8,
    },
}


EXPERIMENT = runner.Experiment(
    name="architectures",
    config=Architectures,
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
