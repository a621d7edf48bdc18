"""Which activation learns best from corrupted images, and does the law know?

Accuracies over corruption levels for several activations, of single networks and of
averages over initialisations: predicted, and measured on trained networks. Then, of the
pairs of activations that the networks tell apart, the share that the law orders alike.

    python -m experiments.activations --workdir=results/activations
"""

from experiments.harness import runner
from experiments.laws.activations import Activations, cells, check, figure, table
from experiments.shared import routes
from experiments.shared.routes import compute

PRESETS = {
    "smoke": {
        **routes.SMOKE,
        "activations": ("erf", "relu"),
        "p": (0.5, 0.9),
        "inits": 1,
    },
    "cpu": {},
    # where the gain of the class mean is negative: (F12) of docs/theory/first_order.md
    "reversal": {
        "activations": ("erf", "sin_less_sin3"),
        "depth": 2,
        "w_var": 0.1,
        "noise": "normal(0,2.828)",
        "p": (0.5, 0.8, 0.9),
        "size": 14,
        "routes": ("first_order", "resummed", "exact", "network"),
        "width": 512,
        "draws": 4,
        "inits": 3,
    },
    # arXiv 2606.11319, its comparison of activations
    "paper": {
        **routes.SOURCE,
        "p": (0.9, 0.95, 0.97, 0.99, 1.0),
        "draws": 50,
        "epochs": 20,
    },
}


EXPERIMENT = runner.Experiment(
    name="activations",
    config=Activations,
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
