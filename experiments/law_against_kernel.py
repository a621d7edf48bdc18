"""How close is the resummed law to the exact kernel that it stands for?

At each corruption level: the accuracy that the law predicts, and that of exact kernels
drawn on the same training images. A dozen draws leave an error of .01; the law's own
surrogate, which is cheap and follows the kernel draw by draw, is the control variate
that takes most of it away:

    exact = mean over draws of (exact - surrogate) + mean over many surrogates.

    python -m experiments.law_against_kernel --workdir=results/law
"""

from experiments.harness import runner
from experiments.laws import law_report
from experiments.laws.law_against_kernel import (
    LawAgainstKernel,
    cells,
    check,
    compute,
    estimate,
)

PRESETS = {
    "smoke": {
        "n_train": 60,
        "n_test": 60,
        "p": (0.7, 0.95),
        "draws": 3,
        "surrogates": 6,
    },
    "cpu": {},
    "paper": {
        "dataset": "mnist",
        "n_train": 4000,
        "p": (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99),
        "n_test": 2000,
        "draws": 12,
    },
}


EXPERIMENT = runner.Experiment(
    name="law_against_kernel",
    config=LawAgainstKernel,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=law_report.table,
    figure=law_report.figure,
    estimate=estimate,
)


if __name__ == "__main__":
    runner.main(EXPERIMENT)
