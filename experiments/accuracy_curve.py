"""How accurately does a network trained on corrupted images classify clean ones?

The routes answer for each corruption level p, on the same training subsets and the
same corrupted copies: the nearest-class-mean law (first_order), the law that keeps the
noise to all orders (resummed), the exact infinite-width kernel (exact) and trained
networks (network). `--architecture` makes convolutions and others of the kernel and of
the networks.

    python -m experiments.accuracy_curve --workdir=results/digits
"""

import dataclasses

from experiments.harness import runner
from experiments.laws import accuracy_report
from experiments.shared import routes, stacks


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccuracyCurve(stacks.Named, routes.Routes):
    """Settings of the experiment."""


PRESETS = {
    "smoke": {
        **routes.SMOKE,
        "p": (0.5, 0.95),
    },
    "cpu": {},
    # arXiv 2606.11319, its figure on the centroid rule
    "paper": {
        **routes.SOURCE,
        "p": (0.5, 0.8, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 1.0),
        "draws": 20,
        "inits": 10,
        "epochs": 25,
    },
}


EXPERIMENT = runner.Experiment(
    name="accuracy_curve",
    config=AccuracyCurve,
    presets=PRESETS,
    check=routes.check,
    cells=routes.cells,
    compute=routes.compute,
    table=accuracy_report.table,
    figure=accuracy_report.figure,
    estimate=routes.estimate,
)


if __name__ == "__main__":
    runner.main(EXPERIMENT)
