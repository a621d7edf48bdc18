"""Settings of `architectures`, and what of them is refused."""

import dataclasses

import theory
from experiments.harness.flags import setting
from experiments.shared import settings as shared_settings
from experiments.shared import stacks
from experiments.shared.stacks import ARCHITECTURES
from theory.activations import registry
from theory.errors import InputError, unknown
from theory.numerics import memory

PARTS = 4  # of the metric's samples, for the error of its rank
STAGES = ("kernel", "network")
# What decides the networks beside the architecture; it has biases as it has.
TRAINING = tuple(n for n in shared_settings.TRAINING if n != "biases")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architectures(shared_settings.Training, shared_settings.Corrupted):
    """Settings of the experiment."""

    architectures: tuple[str, ...] = setting(
        tuple(ARCHITECTURES), f"any of {', '.join(ARCHITECTURES)}"
    )
    stages: tuple[str, ...] = setting(
        STAGES, f"what decides beside the class means: {', '.join(STAGES)}"
    )
    n_train: int = setting(200, "training images, balanced over classes")
    n_test: int | None = setting(200, "test images, balanced; none is all")
    p: tuple[float, ...] = setting((0.3, 0.6, 0.8, 0.9, 0.95), "corruption levels")
    draws: int = setting(3, "corrupted copies of the training images per level")
    inits: int = setting(3, "networks per copy")
    samples: int = setting(200, f"pairs of noise in a metric, in {PARTS} parts")
    activation: str = setting("erf", "between layers, e.g. erf, relu, tanh, gelu")
    w_var: float = setting(1.0, "weight variance times fan-in", above=0)
    b_var: float = setting(0.0, "bias variance")
    width: int = setting(64, stacks.WIDTH)
    batch_size: int = setting(50, "training images per step")
    epochs: int = setting(200, "most epochs to train", least=0)


def images(config: Architectures) -> theory.Problem:
    """The clean images, of which every draw corrupts the training images."""
    return shared_settings.problem(config, 0)


def pixels(config: Architectures) -> int:
    """Numbers of an image."""
    return images(config).x_train.shape[1]


def check(config: Architectures) -> None:
    """Raises `InputError` on bad settings."""
    for name in config.architectures:
        if name not in ARCHITECTURES:
            raise unknown("--architectures", name, ARCHITECTURES)
    for stage in config.stages:
        if stage not in STAGES:
            raise unknown("--stages", stage, STAGES)
    if not registry.get(config.activation).trainable:
        raise InputError(
            "`--activation` must have a slope, for without there is no tangent kernel, "
            f"got {config.activation}."
        )
    if config.samples % PARTS or config.samples < 2 * PARTS:
        raise InputError(
            f"`--samples` must be a multiple of {PARTS} and at least {2 * PARTS}, got "
            f"{config.samples}."
        )
    if not shared_settings.corruption(config, config.p[0]).ends_in_noise:
        raise InputError(
            "`--corruption` must leave nothing but noise at its strongest, for that is "
            f"where the metric is taken, got {config.corruption}."
        )
    shared_settings.check_data(config, config.p)
    d = pixels(config)
    for name in config.architectures:
        stacks.check(config, name, images(config), kernel="kernel" in config.stages)
        memory.check_memory(
            8 * 6 * d**2,
            f"the metric of {name} on {d} pixels",
            "take a smaller --size",
        )
    shared_settings.training(config).check()
