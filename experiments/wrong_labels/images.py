"""Images whose labels are wrong in part, and others held out to stop by."""

import dataclasses
from typing import NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import theory
from experiments.harness.flags import fixed, setting
from experiments.shared import settings as shared_settings
from ntk_corrupt.label_noise import labels
from theory.keys import stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class CleanImages(shared_settings.Settings):
    """Settings of networks on images that are clean, and trained for all epochs."""

    n_train: int = setting(800, "training images, balanced over classes")
    normalise: str = setting("unit", "pixel scale")
    activation: str = setting("relu", "between layers, e.g. erf, relu, tanh, gelu")
    w_var: float = setting(2.0, "weight variance times fan-in")
    corruption: str = fixed("replacement")
    noise: str = fixed("uniform(-1.7320508,1.7320508)")
    noise_regime: str = fixed("frozen")
    stop_loss: float | None = fixed(None)


S = TypeVar("S", bound=CleanImages)


class LabelledImages(NamedTuple):
    """What one repeat trains on and is judged by.

    Attributes:
        problem: training images with noisy labels, test images with true ones.
        truth: true labels of the training images.
        x_valid: images held out of training.
        labels_valid: their noisy labels.
    """

    problem: theory.Problem
    truth: Array
    x_valid: Array
    labels_valid: Array

    @property
    def x(self) -> Array:
        """Training, validation and test images."""
        return jnp.concatenate(
            [self.problem.x_train, self.x_valid, self.problem.x_test]
        )

    @property
    def labels(self) -> Array:
        """What is known of them: noisy, noisy and true labels."""
        problem = self.problem
        return jnp.concatenate(
            [problem.labels_train, self.labels_valid, problem.labels_test]
        )

    @property
    def wrong(self) -> np.ndarray:
        """Which training labels are wrong."""
        return np.asarray(self.problem.labels_train != self.truth)

    def accuracies(self, predicted: np.ndarray) -> dict[str, np.ndarray]:
        """Returns accuracies over steps, of classes (steps, points of `x`).

        By the noisy training labels, the true ones, the noisy validation labels and on
        the test images.
        """
        n = len(self.truth)
        parts = np.split(
            predicted == np.asarray(self.labels)[None], [n, n + self._m], 1
        )
        noisy, valid, test = (part.mean(axis=1) for part in parts)
        truth = (predicted[:, :n] == np.asarray(self.truth)[None]).mean(axis=1)
        return {"noisy": noisy, "truth": truth, "valid": valid, "test": test}

    @property
    def _m(self) -> int:
        return len(self.labels_valid)


def pool(settings: S, n_valid: int) -> S:
    """Returns the settings that training and held-out images are loaded with."""
    return dataclasses.replace(settings, n_train=settings.n_train + n_valid)


def images(
    settings: CleanImages,
    *,
    n_valid: int,
    share: float,
    mode: str,
    repeat: int,
) -> LabelledImages:
    """Returns the images of a repeat, the same ones for all shares."""
    # any head of a balanced subset is one
    loaded, n = (
        shared_settings.problem(pool(settings, n_valid), repeat),
        settings.n_train,
    )
    key = shared_settings.corruption_key(settings, repeat)

    def noisy(part: slice, key: Array) -> Array:
        return labels.corrupt_labels(
            loaded.labels_train[part],
            share,
            loaded.num_classes,
            mode=mode,
            key=key,
            x=loaded.x_train[part],
        )

    return LabelledImages(
        problem=dataclasses.replace(
            loaded, x_train=loaded.x_train[:n], labels_train=noisy(slice(n), key)
        ),
        truth=loaded.labels_train[:n],
        x_valid=loaded.x_train[n:],
        labels_valid=noisy(slice(n, None), stream(key, "validation")),
    )
