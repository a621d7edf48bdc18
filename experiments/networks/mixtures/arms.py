"""Networks trained on clean images beside corrupted ones: what both scripts share.

The training set of a cell is made once, corrupted images stay as they are. A set that
is larger takes more steps in as many epochs: `matched` is the control with the steps of
the larger set on the smaller.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array

import theory
from experiments.harness.flags import fixed
from experiments.shared import settings, trained
from ntk_corrupt.ensembles import ensemble


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixtures(trained.Networks):
    """Settings of both scripts."""

    noise_regime: str = fixed("frozen")


def steps(config: trained.Networks, n: int) -> int:
    """Returns the steps of an epoch over n images."""
    return -(-n // min(config.batch_size, n))


def matched(config: trained.Networks, n: int, larger: int) -> int:
    """Epochs over n images that take the steps of `config.epochs` over `larger`."""
    return max(1, round(config.epochs * steps(config, larger) / steps(config, n)))


def images(
    config: trained.Networks, repeat: int, p: float
) -> tuple[theory.Problem, Array]:
    """Returns the clean images of a repeat, and the training images corrupted."""
    problem = settings.problem(config, repeat).astype(jnp.float32)
    key = settings.corruption_key(config, repeat)
    noise = settings.corruption(config, p)
    return problem, theory.corrupt(noise, key, 0, problem.x_train)


def accuracy(
    config: trained.Networks,
    problem: theory.Problem,
    x: Array,
    labels: Array,
    *,
    repeat: int,
    epochs: int,
) -> float:
    """Accuracy on clean images of a network trained on `x`."""
    mixed = dataclasses.replace(problem, x_train=x, labels_train=labels)
    nets = ensemble.measure(
        settings.network(config, problem.num_classes),
        theory.Replacement(p=0.0),  # what is corrupted already is
        mixed,
        draws=1,
        inits=1,
        key=settings.corruption_key(config, repeat),
        config=dataclasses.replace(settings.training(config), epochs=epochs),
    )
    return float(nets.accuracy(problem.labels_test, inits=1))
