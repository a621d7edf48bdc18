"""What do the training images look like, and how much of the image is left in them?

One image per row of corruption and column of level, and its signal to noise ratio

    |E x~ - E x~'|^2 / sum_j Var x~_j ,

x' the image that is grey in every pixel: what corruption leaves of the pattern, over
the noise that it brings.

    python -m experiments.noise_gallery --workdir=results/noise_gallery
"""

from experiments.harness import runner
from experiments.networks.curves.noise_gallery import (
    NoiseGallery,
    cells,
    check,
    compute,
    figure,
    table,
)

PRESETS = {
    "smoke": {
        "size": None,
        "p": (0.5, 1.0),
        "corruptions": (
            "replacement",
            "additive",
            "clipped_additive",
            "binary_replacement",
        ),
    },
    "paper": {"dataset": "mnist", "size": None},
}


EXPERIMENT = runner.Experiment(
    name="noise_gallery",
    config=NoiseGallery,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=table,
    figure=figure,
)


if __name__ == "__main__":
    runner.main(EXPERIMENT)
