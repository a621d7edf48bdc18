"""At which level of corruption should one train, for images that are corrupted too?

Accuracy over the corruption of the training images and of the test images, of one kind
or two: trained networks that see fresh noise in every epoch, and the law for as many
corrupted copies of every image as there are epochs. Then the area under each accuracy
curve, and the level of training that has the largest.

    python -m experiments.train_test_corruption --workdir=results/train_test
"""

from experiments.harness import runner
from experiments.laws.train_test_corruption import (
    TrainTestCorruption,
    cells,
    check,
    compute,
    figure,
    table,
)
from experiments.shared import routes

PRESETS = {
    "smoke": {
        **routes.SMOKE,
        "p": (0.3, 0.9),
        "p_test": (0.0, 1.0),
        "kinds": ("additive",),
        "epochs": 3,
        "inits": 1,
    },
    "cpu": {},
    # arXiv 2606.11319, training and testing on corrupted images
    "paper": {
        "dataset": "mnist",
        "n_train": 54_120,
        "n_test": None,
        "size": None,
        "kinds": ("replacement",),
        "p": tuple(round(0.05 * k, 2) for k in range(21)),
        "p_test": tuple(round(0.0125 * k, 4) for k in range(81)),
        "routes": ("network",),
        "activation": "relu",
        "depth": 4,
        "width": 128,
        "batch_size": 128,
        "epochs": 20,
        "draws": 20,
    },
}


EXPERIMENT = runner.Experiment(
    name="train_test_corruption",
    config=TrainTestCorruption,
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
