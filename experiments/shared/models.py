"""Convolutional networks beside perceptrons: one builder, from the settings of both."""

import dataclasses
import math
from typing import Any

from flax import linen as nn

import theory
from experiments.harness.flags import setting
from experiments.shared import settings as shared_settings
from ntk_corrupt.networks import cnn, resnet
from theory.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convolutional:
    """Settings of convolutional networks: a mix-in, before the settings of a script."""

    channels: tuple[int, ...] = setting((16, 32), "of each convolution", distinct=False)
    dense: int = setting(128, "units of the hidden layer after the convolutions")


# Convolutional networks whose sizes are their own: of the sources.
FIXED: dict[str, dict[str, Any]] = {
    # of arXiv:1903.11680, Fig. 1: four layers
    "four_layers": {"channels": (64, 128), "dense": 256, "padding": "valid",
                    "pooling": "last"},
    "lenet": {"channels": (6, 16), "dense": (120, 84), "size": 5, "padding": "valid"},
}  # fmt: skip


def network(config, model: str, problem: theory.Problem) -> nn.Module:
    """Returns the network that is trained.

    "mlp"; for `Convolutional` "cnn", a name of `FIXED`, or "resnet" for images of one
    or three channels.
    """
    if model == "mlp":
        return shared_settings.network(config, problem.num_classes)
    pixels = problem.x_train.shape[1]
    common: dict[str, Any] = {
        name: getattr(config, name)
        for name in ("activation", "w_var", "b_var", "parametrisation")
    }
    if model == "resnet":
        colours = 1 if _is_square(pixels) else 3
        side = math.isqrt(pixels // colours)
        return resnet.resnet(
            (side, side, colours),
            problem.num_classes,
            blocks=tuple(config.blocks),
            channels=config.channels[0],
            **common,
        )
    own = {"channels": tuple(config.channels), "dense": config.dense}
    sizes: dict[str, Any] = FIXED.get(model, own)
    return cnn.cnn(math.isqrt(pixels), problem.num_classes, **sizes, **common)


def _is_square(pixels: int) -> bool:
    """Whether so many pixels are those of a square image of one channel."""
    return math.isqrt(pixels) ** 2 == pixels


def check_biases(config: shared_settings.Settings) -> None:
    """Raises `InputError` without biases, which convolutions have."""
    if not config.biases:
        raise InputError("`--biases` must be left on: convolutions have biases.")


def check_images(
    config: shared_settings.Settings, problem: theory.Problem, model: str = "cnn"
) -> None:
    """Raises `InputError` on images, or settings, of no convolutional network."""
    pixels = problem.x_train.shape[1]
    colours = model == "resnet" and pixels % 3 == 0 and _is_square(pixels // 3)
    if not (colours or _is_square(pixels)):
        raise InputError(
            "`--dataset` must hold square images of one channel, got "
            f"{config.dataset} of {pixels} pixels."
        )
    network(config, model, problem)
