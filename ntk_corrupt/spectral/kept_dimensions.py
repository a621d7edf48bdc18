"""Which numbers of components to keep, and which is best."""

import numpy as np
from jaxtyping import Array, Int

from ntk_corrupt.spectral.truncation import SpectralTruncation
from theory.errors import InputError
from theory.numerics.signatures import checked


@checked
def accuracy(
    decisions: Int[Array | np.ndarray, "*d n"],
    labels: Int[Array, " n"],
    among: Array | np.ndarray | None = None,
) -> np.ndarray:
    """Share of decisions that are the labels, at every d; NaN if it is of no point.

    Args:
        decisions: classes, for example at every d.
        labels: classes.
        among: which points count, (n,) booleans; None is all.
    """
    if np.shape(decisions)[-1:] != np.shape(labels):
        raise InputError(
            f"`labels` must have one entry per decision, {np.shape(decisions)[-1:]}, "
            f"got {np.shape(labels)}."
        )
    right = np.asarray(decisions) == np.asarray(labels)
    if among is not None:
        right = right[..., np.asarray(among)]
    if right.shape[-1] == 0:
        return np.full(right.shape[:-1], np.nan)
    return np.asarray(right.mean(axis=-1))


@checked
def best_dimension(accuracies: np.ndarray) -> int:
    """The smallest d >= 1 of highest accuracy; `accuracies` begin at d = 0."""
    return 1 + int(np.argmax(accuracies[1:]))


@checked
def dimensions(
    truncation: SpectralTruncation, validation: np.ndarray, num_classes: int
) -> dict[str, int]:
    """Dimensions that need no clean label: by validation, classes, effective rank.

    Args:
        truncation: of the training features.
        validation: accuracies on held-out noisy labels at d = 0 ... r.
        num_classes: how many classes there are.

    Returns:
        d by rule, each in 1 ... rank (1 if the rank is 0).
    """
    most = max(1, int(truncation.rank))
    effective = max(1, round(float(truncation.effective_rank)))
    return {
        "validation": min(best_dimension(validation), most),
        "classes": min(num_classes, most),
        "effective_rank": min(effective, most),
    }
