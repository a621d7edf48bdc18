"""Networks trained on clean images beside corrupted ones: what both scripts share.

The training set of a cell is made once, corrupted images stay as they are. A set that
is larger takes more steps in as many epochs: `matched` is the control with the steps of
the larger set on the smaller.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import theory
from experiments import _networks, _settings
from ntk_corrupt import ensembles
from ntk_corrupt.results import Row
from theory.errors import InputError


def check(config: _networks.Networks) -> None:
    """Raises `InputError` on settings that mean nothing here."""
    for name in ("stderr", "samples"):
        if getattr(config, name) is not None:
            raise InputError(f"`--{name}` must be left out here.")
    if config.noise_regime != "frozen":
        raise InputError(
            f"`--noise_regime` must be frozen here, got {config.noise_regime}."
        )
    _networks.check(config)


def steps(config: _networks.Networks, n: int) -> int:
    """Returns the steps of an epoch over n images."""
    return -(-n // min(config.batch_size, n))


def matched(config: _networks.Networks, n: int, larger: int) -> int:
    """Epochs over n images that take the steps of `config.epochs` over `larger`."""
    return max(1, round(config.epochs * steps(config, larger) / steps(config, n)))


def images(
    config: _networks.Networks, repeat: int, p: float
) -> tuple[theory.Problem, Array]:
    """Returns the clean images of a repeat, and the training images corrupted."""
    problem = _settings.problem(config, repeat).astype(jnp.float32)
    key = _settings.corruption_key(config, repeat)
    noise = _settings.corruption(config, p)
    return problem, theory.corrupt(noise, key, 0, problem.x_train)


def accuracy(
    config: _networks.Networks,
    problem: theory.Problem,
    x: Array,
    labels: Array,
    *,
    repeat: int,
    epochs: int,
) -> float:
    """Accuracy on clean images of a network trained on `x`."""
    mixed = dataclasses.replace(problem, x_train=x, labels_train=labels)
    nets = ensembles.measure(
        _settings.network(config, problem.num_classes),
        theory.Replacement(p=0.0),  # what is corrupted already is
        mixed,
        draws=1,
        inits=1,
        key=_settings.corruption_key(config, repeat),
        config=dataclasses.replace(_settings.training(config), epochs=epochs),
    )
    return float(nets.accuracy(problem.labels_test, inits=1))


def gain(row: Row, reference: Row) -> tuple[float, float]:
    """Mean difference of accuracies, repeat by repeat, and its standard error."""
    change = np.array(row["accuracies"]) - np.array(reference["accuracies"])
    return float(change.mean()), float(theory.standard_error(change))


def text(mean: float, stderr: float) -> str:
    """A number with its error, 16 characters."""
    return f"{mean:>+9.3f} ±{stderr:.3f}"


def pick(rows: Sequence[Row], **settings) -> Row | None:
    """The row of these settings, None if there is none."""
    for row in rows:
        if all(row.get(name) == value for name, value in settings.items()):
            return row
    return None


def verdict(said: str, value: float, holds: bool) -> str:
    """One line: what is expected, what is found."""
    return f"{said}: {value:+.3f} {'holds' if holds else 'MISSED'}"
