"""Convolutional networks beside perceptrons: one builder, from the settings of both."""

import dataclasses
import math

from flax import linen as nn

import theory
from experiments.harness.flags import setting
from experiments.shared import settings as shared_settings
from ntk_corrupt.networks import cnn
from theory.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convolutional:
    """Settings of convolutional networks: a mix-in, before the settings of a script."""

    channels: tuple[int, ...] = setting((16, 32), "of each convolution", distinct=False)
    dense: int = setting(128, "units of the hidden layer after the convolutions")


def network(config, model: str, problem: theory.Problem) -> nn.Module:
    """Returns the network that is trained: "mlp", or "cnn" for `Convolutional`."""
    if model == "mlp":
        return shared_settings.network(config, problem.num_classes)
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


def check_biases(config: shared_settings.Settings) -> None:
    """Raises `InputError` without biases, which convolutions have."""
    if not config.biases:
        raise InputError("`--biases` must be left on: convolutions have biases.")


def check_images(config: shared_settings.Settings, problem: theory.Problem) -> None:
    """Raises `InputError` on images, or settings, of no convolutional network."""
    pixels = problem.x_train.shape[1]
    if math.isqrt(pixels) ** 2 != pixels:
        raise InputError(
            "`--dataset` must hold square images of one channel, got "
            f"{config.dataset} of {pixels} pixels."
        )
    network(config, "cnn", problem)
