"""When to stop training on wrong labels: from a recorded path, an epoch.

A path holds one number per epoch, the first from before training; rules return
positions in it. All but `oracle` need nothing that is not there in practice.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from theory.errors import InputError
from theory.numerics import doors
from theory.numerics.signatures import checked


@checked
def noisy_validation(accuracy: ArrayLike, *, patience: int | None = None) -> int:
    """Returns the first epoch of highest accuracy on images held out.

    Their labels may be as wrong as those trained on: noise that does not depend on the
    image lowers all accuracies alike, and leaves the best one where it is.

    Args:
        accuracy: (epochs + 1,), by the noisy labels.
        patience: training ends after so many epochs without a new best; None looks at
            the whole path.

    Raises:
        InputError: on an empty path, one that is not finite, or no patience.
    """
    accuracy = _path("accuracy", accuracy)
    if patience is None:
        return int(accuracy.argmax())
    if patience < 1:
        raise InputError(f"`patience` must be at least 1, got {patience}.")
    epochs = np.arange(len(accuracy))
    # the last epoch at which there was a new best, as seen from each epoch
    best = np.maximum.accumulate(accuracy)
    rises = np.concatenate([[True], best[1:] > best[:-1]])
    since = np.maximum.accumulate(np.where(rises, epochs, 0))
    ended = np.flatnonzero(epochs - since >= patience)
    return int(since[ended[0]] if ended.size else since[-1])


@checked
def oracle(accuracy: ArrayLike) -> int:
    """Returns the first epoch of highest accuracy by true labels: no rule beats it."""
    return int(_path("accuracy", accuracy).argmax())


@checked
def loss_gap(
    train_loss: ArrayLike, valid_loss: ArrayLike, *, tolerance: float = 0.1
) -> int:
    """Returns the last epoch before the losses part.

    While a network learns what the images share, both losses fall together; wrong
    labels that it learns by heart lower that of training alone.

    Args:
        train_loss: (epochs + 1,), on the noisy labels.
        valid_loss: the same, of images held out.
        tolerance: of the gap, as a share of the validation loss.

    Raises:
        InputError: on paths that are empty, not finite or of different lengths, and
            unless the tolerance is positive.
    """
    train = _path("train_loss", train_loss)
    valid = _path("valid_loss", valid_loss)
    if len(train) != len(valid):
        raise InputError(
            f"`valid_loss` must have length {len(train)} to match `train_loss`, got "
            f"{len(valid)}."
        )
    if not 0 < tolerance < math.inf:
        raise InputError(f"`tolerance` must be positive and finite, got {tolerance}.")
    return _last_before(valid - train > tolerance * valid)


@checked
def distance_budget(distance: ArrayLike, budget: float) -> int:
    """Returns the last epoch before the network is too far from its initialisation.

    Fitting wrong labels takes parameters far from where they started (Li,
    Soltanolkotabi & Oymak 2020, arXiv:1903.11680, theorem 2.3).

    Args:
        distance: (epochs + 1,), relative as of `trajectories.relative_distance`.
        budget: the distance that is allowed.

    Raises:
        InputError: on an empty path, one that is not finite, or no budget.
    """
    if not budget > 0:
        raise InputError(f"`budget` must be positive, got {budget}.")
    return _last_before(_path("distance", distance) > budget)


def _last_before(exceeded: np.ndarray) -> int:
    if not exceeded.any():
        return len(exceeded) - 1
    return max(0, int(exceeded.argmax()) - 1)


def _path(name: str, values: ArrayLike) -> np.ndarray:
    path = doors.host(name, values)
    if path.ndim != 1 or not path.size or not np.isfinite(path).all():
        raise InputError(
            f"`{name}` must be a finite number for every epoch, got shape "
            f"{path.shape} with {(~np.isfinite(path)).sum()} that are not finite."
        )
    return path
