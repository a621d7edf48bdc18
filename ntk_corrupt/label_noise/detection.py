"""Which labels are wrong, by the losses of a network: split, verdict, correction.

A network that is stopped early has larger losses on wrong labels than on right ones.
Host only; losses are (n,), one per example, labels as they were trained on.
"""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn import metrics
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from ntk_corrupt.training.config import LOSSES
from theory.errors import InputError, check_count, unknown
from theory.numerics.signatures import checked

# Least variance of a component, of losses scaled to [0, 1].
_FLOOR = 5e-4


class Detection(NamedTuple):
    """How well wrong labels are found.

    Attributes:
        precision: share of those flagged that are wrong; NaN if none is flagged.
        recall: share of the wrong ones that are flagged; NaN if none is wrong.
        auc: chance that a wrong label has a larger loss than a right one; NaN if
            all are right, or all wrong.
    """

    precision: float
    recall: float
    auc: float


@checked
def loss_of_guessing(loss: str, num_classes: int) -> float:
    """Returns the loss of giving all classes the same chance: a threshold.

    A label beyond it is less likely to the network than one drawn at random.
    """
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    check_count("num_classes", num_classes, 2)
    logits = loss in ("cross_entropy", "softmax_mse")
    outputs = jnp.full((1, num_classes), 0.0 if logits else 1 / num_classes)
    return float(jax.jit(LOSSES[loss])(outputs, jnp.zeros(1, jnp.int32))[0])


@checked
def beyond(losses: Float[np.ndarray, " n"], threshold: float) -> Bool[np.ndarray, " n"]:
    """Returns which losses are larger than a threshold."""
    _check(losses)
    return losses > threshold


@checked
def mixture(losses: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Returns the chance of each loss to be of the upper of two Gaussians.

    A mixture of two is fitted to the losses, scaled to [0, 1], as by Li, Socher & Hoi
    2020, arXiv:2002.07394. The chance rises with the loss: beyond the two means it is
    that at the means, since a wide upper Gaussian would claim the smallest losses too.
    Zero where all losses are alike. Deterministic.

    Raises:
        InputError: unless there are two losses at least, all finite.
    """
    _check(losses)
    if len(losses) < 2:
        raise InputError(f"`losses` must be at least two, got {len(losses)}.")
    low, high = losses.min(), losses.max()
    if low == high:
        return np.zeros(len(losses))
    scaled = (np.asarray(losses, float) - low) / (high - low)
    model: Any = GaussianMixture(2, reg_covar=_FLOOR, max_iter=200, random_state=0)
    with warnings.catch_warnings():
        # two piles of equal numbers: the floor of the variance is their width
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaled[:, None])
    means = model.means_[:, 0]
    inside = np.clip(scaled, means.min(), means.max())
    return model.predict_proba(inside[:, None])[:, means.argmax()]


@checked
def detection(
    losses: Float[np.ndarray, " n"],
    flagged: Bool[np.ndarray, " n"],
    wrong: Bool[np.ndarray, " n"],
) -> Detection:
    """Returns how well flags, and losses, tell wrong labels."""
    _check(losses)
    hit = float((flagged & wrong).sum())
    share = lambda of: hit / of.sum() if of.any() else np.nan
    both = wrong.any() and not wrong.all()
    auc = metrics.roc_auc_score(wrong, losses) if both else np.nan
    return Detection(float(share(flagged)), float(share(wrong)), float(auc))


@checked
def corrected(
    labels: Int[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    flagged: Bool[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
    """Returns the labels, with a network's own classes in place of those flagged."""
    return np.where(flagged, predicted, labels)


def _check(losses: np.ndarray) -> None:
    if not np.isfinite(losses).all():
        bad = int((~np.isfinite(losses)).sum())
        raise InputError(f"`losses` must be finite, got {bad} that are not.")
