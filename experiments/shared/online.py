"""The law of networks that see every corrupted image once, at their rates and steps."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

import theory
from experiments.shared import settings
from theory.errors import InputError
from theory.linearised.image_moments import image_moments

# What decides the law, beside the data and the architecture.
SETTINGS = (
    *("width", "parametrisation", "biases"),
    *("optimiser", "learning_rate", "batch_size", "epochs"),
)
# Gradient descent, or what goes along its flow in many small steps.
_OPTIMISERS = ("adam", "sgd", "gd", "momentum")


def check(config: Any) -> None:
    """Raises `InputError` on networks that the law does not know."""
    for name, value, wanted in (
        ("noise_regime", config.noise_regime, "fresh"),
        ("loss", config.loss, "mse"),
        ("stop_loss", config.stop_loss, None),
    ):
        if value != wanted:
            raise InputError(
                f"`--{name}` must be {str(wanted).lower()} for --routes=online, the "
                f"law of networks that see other noise in each epoch, got {value}."
            )
    if config.optimiser not in _OPTIMISERS or (
        config.optimiser == "adam" and config.parametrisation != "standard"
    ):
        raise InputError(
            "`--optimiser` must be sgd, gd or momentum for --routes=online, or adam "
            f"with --parametrisation=standard, got {config.optimiser}."
        )


def time(config: Any, num_classes: int) -> float:
    """Returns the gradient-flow time of training, docs/theory/training.md (D5)."""
    batch = settings.training(config).batch(config.n_train)
    steps = config.epochs * math.ceil(config.n_train / batch)
    rate = config.learning_rate
    if config.optimiser == "momentum":
        rate /= 1 - settings.training(config).momentum
    return 2 * rate * steps / (config.n_train * num_classes)


def _architecture(
    config: Any,
    corruption: theory.Corruption,
    problem: theory.Problem,
    key: jax.Array,
) -> theory.Architecture:
    """With the rates that networks are trained at; Adam's are the first draw's."""
    rates = settings.ADAM if config.optimiser == "adam" else config.parametrisation
    seen = theory.corrupt(corruption, key, 0, problem.x_train)
    return settings.architecture(
        dataclasses.replace(config, rates=rates),
        dataclasses.replace(problem, x_train=seen),
    )


def outputs(
    config: Any,
    corruption: theory.Corruption,
    problem: theory.Problem,
    key: jax.Array,
) -> theory.OutputLaw:
    """Returns the law; of images without noise the kernel, which it is then.

    Args:
        config: settings of networks, checked.
        corruption: of the training images.
        problem: the data.
        key: of the corruption.
    """
    arch = _architecture(config, corruption, problem, key)
    span = time(config, problem.num_classes)
    if not image_moments(problem.x_train, arch, corruption).var.any():
        found = theory.exact(arch, corruption, problem, draws=1, key=key, time=span)
        assert found.init_var is not None
        mean = found.outputs[0, 0]
        nothing = jnp.zeros((*mean.shape, mean.shape[1]), mean.dtype)
        return theory.OutputLaw(mean=mean, cov=nothing, init_var=found.init_var[0])
    return theory.online(arch, corruption, problem, time=span, epochs=config.epochs)
