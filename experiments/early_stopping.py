"""Do networks that are stopped early ignore wrong labels?

A share of the training labels is wrong, and as many of those that decide when to stop.
Accuracy over epochs on noisy and true training labels, on noisy validation labels and
on test images; rules that stop, against the oracle; what losses tell about wrong labels
at the stop and at the end; how far the parameters move. Beside the networks, kernel
regression of infinite width on the same labels, over its training time.

    python -m experiments.early_stopping --workdir=results/early_stopping
    python -m experiments.early_stopping --preset=cnn --workdir=results/stopping_cnn
"""

import dataclasses
import itertools
import math

import numpy as np
from flax import linen as nn

import theory
from experiments import _label_images, _runner, _settings
from experiments import _stopping_paths as paths
from experiments._runner import setting
from experiments._stopping_figure import figure
from experiments._stopping_report import table
from ntk_corrupt import cnn, label_noise, training
from ntk_corrupt.results import Cell, Row
from theory.errors import InputError, unknown

MODELS = ("mlp", "cnn", "kernel")
_LEFT_OUT = ("loss", "corruption", "noise", "noise_regime", "stop_loss")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyStopping(_settings.Settings):
    """Settings of the experiment; width and depth are those of perceptrons."""

    shares: tuple[float, ...] = setting(
        (0.0, 0.25, 0.5, 0.75), "of the labels that are replaced, rising"
    )
    mode: str = setting(
        "uniform", f"what replaces a label: {', '.join(label_noise.MODES)}"
    )
    models: tuple[str, ...] = setting(("mlp", "kernel"), f"of {', '.join(MODELS)}")
    losses: tuple[str, ...] = setting(("cross_entropy",), "training losses")
    loss: str = setting("", "left out: see --losses")
    repeats: int = setting(3, "each with images, labels and networks of its own")
    n_train: int = setting(800, "training images, balanced over classes")
    n_valid: int = setting(200, "images whose noisy labels decide when to stop")
    normalise: str = setting("unit", "pixel scale")
    activation: str = setting("relu", "between layers, e.g. erf, relu, tanh, gelu")
    w_var: float = setting(2.0, "weight variance times fan-in")
    channels: tuple[int, ...] = setting((16, 32), "of each convolution")
    dense: int = setting(128, "units of the hidden layer after the convolutions")
    batch_size: int = setting(100, "training images per step")
    epochs: int = setting(150, "epochs to train")
    stop_loss: float | None = setting(None, "left out: the whole path is recorded")


PRESETS = {
    "smoke": {
        "shares": (0.0, 0.5),
        "repeats": 2,
        "n_train": 100,
        "n_valid": 40,
        "n_test": 100,
        "width": 16,
        "batch_size": 20,
        "learning_rate": 0.01,
        "epochs": 10,
    },
    "cpu": {},
    "mnist": {"dataset": "mnist", "n_train": 4000, "n_valid": 1000, "epochs": 50},
    "cnn": {
        "models": ("cnn",),
        "losses": ("cross_entropy", "mse"),
        "shares": (0.0, 0.3, 0.5),
        "epochs": 200,
    },
    # Arxiv:1903.11680, section 5, has convolutions of 64 and 128 channels without
    # padding or pooling between them (4.8 million weights; here there is pooling after
    # each, 1.7 million), 50 000 unbalanced images and Adadelta.
    "paper": {
        "dataset": "mnist",
        "models": ("cnn",),
        "shares": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "n_train": 44_120,
        "n_valid": 10_000,
        "channels": (64, 128),
        "dense": 256,
        "batch_size": 128,
        "epochs": 200,
        "repeats": 1,
    },
}


def network(config: EarlyStopping, model: str, problem: theory.Problem) -> nn.Module:
    """Returns the network that is trained."""
    if model == "mlp":
        return _settings.network(config, problem.num_classes)
    return cnn.cnn(
        math.isqrt(problem.x_train.shape[1]),
        problem.num_classes,
        channels=tuple(config.channels),
        dense=config.dense,
        activation=config.activation,
        w_var=config.w_var,
        b_var=config.b_var,
        parametrisation=config.parametrisation,
    )


