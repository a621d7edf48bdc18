"""How accurately does a network trained on corrupted images classify clean ones?

Four routes answer for each corruption level p, on the same training subsets and the
same corrupted copies: the nearest-class-mean law (first_order), the law that keeps the
noise to all orders (resummed), the exact infinite-width kernel (exact) and trained
networks (network).

    python -m experiments.accuracy_curve --workdir=results/digits
"""

import dataclasses

from experiments import _accuracy, _routes, _runner


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccuracyCurve(_routes.Routes):
    """Settings of the experiment."""


PRESETS = {
    "smoke": {
        **_routes.SMOKE,
        "p": (0.5, 0.95),
    },
    "cpu": {},
    # arXiv 2606.11319, its figure on the centroid rule
    "paper": {
        **_routes.SOURCE,
        "p": (0.5, 0.8, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 1.0),
        "draws": 20,
        "inits": 10,
        "epochs": 25,
    },
}


EXPERIMENT = _runner.Experiment(
    name="accuracy_curve",
    config=AccuracyCurve,
    presets=PRESETS,
    check=_routes.check,
    cells=_routes.cells,
    compute=_routes.compute,
    table=_accuracy.table,
    figure=_accuracy.figure,
    estimate=_routes.estimate,
)


if __name__ == "__main__":
    _runner.main(EXPERIMENT)
