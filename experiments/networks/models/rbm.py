"""Restricted Boltzmann machines against networks: settings and cells."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import theory
from experiments.harness.flags import fixed, setting
from experiments.harness.run_directory import Cell, Row
from experiments.networks.models.rbm_report import MACHINES, METHODS
from experiments.shared import corruptions, settings
from ntk_corrupt.ensembles import ensemble
from ntk_corrupt.probes import basic
from ntk_corrupt.rbm import classifiers
from ntk_corrupt.rbm.machine import check_pixels, followed
from theory.errors import unknown
from theory.keys import stream

_OF_MACHINES = ("components", "rbm_rate", "rbm_batch", "rbm_epochs")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RbmSettings(settings.Settings):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.0, 0.2, 0.4, 0.6, 0.8, 0.9),
        "corruption levels; of clipped_additive the widths sigma",
    )
    methods: tuple[str, ...] = setting(METHODS, f"any of {', '.join(METHODS)}")
    repeats: int = setting(
        5, "of everything, each with training images of its own", most=10_000
    )
    trials: int = setting(5, "corruptions of the test images")
    components: int = setting(64, "hidden units of a machine")
    rbm_rate: float = setting(0.05, "learning rate of a machine", above=0)
    rbm_batch: int = setting(20, "images per update of a machine, and chains")
    rbm_epochs: int = setting(30, "epochs to train a machine")
    cd_steps: int = setting(1, "k of CD-k, for rbm_cd")
    rbm_classifier_max_iter: int = setting(
        1000, "iterations of the logistic regression, the most"
    )
    normalise: str = setting("unit", "pixel scale: unit, or binary")
    noise: str = setting(
        "uniform(0,1)",
        f"law of a noise pixel, in [0, 1]: {', '.join(corruptions.NOISES)}",
    )
    activation: str = setting("relu", "of the network, e.g. erf, relu, tanh, gelu")
    depth: int = setting(
        2, "weight layers of the network; 2 is one hidden layer", most=1000
    )
    w_var: float = setting(2.0, "weight variance times fan-in")
    width: int = setting(128, "units of each hidden layer of the network")
    loss: str = setting("cross_entropy", "mse, cross_entropy, softmax_mse")
    batch_size: int = setting(128, "training images per step of the network")
    epochs: int = setting(20, "epochs to train the network", least=0)
    stop_loss: float | None = setting(None, "training loss to stop at; none trains all")
    noise_regime: str = fixed("frozen")  # one corrupted copy for all methods
    rates: str = fixed("ntk")


def _machine(config: RbmSettings) -> classifiers.RbmConfig:
    return classifiers.RbmConfig(
        components=config.components,
        k=config.cd_steps,
        learning_rate=config.rbm_rate,
        batch_size=config.rbm_batch,
        epochs=config.rbm_epochs,
        classifier_max_iter=config.rbm_classifier_max_iter,
    )


def check(config: RbmSettings) -> None:
    """Raises `InputError` on bad settings."""
    for method in config.methods:
        if method not in METHODS:
            raise unknown("--methods", method, METHODS)
    settings.check(config, config.p)
    images = jnp.asarray(settings.problem(config, 0).x_train[:20])
    worst = settings.corruption(config, max(config.p))
    check_pixels(theory.corrupt(worst, jax.random.key(0), 0, images))


def cells(config: RbmSettings) -> list[Cell]:
    """One cell per repeat, level of training and method; tested clean and corrupted.

    What is trained on clean images is tested at all levels, the rest at its own.
    """
    levels = [(0.0, sorted(config.p)), *((p, [p]) for p in sorted(config.p) if p)]
    return [
        Cell(
            {
                "method": method,
                "p": p,
                "p_test": list(tested),
                "repeat": repeat,
                **{name: getattr(config, name) for name in _of_method(config, method)},
            }
        )
        for repeat in range(config.repeats)
        for p, tested in levels
        for method in config.methods
    ]


def _of_method(config: RbmSettings, method: str) -> tuple[str, ...]:
    """Settings that decide the numbers of a method."""
    if method == "mlp":
        return (*settings.of_network(config), "trials")
    own = _OF_MACHINES if method in MACHINES else ()
    steps = ("cd_steps",) if method == "rbm_cd" else ()
    # runs of before had 1000
    asked = method != "class_mean" and config.rbm_classifier_max_iter != 1000
    iterations = ("rbm_classifier_max_iter",) if asked else ()
    return (*settings.DATA, "trials", *own, *steps, *iterations)


class Centred(nn.Module):
    """A network that sees 2x - 1 of pixels x."""

    network: nn.Module

    def __call__(self, x):
        """Returns the outputs (n, c)."""
        return self.network(2 * x - 1)


_corrupt = jax.jit(theory.corrupt)


def compute(config: RbmSettings, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: `corrupted` (levels, trials), `pseudo_likelihood` (epochs,).

    The latter of machines alone, on training images as they see them; scikit-learn
    keeps none of earlier epochs.
    """
    asked = cell.settings
    config = settings.settled(config, cell)
    problem = settings.problem(config, asked["repeat"]).astype(jnp.float32)
    key = settings.corruption_key(config, asked["repeat"])
    tests = [settings.corruption(config, p) for p in asked["p_test"]]
    run = _network if asked["method"] == "mlp" else _classifier
    clean, corrupted, likelihood = run(config, asked, problem, key, tests)
    row: Row = {
        "classes": problem.num_classes,
        "clean": clean,
        "corrupted": [float(values.mean()) for values in corrupted],
        "pseudo_likelihood": [float(value) for value in likelihood],
    }
    return row, {"corrupted": corrupted, "pseudo_likelihood": likelihood}


