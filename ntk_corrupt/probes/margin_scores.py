"""Scores that predict which images a corruption flips, and how well they did."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import special
from sklearn import metrics

from theory.errors import InputError

SCORES = ("seed", "shift", "mid")


class MeasuredMargins(NamedTuple):
    """What `Margins` found of one network, each (n,).

    Attributes:
        margin: gamma of the clean images.
        shift: mean shift of it to first order.
        var: variance of it to first order.
        mid_margin: gamma of the mean corrupted image.
        mid_var: its variance to first order.
        failure: share of fresh corruptions with a negative margin.
        mid_curvature: what curvature adds to the mean of the margin, None if unknown.
    """

    margin: np.ndarray
    shift: np.ndarray
    var: np.ndarray
    mid_margin: np.ndarray
    mid_var: np.ndarray
    failure: np.ndarray
    mid_curvature: np.ndarray | None = None

    def scores(self) -> dict[str, np.ndarray]:
        """Returns z by the names of `SCORES`; infinite where no pixel matters.

        With the curvature, "curved" too: "mid" with its mean to second order.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {
                "seed": self.margin / np.sqrt(self.var),
                "shift": (self.margin + self.shift) / np.sqrt(self.var),
                "mid": self.mid_margin / np.sqrt(self.mid_var),
            }
            if self.mid_curvature is not None:
                mean = self.mid_margin + self.mid_curvature
                found["curved"] = mean / np.sqrt(self.mid_var)
        return found


def measured(found: Mapping[str, np.ndarray]) -> MeasuredMargins:
    """Returns what the probe `Margins` found, out of all that is known of a network."""
    return MeasuredMargins(
        **{name: found[name] for name in MeasuredMargins._fields if name in found}
    )


class Verdict(NamedTuple):
    """How well one score predicts failures.

    Attributes:
        auc: chance that a failing image has a smaller score than one that does not, of
            the images that are right when clean.
        predicted: mean of Phi(-z) over all images.
        failed: share of failures over all images.
        median: of the score, over the images that are right when clean.
        dropped: images whose gradient vanishes, which have no score.
    """

    auc: float
    predicted: float
    failed: float
    median: float
    dropped: int


def judge(found: MeasuredMargins) -> dict[str, Verdict]:
    """Returns the verdict on every score, and on the margin alone ("margin").

    Failures of the first corruption count: with several, images whose share of
    failures is above one half.
    """
    right, failed = found.margin > 0, found.failure > 0.5
    verdicts = {}
    for name, z in {**found.scores(), "margin": found.margin}.items():
        known = np.isfinite(z)
        asked = right & known
        both = failed[asked].any() and not failed[asked].all()
        verdicts[name] = Verdict(
            auc=float(metrics.roc_auc_score(failed[asked], -z[asked]))
            if both
            else np.nan,
            predicted=float(special.ndtr(-z[known]).mean())
            if name != "margin" and known.any()
            else np.nan,
            failed=float(found.failure.mean()),
            median=float(np.median(z[asked])) if asked.any() else np.nan,
            dropped=int((~known).sum()),
        )
    return verdicts


def failures_by_score(
    z: np.ndarray, failure: np.ndarray, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean score, share of failures and their standard error in equal bins.

    Raises:
        InputError: fewer images than bins.
    """
    known = np.isfinite(z)
    z, failure = z[known], failure[known]
    if len(z) < bins:
        raise InputError(f"`bins` must be at most {len(z)}, the images, got {bins}.")
    parts = np.array_split(np.argsort(z, kind="stable"), bins)
    share = np.array([failure[part].mean() for part in parts])
    size = np.array([len(part) for part in parts])
    spread = np.array([failure[part].std() for part in parts])
    return np.array([z[part].mean() for part in parts]), share, spread / np.sqrt(size)
