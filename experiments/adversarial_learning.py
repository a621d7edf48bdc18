"""Can a network learn the classes from adversarial perturbations of another one alone?

f is trained on two classes. Every training input gets a random target and a small
perturbation that moves f towards it; g is trained on the perturbations and the targets,
and judged by the labels that it has never seen. One run is one data set and one
scenario: perturbations alone, or added to the inputs. Accuracy of f and g and their
agreement over each setting, beside the closed forms of docs/theory/two_layer.md
(P1)-(P5). Controls are always on: no perturbation, and targets balanced over all or in
each class.

    python -m experiments.adversarial_learning --workdir=results/adversarial
"""

from experiments.harness import runner
from experiments.perturbations import settings as plan
from experiments.perturbations.cells import cells, compute, estimate
from experiments.perturbations.figure import figure
from experiments.perturbations.presets import PRESETS
from experiments.perturbations.report import table
from experiments.perturbations.settings import AdversarialLearning

EXPERIMENT = runner.Experiment(
    name="adversarial_learning",
    config=AdversarialLearning,
    presets=PRESETS,
    check=plan.check,
    cells=cells,
    compute=compute,
    table=table,
    figure=figure,
    estimate=estimate,
)


if __name__ == "__main__":
    runner.main(EXPERIMENT)