def _classifier(config, asked, problem, key, tests):
    noise = settings.corruption(config, asked["p"])
    images = np.asarray(_corrupt(noise, key, 0, problem.x_train))
    seed = jax.random.bits(stream(key, asked["method"]), (), jnp.uint32)
    fitted = classifiers.features_and_classifier(
        asked["method"],
        images,
        np.asarray(problem.labels_train),
        config=_machine(config),
        seed=int(seed),
    )
    labels, test_key = np.asarray(problem.labels_test), stream(key, "test")
    accuracy = lambda x: float((fitted.predict(np.asarray(x)) == labels).mean())
    corrupted = [
        [
            accuracy(_corrupt(test, test_key, trial, problem.x_test))
            for trial in range(config.trials)
        ]
        for test in tests
    ]
    likelihood = np.zeros(0)
    if asked["method"] == "rbm_cd":
        likelihood = fitted["rbm"].pseudo_likelihood_
    elif asked["method"] == "rbm_pcd":
        machine = classifiers.machine(fitted["rbm"])
        likelihood = np.array([followed(machine, jnp.asarray(images))])
    return accuracy(problem.x_test), np.array(corrupted), likelihood


def _network(config, asked, problem, key, tests):
    probe = basic.Accuracies(
        corruption=jax.tree.map(lambda *levels: jnp.stack(levels), *tests),
        key=stream(key, "test"),
        x=problem.x_test,
        labels=problem.labels_test,
        trials=config.trials,
        name="corrupted",
    )
    nets = ensemble.measure(
        Centred(settings.network(config, problem.num_classes)),
        settings.corruption(config, asked["p"]),
        problem,
        draws=1,
        inits=1,
        key=key,
        config=settings.training(config),
        probes=(probe,),
    )
    clean = nets.accuracy(problem.labels_test, inits=1)
    return clean, np.asarray(nets.diagnostics["corrupted"][0, 0]), np.zeros(0)


def estimate(config: RbmSettings, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    method, images = cell.settings["method"], config.n_train
    tests = len(cell.settings["p_test"]) * config.trials * (config.n_test or 10_000)
    tested = 1 + tests * 784 * 5e-9
    if method == "mlp":
        return tested + config.epochs * images * config.width * 1e-7
    if method in MACHINES:
        updates = config.rbm_epochs * images * config.components
        return tested + updates * config.cd_steps * 1e-6
    return tested + images * 2e-3 * (method == "raw")