def check(config: EarlyStopping) -> None:
    """Raises `InputError` on bad settings."""
    plain = EarlyStopping()
    for name in _LEFT_OUT:
        if getattr(config, name) != getattr(plain, name):
            raise InputError(f"`--{name}` must be left out here.")
    for name, valid in (("models", MODELS), ("losses", training.LOSSES)):
        asked = getattr(config, name)
        for each in asked:
            if each not in valid:
                raise unknown(f"--{name}", each, valid)
        if not asked or len(set(asked)) < len(asked):
            raise InputError(f"`--{name}` must be different ones, got {asked}.")
    if config.mode not in label_noise.MODES:
        raise unknown("--mode", config.mode, label_noise.MODES)
    shares = config.shares
    if not shares or list(shares) != sorted(set(shares)):
        raise InputError(f"`--shares` must be rising numbers, got {shares}.")
    if not 0 <= shares[0] <= shares[-1] <= 1:
        raise InputError(f"`--shares` must be in [0, 1], got {shares}.")
    for name in ("n_train", "n_valid", "repeats", "epochs"):
        if getattr(config, name) < 1:
            raise InputError(
                f"`--{name}` must be at least 1, got {getattr(config, name)}."
            )
    pool = _label_images.pool(config, config.n_valid)
    for loss in config.losses:
        _settings.check(dataclasses.replace(pool, loss=loss), (0.0,))
    if "cnn" not in config.models:
        return
    if not config.biases:
        raise InputError("`--biases` must be left on: convolutions have biases.")
    problem = _settings.problem(pool, 0)
    pixels = problem.x_train.shape[1]
    if math.isqrt(pixels) ** 2 != pixels:
        raise InputError(
            "`--dataset` must hold square images of one channel, got "
            f"{config.dataset} of {pixels} pixels."
        )
    network(config, "cnn", problem)


def cells(config: EarlyStopping) -> list[Cell]:
    """One cell per model, loss, share and repeat."""
    found = []
    for model in config.models:
        losses = ("",) if model == "kernel" else config.losses
        asked = itertools.product(losses, config.shares, range(config.repeats))
        found += [_cell(config, model, *each) for each in asked]
    return found


def _cell(
    config: EarlyStopping, model: str, loss: str, share: float, repeat: int
) -> Cell:
    config = dataclasses.replace(config, loss=loss)
    of = _settings.of_kernel if model == "kernel" else _settings.of_network
    names = [*of(config), "n_valid", "mode"]
    if model == "cnn":
        names = [name for name in names if name not in ("depth", "width", "biases")]
        names += ["channels", "dense"]
    settings = {name: getattr(config, name) for name in names}
    return Cell({"model": model, "share": share, "repeat": repeat, **settings})


def compute(config: EarlyStopping, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: a path, and what there is at its stop and at its end."""
    settled = _settings.settled(config, cell)
    model, repeat = cell.settings["model"], cell.settings["repeat"]
    found = _label_images.images(
        settled,
        n_valid=settled.n_valid,
        share=cell.settings["share"],
        mode=settled.mode,
        repeat=repeat,
    )
    key = _settings.corruption_key(settled, repeat)
    if model == "kernel":
        return paths.of_kernel(_settings.architecture(settled), found, key)
    return paths.of_network(
        network(settled, model, found.problem), _settings.training(settled), found, key
    )


def estimate(config: EarlyStopping, cell: Cell) -> float:
    """Returns a rough number of seconds on one core."""
    settled = _settings.settled(config, cell)
    problem = _settings.problem(_label_images.pool(settled, settled.n_valid), 0)
    n, pixels = settled.n_train, problem.x_train.shape[1]
    points = n + settled.n_valid + len(problem.labels_test)
    if cell.settings["model"] == "kernel":
        return 1 + (12 * n**3 + 2 * points * n**2) * 2e-11
    weights = pixels * settled.width + (settled.depth - 2) * settled.width**2
    if cell.settings["model"] == "cnn":
        side, before, weights = math.isqrt(pixels), 1, 0
        for number, channels in enumerate(settled.channels):
            weights += 5 * (side // 2**number) ** 2 * 9 * before * channels
            before = channels
    return 2 + settled.epochs * (6 * n + 2 * points) * weights * 4e-11


EXPERIMENT = _runner.Experiment(
    name="early_stopping",
    config=EarlyStopping,
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
