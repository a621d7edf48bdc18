"""Cells of spectral truncation: what each computes, and its cost."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array

from experiments.harness.flags import fixed, setting
from experiments.harness.run_directory import Cell, Row
from experiments.shared import settings
from experiments.wrong_labels.images import CleanImages
from experiments.wrong_labels.spectral.snapshots import Subsets, choices, look, together
from ntk_corrupt.label_noise.labels import MODES, corrupt_labels
from ntk_corrupt.training import trajectories
from theory.errors import InputError, unknown

# Settings that decide nothing here: images stay clean, and all epochs are trained.
_UNUSED = ("corruption", "noise", "noise_regime", "stop_loss")
_PER_CELL = (
    *(name for name in settings.DATA if name not in _UNUSED),
    *settings.ARCHITECTURE,
    *(name for name in settings.TRAINING if name not in _UNUSED),
    *("n_val", "snapshots", "draws", "ridge"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truncations(CleanImages):
    """Settings of the experiment; images stay clean, labels do not."""

    rho: tuple[float, ...] = setting((0.0, 0.2, 0.4, 0.6), "shares of wrong labels")
    label_noise: tuple[str, ...] = setting(
        ("flip", "next", "nearest"),
        f"what replaces a label, of {', '.join(MODES)}; the first at every --rho, the "
        "others at --contrast_rho",
    )
    contrast_rho: tuple[float, ...] = setting(
        (0.4,), "shares of the other models of noise, and with weight decay"
    )
    weight_decay: tuple[float, ...] = setting(
        (0.0, 1.0), "AdamW's, against the first noise; 0 is none, and always there"
    )
    sgd_rate: float | None = setting(
        0.1,
        "learning rate of SGD beside the --optimiser, at --contrast_rho; none: no SGD",
        above=0,
    )
    repeats: int = setting(
        3, "networks of each, with images and noise of their own", most=10_000
    )
    n_val: int = setting(300, "held-out images, with labels as noisy as the others'")
    snapshots: tuple[int, ...] = setting(
        (0, 1, 2, 3, 5, 10, 20, 30),
        "epochs at which all d are looked at, beside the last",
        least=0,
    )
    draws: int = setting(20, "random subspaces")
    ridge: float = setting(
        1e-3, "of the probes, over the variance of a feature", above=0
    )
    loss: str = setting("cross_entropy", "mse, cross_entropy, softmax_mse")
    batch_size: int = setting(20, "training images per step")
    epochs: int = setting(60, "epochs to train")
    rates: str = fixed("ntk")
    precision: str | None = fixed(None)


def images(config: Truncations, mode: str, rho: float, repeat: int) -> Subsets:
    """Returns the images and labels of a repeat: validation is as noisy as training."""
    n, total = config.n_train, config.n_train + config.n_val
    drawn = dataclasses.replace(config, n_train=total)
    problem = settings.problem(drawn, repeat).astype(jnp.float32)
    labels, x = problem.labels_train, problem.x_train
    noisy = corrupt_labels(
        labels,
        rho,
        problem.num_classes,
        mode=mode,
        key=settings.corruption_key(config, repeat),
        x=x,
        groups=(jnp.arange(total) >= n).astype(int),  # each loses the same share
    )
    return Subsets(
        x=x[:n],
        true=labels[:n],
        noisy=noisy[:n],
        validation=(x[n:], noisy[n:]),
        test=(problem.x_test, problem.labels_test),
        classes=problem.num_classes,
    )


def check(config: Truncations) -> None:
    """Raises `InputError` on bad settings."""
    for name in ("repeats", "n_val", "draws", "epochs"):
        if getattr(config, name) < 1:
            raise InputError(
                f"`--{name}` must be at least 1, got {getattr(config, name)}."
            )
    if not config.label_noise or len(set(config.label_noise)) < len(config.label_noise):
        raise InputError(
            f"`--label_noise` must be different models, got {config.label_noise}."
        )
    for mode in config.label_noise:
        if mode not in MODES:
            raise unknown("--label_noise", mode, MODES)
    for name in ("rho", "contrast_rho"):
        shares = getattr(config, name)
        if not all(0 <= share < 1 for share in shares) or not config.rho:
            raise InputError(f"`--{name}` must be shares in [0, 1), got {shares}.")
    if not all(decay >= 0 for decay in config.weight_decay):
        raise InputError(
            f"`--weight_decay` must not be negative, got {config.weight_decay}."
        )
    if any(config.weight_decay) and config.optimiser != "adam":
        raise InputError(
            "`--weight_decay` must be 0 unless the --optimiser is adam, got "
            f"{config.weight_decay}."
        )
    if not all(0 <= epoch <= config.epochs for epoch in config.snapshots):
        raise InputError(
            f"`--snapshots` must be in 0 ... {config.epochs}, the --epochs, got "
            f"{config.snapshots}."
        )
    if config.depth < 2:
        raise InputError(f"`--depth` must be at least 2, got {config.depth}.")
    total = config.n_train + config.n_val
    settings.check(dataclasses.replace(config, n_train=total), (0.0,))


def cells(config: Truncations) -> list[Cell]:
    """One cell per noise, share, weight decay or optimiser, and repeat."""
    first, *others = config.label_noise
    arms = [(first, rho, 0.0) for rho in config.rho]
    arms += [(mode, rho, 0.0) for mode in others for rho in config.contrast_rho]
    arms += [
        (first, rho, decay)
        for decay in config.weight_decay
        for rho in config.contrast_rho
        if decay
    ]
    settings = dataclasses.asdict(config)
    common = {name: settings[name] for name in _PER_CELL}
    common["snapshots"] = sorted({0, *config.snapshots, config.epochs})
    each = [
        {**common, "mode": mode, "rho": rho, "decay": decay}
        for mode, rho, decay in arms
    ]
    if config.sgd_rate is not None and config.optimiser != "sgd":
        other = {"optimiser": "sgd", "learning_rate": config.sgd_rate}
        each += [
            {**common, **other, "mode": first, "rho": rho, "decay": 0.0}
            for rho in config.contrast_rho
        ]
    return [
        Cell({**asked, "repeat": repeat})
        for asked in each
        for repeat in range(config.repeats)
    ]


@functools.partial(jax.jit, static_argnames="model")
def _accuracy(model: nn.Module, params: Any, x: Array, labels: Array) -> Array:
    outputs: Any = model.apply(params, x)
    return (outputs.argmax(axis=-1) == labels).mean()


def compute(config: Truncations, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: numbers of one network, and curves over d and epochs."""
    settled, chosen = settings.settled(config, cell), cell.settings
    seen = images(settled, chosen["mode"], chosen["rho"], chosen["repeat"])
    key = settings.corruption_key(settled, chosen["repeat"])
    model = settings.network(settled, seen.classes)
    how = settings.training(settled)
    if chosen["decay"]:
        how = dataclasses.replace(how, optimiser="adamw", weight_decay=chosen["decay"])
    curves: dict[str, list[float]] = {"test": [], "validation": [], "loss": []}
    looked: list[dict[str, Any]] = []
    for snapshot in trajectories.walk(model, how, seen.x, seen.noisy, key=key):
        params = snapshot.params
        curves["test"].append(float(_accuracy(model, params, *seen.test)))
        curves["validation"].append(float(_accuracy(model, params, *seen.validation)))
        if snapshot.loss is not None:
            curves["loss"].append(float(snapshot.loss))
        if snapshot.epoch in chosen["snapshots"]:
            end = {0: "start", settled.epochs: "end"}.get(snapshot.epoch)
            looked.append(
                look(
                    model,
                    params,
                    seen,
                    ridge=settled.ridge,
                    draws=settled.draws,
                    key=key,
                    end=end,
                )
            )
    arrays = {name: np.asarray(values) for name, values in curves.items()}
    arrays |= together(looked)
    row = {"classes": seen.classes, **choices(arrays, seen.classes)}
    return row, arrays


def estimate(config: Truncations, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    settled = settings.settled(config, cell)
    weights = 784 * settled.width + (settled.depth - 1) * settled.width**2
    images = settled.epochs * settled.n_train
    looks = len(cell.settings["snapshots"]) + settled.draws / 4
    return 2 + images * 6 * weights * 3e-11 + looks * (settled.width / 512) ** 2
