"""Does what a Boltzmann machine represents survive corruption better than raw pixels?

Logistic regression on the hidden units of a Bernoulli RBM (ours, trained by CD-k, and
scikit-learn's, with persistent chains) beside logistic regression on pixels, the
nearest class mean and a network of one hidden layer. Training images, test images or
both are corrupted: the same copies for all methods, pixels in [0, 1]. The network alone
centres what it sees, 2x - 1, because rectifiers die on raw pixels in heavy noise.

    python -m experiments.rbm --workdir=results/rbm
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import theory
from experiments import _runner, _settings
from experiments._rbm_report import MACHINES, METHODS, figure, table
from experiments._runner import setting
from ntk_corrupt import ensembles, probes, rbm, rbm_classifiers
from ntk_corrupt.results import Cell, Row
from theory.corrupted import stream
from theory.errors import InputError, unknown

_OF_MACHINES = ("components", "rbm_rate", "rbm_batch", "rbm_epochs")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RbmSettings(_settings.Settings):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.0, 0.2, 0.4, 0.6, 0.8, 0.9),
        "corruption levels; of clipped_additive the widths sigma",
    )
    methods: tuple[str, ...] = setting(METHODS, f"any of {', '.join(METHODS)}")
    repeats: int = setting(5, "of everything, each with training images of its own")
    trials: int = setting(5, "corruptions of the test images")
    components: int = setting(64, "hidden units of a machine")
    rbm_rate: float = setting(0.05, "learning rate of a machine")
    rbm_batch: int = setting(20, "images per update of a machine, and chains")
    rbm_epochs: int = setting(30, "epochs to train a machine")
    cd_steps: int = setting(1, "k of CD-k, for rbm_cd")
    normalise: str = setting("unit", "pixel scale: unit, or binary")
    noise: str = setting(
        "uniform(0,1)",
        f"law of a noise pixel, in [0, 1]: {', '.join(_settings.NOISES)}",
    )
    activation: str = setting("relu", "of the network, e.g. erf, relu, tanh, gelu")
    depth: int = setting(2, "weight layers of the network; 2 is one hidden layer")
    w_var: float = setting(2.0, "weight variance times fan-in")
    width: int = setting(128, "units of each hidden layer of the network")
    loss: str = setting("cross_entropy", "mse, cross_entropy, softmax_mse")
    batch_size: int = setting(128, "training images per step of the network")
    epochs: int = setting(20, "epochs to train the network")
    stop_loss: float | None = setting(None, "training loss to stop at; none trains all")


PRESETS = {
    "smoke": {
        "n_train": 100,
        "n_test": 100,
        "p": (0.0, 0.6, 0.9),
        "repeats": 3,
        "trials": 2,
        "components": 16,
        "rbm_epochs": 3,
        "width": 16,
        "epochs": 3,
    },
    "cpu": {},
    # scripts of github.com/AsadullahBhuiyan/noisy_neural_networks
    "paper": {
        "dataset": "mnist",
        "n_train": 54_120,
        "p": tuple(round(0.8 + 0.01 * k, 2) for k in range(21)),
        "repeats": 100,
        "trials": 100,
        "components": 256,
        "rbm_rate": 0.01,
        "rbm_batch": 128,
        "rbm_epochs": 20,
    },
}


def _machine(config: RbmSettings) -> rbm_classifiers.RbmConfig:
    return rbm_classifiers.RbmConfig(
        components=config.components,
        k=config.cd_steps,
        learning_rate=config.rbm_rate,
        batch_size=config.rbm_batch,
        epochs=config.rbm_epochs,
    )


def check(config: RbmSettings) -> None:
    """Raises `InputError` on bad settings."""
    for method in config.methods:
        if method not in METHODS:
            raise unknown("--methods", method, METHODS)
    for name in ("repeats", "trials", "components", "rbm_batch", "rbm_epochs"):
        _at_least_one(name, getattr(config, name))
    _at_least_one("cd_steps", config.cd_steps)
    if not config.rbm_rate > 0:
        raise InputError(f"`--rbm_rate` must be positive, got {config.rbm_rate}.")
    if len(set(config.p)) < len(config.p):
        raise InputError(f"`--p` must be different levels, got {config.p}.")
    if config.noise_regime != "frozen":
        raise InputError(
            "`--noise_regime` must be frozen, one corrupted copy for all methods, got "
            f"{config.noise_regime}."
        )
    _settings.check(config, config.p)
    images = _settings.problem(config, 0).x_train[:20]
    worst = _settings.corruption(config, max(config.p))
    rbm.check_pixels(theory.corrupt(worst, jax.random.key(0), 0, images))


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise InputError(f"`--{name}` must be at least 1, got {value}.")


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
        return (*_settings.of_network(config), "trials")
    own = _OF_MACHINES if method in MACHINES else ()
    steps = ("cd_steps",) if method == "rbm_cd" else ()
    return (*_settings.DATA, "trials", *own, *steps)


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
    config = _settings.settled(config, cell)
    problem = _settings.problem(config, asked["repeat"]).astype(jnp.float32)
    key = _settings.corruption_key(config, asked["repeat"])
    tests = [_settings.corruption(config, p) for p in asked["p_test"]]
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
    noise = _settings.corruption(config, asked["p"])
    images = np.asarray(_corrupt(noise, key, 0, problem.x_train))
    seed = jax.random.bits(stream(key, asked["method"]), (), jnp.uint32)
    fitted = rbm_classifiers.features_and_classifier(
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
        machine = rbm_classifiers.machine(fitted["rbm"])
        likelihood = np.array([rbm.followed(machine, jnp.asarray(images))])
    return accuracy(problem.x_test), np.array(corrupted), likelihood


def _network(config, asked, problem, key, tests):
    probe = probes.Accuracies(
        noise=jax.tree.map(lambda *levels: jnp.stack(levels), *tests),
        key=stream(key, "test"),
        x=problem.x_test,
        labels=problem.labels_test,
        trials=config.trials,
        name="corrupted",
    )
    nets = ensembles.measure(
        Centred(_settings.network(config, problem.num_classes)),
        _settings.corruption(config, asked["p"]),
        problem,
        draws=1,
        inits=1,
        key=key,
        config=_settings.training(config),
        probes=(probe,),
    )
    clean = nets.accuracy(problem.labels_test, inits=1)
    return clean, np.asarray(nets.diagnostics["corrupted"][0, 0]), np.zeros(0)


def estimate(config: RbmSettings, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    method, images = cell.settings["method"], config.n_train
    if method == "mlp":
        return 1 + config.epochs * images * config.width * 1e-7
    if method in MACHINES:
        return 1 + config.rbm_epochs * images * config.components * 1e-6
    return 1 + images * 2e-3 * (method == "raw")


EXPERIMENT = _runner.Experiment(
    name="rbm",
    config=RbmSettings,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=table,
    figure=figure,
    estimate=estimate,
)


if __name__ == "__main__":
    _runner.main(EXPERIMENT)
