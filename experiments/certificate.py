"""Can higher orders flip what the class mean decides?

For every draw of the corrupted training images and every test point: the gap of the
class mean's decision, to first order, against a rigorous bound on all higher orders.
The share of points that this certifies, by level, images, pixels and activation; beside
it exact kernels of the same draws, which show how many keep the decision without being
certified, and that none that is certified flips; and the points that the law calls
stable.

    python -m experiments.certificate --workdir=results/certificate
"""

from experiments.harness import runner
from experiments.laws import certificate_report
from experiments.laws.certificate import Certified, cells, check, compute, estimate

PRESETS = {
    "smoke": {
        "n_trains": (20,),
        "n_test": 40,
        "sizes": (8, 32),
        "p": (0.5, 0.9),
        "activations": ("erf",),
        "draws": 2,
    },
    "cpu": {},
    # arXiv 2606.11319 has no such table: the level and activations of its figures
    "paper": {
        "dataset": "mnist",
        "n_trains": (100, 1000, 4000),
        "sizes": (28, 64),
        "p": (0.9, 0.97, 0.99),
    },
}


EXPERIMENT = runner.Experiment(
    name="certificate",
    config=Certified,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=certificate_report.table,
    figure=certificate_report.figure,
    estimate=estimate,
)


if __name__ == "__main__":
    runner.main(EXPERIMENT)
