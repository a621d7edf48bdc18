"""Why is my network not its kernel?

A network as it is usually trained beside its infinite-width kernel, on the same
corrupted images: then with one cause of the difference switched off after the other,
and all of them. What is left of the difference in accuracy, of the outputs (slope and
R2 against the kernel's), and of the offset b that all classes share, which trained
biases move and no decision sees. Single networks, and means over initialisations.

    python -m experiments.why_not_the_kernel --workdir=results/why_not_the_kernel
"""

from experiments.harness import runner
from experiments.laws import why_report
from experiments.laws.why_not_the_kernel import WhyNotTheKernel, cells, check, compute
from experiments.shared import routes

PRESETS = {
    "smoke": {
        **routes.SMOKE,
        "p": (0.5,),
        "depth": 2,
        "width": 16,
        "times": 2,
        "descent_epochs": 20,
        "kinds": ("as trained", "gradient descent"),
    },
    "cpu": {},
    # the setting of arXiv 2606.11319, whose networks are of the first kind
    "paper": {
        **routes.SOURCE,
        "p": (0.5, 0.9, 0.97),
        "width": 512,
        "epochs": 400,
        "stop_loss": 1e-3,
    },
}


EXPERIMENT = runner.Experiment(
    name="why_not_the_kernel",
    config=WhyNotTheKernel,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=why_report.table,
    figure=why_report.figure,
    estimate=routes.estimate,
)


if __name__ == "__main__":
    runner.main(EXPERIMENT)
