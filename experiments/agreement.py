"""How often do network, kernel and law decide as the nearest class mean does?

The share of clean test images on which each agrees with the class-mean rule, over
corruption levels and, one at a time, depth, width and activation: of single networks
and of averages, beside the share on which two networks of the same corrupted images
agree with each other, which is the ceiling for any rule. Then the same in bins of the
stability that the law predicts for each image.

    python -m experiments.agreement --workdir=results/agreement
"""

from experiments.harness import runner
from experiments.laws.agreement import Agreement, cells, check, compute, figure, table
from experiments.shared import routes

PRESETS = {
    "smoke": {
        **routes.SMOKE,
        "p": (0.5, 0.95),
        "depths": (3,),
        "widths": (32,),
        "activations": ("erf",),
    },
    "cpu": {},
    # depth and width by all combinations; `--activations=erf,relu,tanh,gelu --nogrid`
    # varies these too, one at a time
    "mnist": {
        "dataset": "mnist",
        "n_train": 1000,
        "n_test": 2000,
        "size": None,
        "p": (0.5, 0.8, 0.9, 0.95),
        "depths": (1, 2, 3, 4, 5),
        "widths": (100, 250, 500, 1000),
        "activations": ("erf",),
        "width": 500,
        "grid": True,
    },
    # arXiv 2606.11319 has no such table: its setting, on all combinations
    "paper": {**routes.SOURCE, "draws": 10, "inits": 5, "epochs": 25, "grid": True},
}


EXPERIMENT = runner.Experiment(
    name="agreement",
    config=Agreement,
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
