"""Cells of early stopping with wrong labels: what each computes, and its cost."""

import dataclasses
import itertools
import math

import numpy as np

from experiments.harness.flags import fixed, setting
from experiments.harness.run_directory import Cell, Row
from experiments.shared import models, routes
from experiments.shared import settings as shared_settings
from experiments.wrong_labels import images
from experiments.wrong_labels.stopping import paths
from ntk_corrupt.label_noise import labels
from ntk_corrupt.training.config import LOSSES
from theory.errors import InputError, unknown

MODELS = ("mlp", "cnn", *models.FIXED, "resnet", "kernel")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyStopping(models.Convolutional, images.CleanImages):
    """Settings of the experiment; width and depth are those of perceptrons."""

    shares: tuple[float, ...] = setting(
        (0.0, 0.25, 0.5, 0.75), "of the labels that are replaced, rising"
    )
    mode: str = setting("uniform", f"what replaces a label: {', '.join(labels.MODES)}")
    models: tuple[str, ...] = setting(("mlp", "kernel"), f"of {', '.join(MODELS)}")
    losses: tuple[str, ...] = setting(("cross_entropy",), "training losses")
    loss: str = fixed("")
    repeats: int = setting(
        3, "each with images, labels and networks of its own", most=10_000
    )
    n_valid: int = setting(200, "images whose noisy labels decide when to stop")
    batch_size: int = setting(100, "training images per step")
    epochs: int = setting(150, "epochs to train")
    blocks: tuple[int, ...] = setting(
        (1, 1, 1),
        "of every stage of the resnet, of as many channels as the first",
        distinct=False,
    )
    spectrum: int = setting(
        0,
        "images of each of two classes whose Jacobian is looked at; 0 is none",
        least=0,
        most=500,
    )
    clusters: int = setting(
        0, "of the images, for the distance budget E+/beta; 0 is none", least=0
    )


def check(config: EarlyStopping) -> None:
    """Raises `InputError` on bad settings."""
    for name, valid in (("models", MODELS), ("losses", LOSSES)):
        asked = getattr(config, name)
        for each in asked:
            if each not in valid:
                raise unknown(f"--{name}", each, valid)
        if not asked or len(set(asked)) < len(asked):
            raise InputError(f"`--{name}` must be different ones, got {asked}.")
    if config.mode not in labels.MODES:
        raise unknown("--mode", config.mode, labels.MODES)
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
    pool = images.pool(config, config.n_valid)
    for loss in config.losses:
        shared_settings.check(dataclasses.replace(pool, loss=loss), (0.0,))
    if "kernel" in config.models:
        routes.check_kernel(config)
    if config.clusters > config.n_train:
        raise InputError(
            f"`--clusters` must be at most --n_train, {config.n_train}, got "
            f"{config.clusters}."
        )
    for model in set(config.models) - {"mlp", "kernel"}:
        models.check_biases(config)
        models.check_images(config, shared_settings.problem(pool, 0), model)


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
    of = shared_settings.of_kernel if model == "kernel" else shared_settings.of_network
    names = [*of(config), "n_valid", "mode"]
    if model not in ("mlp", "kernel"):
        names = [name for name in names if name not in ("depth", "width", "biases")]
        names += {"cnn": ["channels", "dense"], "resnet": ["channels", "blocks"]}.get(
            model, []
        )
    # not in the keys of runs from before there were these settings
    names += [
        name
        for name in ("spectrum", "clusters")
        if model != "kernel" and getattr(config, name)
    ]
    settings = {name: getattr(config, name) for name in names}
    return Cell({"model": model, "share": share, "repeat": repeat, **settings})


def compute(config: EarlyStopping, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: a path, and what there is at its stop and at its end."""
    settled = shared_settings.settled(config, cell)
    model, repeat = cell.settings["model"], cell.settings["repeat"]
    found = images.images(
        settled,
        n_valid=settled.n_valid,
        share=cell.settings["share"],
        mode=settled.mode,
        repeat=repeat,
    )
    key = shared_settings.corruption_key(settled, repeat)
    if model == "kernel":
        return paths.of_kernel(shared_settings.architecture(settled), found, key)
    return paths.of_network(
        models.network(settled, model, found.problem),
        shared_settings.training(settled),
        found,
        key,
        spectrum=settled.spectrum,
        clusters=settled.clusters,
    )


def estimate(config: EarlyStopping, cell: Cell) -> float:
    """Returns a rough number of seconds on one core."""
    settled = shared_settings.settled(config, cell)
    problem = shared_settings.problem(images.pool(settled, settled.n_valid), 0)
    n, pixels = settled.n_train, problem.x_train.shape[1]
    points = n + settled.n_valid + len(problem.labels_test)
    if cell.settings["model"] == "kernel":
        return 1 + (12 * n**3 + 2 * points * n**2) * 2e-11
    work = _multiplications(settled, cell.settings["model"], pixels)
    return 2 + settled.epochs * (6 * n + 2 * points) * work * 4e-11


def _multiplications(settled: EarlyStopping, model: str, pixels: int) -> float:
    """Of one image, one way through a network, each as one of a wide matrix product.

    Few channels make slow ones.
    """
    if model == "mlp":
        return pixels * settled.width + (settled.depth - 2) * settled.width**2
    if model == "resnet":
        positions, c = pixels // (3 if pixels % 3 == 0 else 1), settled.channels[0]
        # twice as many for every stage's stride, a quarter of the positions each
        stages = enumerate(settled.blocks)
        return 3 * c**2 * positions * sum((2 * b + 1) / 4**k for k, b in stages)
    fixed = models.FIXED.get(model, {})
    channels, size = fixed.get("channels", settled.channels), fixed.get("size", 3)
    side, before, work, slow = math.isqrt(pixels), 1, 0.0, 1 / 3 if fixed else 5.0
    for number, after in enumerate(channels):
        halved = number if fixed.get("pooling", "each") == "each" else 0
        work += slow * (side // 2**halved) ** 2 * size**2 * before * after
        before = after
    return work
