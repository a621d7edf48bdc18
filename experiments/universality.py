"""Is it the class means, whatever the network, the noise and the images?

One factor at a time around erf, depth 3, replacement: accuracy of the nearest class
mean, of the law and of the exact kernel, and the gaps between them, for depths,
activations, laws of noise, kinds of corruption and data sets.

    python -m experiments.universality --workdir=results/universality
"""

from experiments.harness import runner
from experiments.laws.universality import Universality, cells, check, figure, table
from experiments.shared import routes
from experiments.shared.routes import compute

PRESETS = {
    "smoke": {
        **routes.SMOKE,
        "p": (0.9,),
        "depths": (3,),
        "activations": ("erf",),
        "noises": "rademacher",
        "corruptions": ("additive",),
    },
    "cpu": {},
    # arXiv 2606.11319: its networks and data sets
    "paper": {
        **routes.SOURCE,
        "p": (0.5, 0.8, 0.9, 0.95, 0.97, 0.99),
        "datasets": ("mnist", "fashion_mnist", "kmnist"),
        "draws": 12,
    },
}


EXPERIMENT = runner.Experiment(
    name="universality",
    config=Universality,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=table,
    figure=figure,
    estimate=routes.estimate,
)


if __name__ == "__main__":
    runner.main(EXPERIMENT)
