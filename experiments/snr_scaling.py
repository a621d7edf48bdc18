"""How does the signal to noise ratio of the outputs grow with images and pixels?

ln SNR over corruption draws, a mean over test points, for training sets of N images of
d pixels: of trained networks, of exact kernels and of the law, for the output of the
true class and for the margin, with and without trained biases. Then the exponents of N
and d, where N < d, where N > d and over all; and the law's exponents as one ingredient
of the measurement after the other is put in, which says what makes them.

    python -m experiments.snr_scaling --workdir=results/snr_scaling
"""

from experiments.harness import runner
from experiments.laws import snr_report
from experiments.laws.snr_scaling import SnrScaling, cells, check, compute
from experiments.shared import routes

PRESETS = {
    "smoke": {
        **routes.SMOKE,
        "n_train": 0,
        "n_trains": (60,),
        "sizes": (8,),
        "size": None,
        "draws": 3,
    },
    "cpu": {},
    # arXiv 2606.11319, its figure on the signal to noise ratio
    "paper": {
        **routes.SOURCE,
        "n_train": 0,
        "p": (0.97,),
        "n_trains": (1000, 2000, 3000, 4000),
        "sizes": (28, 43, 55, 64),
        "draws": 20,
        "inits": 10,
        "batch_size": 100,
        "epochs": 25,
    },
}


EXPERIMENT = runner.Experiment(
    name="snr_scaling",
    config=SnrScaling,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=snr_report.table,
    figure=snr_report.figure,
    estimate=routes.estimate,
)


if __name__ == "__main__":
    runner.main(EXPERIMENT)
