"""Do the laws predict every logit, or only the accuracy?

Predicted mean outputs against measured ones, for every test point and class; and the
line of each route against the class-mean score,

    f_i(x*) = a <x*, mu_i - mean mu>/d + b ,   c its fluctuation over draws,

whose three constants the source fits to networks and the laws predict.

    python -m experiments.logit_scatter --workdir=results/logit_scatter
"""

from experiments.harness import runner
from experiments.laws.logit_scatter import LogitScatter, figure, table
from experiments.shared import routes
from experiments.shared.routes import cells, check, compute

PRESETS = {
    "smoke": {
        **routes.SMOKE,
        "p": (0.9,),
        "draws": 4,
    },
    "cpu": {},
    # arXiv 2606.11319, its fit of the logits
    "paper": {
        **routes.SOURCE,
        "draws": 100,
        "inits": 50,
        "epochs": 25,
    },
}


EXPERIMENT = runner.Experiment(
    name="logit_scatter",
    config=LogitScatter,
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
