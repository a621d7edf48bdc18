"""Margins: does a linear argument around an image say when corruption flips it?

The margin of an image x of class y is gamma(x) = f_y - max_(k != y) f_k. To first order
corruption x -> x~ moves it by g.(x~ - x), g = d gamma/dx, whose mean is the shift
m = g.(E x~ - x) and whose variance is sum_i g_i^2 Var(x~_i | x). An image fails when
gamma(x~) < 0. Three scores z, in standard deviations, are to predict that:

    seed    gamma/sd              the corruption taken as unbiased, which it is not
    shift   (gamma + m)/sd        its mean shift to first order
    mid     gamma(E x~)/sd(E x~)  margin and gradient at the mean corrupted image
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, PyTree
from scipy import special
from sklearn import metrics

from theory.corrupted import corrupt, stream
from theory.corruption import Corruption
from theory.errors import InputError
from theory.records import record, static

SCORES = ("seed", "shift", "mid")


def margin(
    outputs: Float[Array, "n c"], labels: Int[Array, " n"]
) -> Float[Array, " n"]:
    """Returns f_y - max_(k != y) f_k of every point; negative where y is not chosen."""
    own = jax.nn.one_hot(labels, outputs.shape[-1], dtype=bool)
    rivals = jnp.where(own, -jnp.inf, outputs).max(axis=-1)
    return jnp.where(own, outputs, 0).sum(axis=-1) - rivals


def _sum_of_margins(model, params, x, labels):
    outputs: Any = model.apply(params, x)
    margins = margin(outputs, labels)
    return margins.sum(), margins


def _with_gradient(model, params, x, labels):
    """Margins (n,) and their gradients (n, d): points do not see each other."""
    gradient = jax.grad(
        lambda x: _sum_of_margins(model, params, x, labels), has_aux=True
    )
    slopes, margins = gradient(x)
    return margins, slopes


@record(kw_only=True)
class Margins:
    """A probe for `ensembles.measure`: margins of a network and how often they fail.

    Cost: two passes with gradients over the images, one pass for each of `repeats` and
    four for each of `curvature_probes`.

    Attributes:
        noise: the corruption of the test images; traced.
        x: clean test images.
        labels: their classes.
        repeats: fresh corruptions of every image, of which the share of failures is
            counted.
        curvature_probes: random directions in which the curvature of the margin at the
            mean corrupted image is measured, for its mean to second order; none by
            default, and zero for piecewise linear networks.
    """

    noise: Corruption
    x: Float[Array, "n d"]
    labels: Int[Array, " n"]
    repeats: int = static(default=1)
    curvature_probes: int = static(default=0)

    def __call__(
        self, model: nn.Module, params: PyTree, key: Array
    ) -> dict[str, Float[Array, " n"]]:
        """Returns what `Measured` is made of, by its names."""
        x, labels = self.x, self.labels
        moments = self.noise.moments(x)
        margins, slopes = _with_gradient(model, params, x, labels)
        mid, mid_slopes = _with_gradient(model, params, moments.mean, labels)
        found = {
            "margin": margins,
            "shift": (slopes * (moments.mean - x)).sum(axis=1),
            "var": (slopes**2 * moments.var).sum(axis=1),
            "mid_margin": mid,
            "mid_var": (mid_slopes**2 * moments.var).sum(axis=1),
        }

        def fails(repeat):
            corrupted = corrupt(self.noise, key, repeat, x)
            return _sum_of_margins(model, params, corrupted, labels)[1] < 0

        failed = jax.lax.map(fails, jnp.arange(self.repeats))
        found["failure"] = failed.mean(axis=0, dtype=x.dtype)
        if self.curvature_probes:
            curvature = self._curvature(model, params, key, moments)
            found["mid_curvature"] = curvature
        return found

    def _curvature(self, model, params, key, moments):
        """Half of sum_i H_ii var_i: v.H v on average, v_i = +-sqrt(var_i)."""
        sd = jnp.sqrt(moments.var)
        gradient = lambda x: _with_gradient(model, params, x, self.labels)[1]

        def along(probe_key):
            v = sd * jax.random.rademacher(probe_key, sd.shape, sd.dtype)
            return (v * jax.jvp(gradient, (moments.mean,), (v,))[1]).sum(axis=1)

        keys = jax.random.split(stream(key, "curvature"), self.curvature_probes)
        return jax.lax.map(along, keys).mean(axis=0) / 2


class Measured(NamedTuple):
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


def measured(found: Mapping[str, np.ndarray]) -> Measured:
    """Returns what the probe `Margins` found, out of all that is known of a network."""
    return Measured(**{name: found[name] for name in Measured._fields if name in found})


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


def judge(found: Measured) -> dict[str, Verdict]:
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


def reliability(
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


def crossover(strength: np.ndarray, median: np.ndarray, level: float = 1.0) -> float:
    """Returns the strength where a falling median score first is `level`, or NaN."""
    strength, median = np.asarray(strength, float), np.asarray(median, float)
    below = np.flatnonzero(median <= level)
    if not below.size or below[0] == 0:
        return float(strength[0]) if below.size and median[0] == level else np.nan
    j = below[0]
    share = (median[j - 1] - level) / (median[j - 1] - median[j])
    return float(strength[j - 1] + share * (strength[j] - strength[j - 1]))
