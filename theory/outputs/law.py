"""The Gaussian law of the outputs over corruption draws, and what decisions it implies.

Mean and covariance of the outputs f_i(x*) of the average over initialisations, and
`init_var`, what one initialisation adds.
"""

import dataclasses
import math
import os
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from theory.errors import InputError, check_count
from theory.numerics import doors
from theory.numerics.signatures import checked
from theory.outputs import accuracy_spread, soundness, storage
from theory.outputs.accuracy import win_probabilities, win_probability
from theory.outputs.covariances import (
    CrossCovariance,
    Points,
    of_classes,
    unknown_init_cov,
)
from theory.records import record, static

# Labels come straight from a `Problem` or from NumPy.
Labels = Int[Array, " n"] | Int[np.ndarray, " n"]
Law = TypeVar("Law", bound="OutputLaw")


def check_labels(labels: Labels, shape: tuple[int, ...], name: str = "labels") -> None:
    """Host checks of classes of the test points against outputs of shape (n, c)."""
    values = np.asarray(labels)
    if values.shape != shape[:1]:
        raise InputError(
            f"`{name}` must have one entry per test point, {shape[0]}, "
            f"got shape {values.shape}."
        )
    if not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"`{name}` must be integers, got {values.dtype}.")
    if values.size and not 0 <= values.min() <= values.max() < shape[1]:
        raise InputError(
            f"`{name}` must lie in 0 ... {shape[1] - 1}, "
            f"got {values.min()} ... {values.max()}."
        )


@jax.jit
def _averaged(cov, init_var, kernel_cov, inits):
    return cov + of_classes(init_var, kernel_cov, cov.shape[1]) / inits


@record(kw_only=True, repr=False)
class OutputLaw:
    """Gaussian law of the outputs at every test point.

    Attributes:
        mean: mean outputs.
        cov: covariance of the outputs of one point over draws.
        init_var: variance that one initialisation adds to each output, independently
            for the classes, docs/theory/training.md (11); None where the route does not
            know.
        kernel_cov: covariance of the outputs that it adds beside, as the kernel of a
            network of finite width is its own; None at infinite width.
        diagnostics: named numbers to judge the law by.
        cross: covariances between points, of the average over initialisations; None
            where the route does not know.
        inits: networks in the mean that `averaged` has made; infinite before.
    """

    mean: Float[Array, "n c"]
    cov: Float[Array, "n c c"]
    init_var: Float[Array, " n"] | None = None
    kernel_cov: Float[Array, "n c c"] | None = None
    diagnostics: dict = dataclasses.field(default_factory=dict)
    cross: CrossCovariance | None = None
    inits: float = static(default=math.inf)

    @checked
    def __repr__(self) -> str:
        """What it is a law of, and what speaks against it; no arrays."""
        if not hasattr(self.mean, "shape"):  # a pytree of something else
            return f"{type(self).__name__}({self.mean!r}, ...)"
        of = "all initialisations" if math.isinf(self.inits) else f"{self.inits:g}"
        said = [f"{doors.described(self.mean, 'point', 'class')}, average over {of}"]
        said += doors.doubts(self.diagnostics, mean=self.mean, cov=self.cov)
        if self.init_var is None:
            said.append("`init_var` not known")
        return f"{type(self).__name__}({'; '.join(said)})"

    def averaged(self: Law, inits: int) -> Law:
        """Returns the law of the mean output of `inits` networks; 1 is one network.

        A law that is averaged already stays as it is.

        Raises:
            InputError: where `init_var` is not known.
        """
        check_count("inits", inits)
        if self.init_var is None:
            raise InputError(
                "`averaged` needs `init_var`, which this law does not know: use the "
                "exact route, or networks with at least 2 initialisations."
            )
        doors.check_finite("`init_var` of this law", self.init_var)
        return dataclasses.replace(
            self,
            cov=_averaged(self.cov, self.init_var, self.kernel_cov, inits),
            init_var=jnp.zeros_like(self.init_var),
            kernel_cov=None,
            inits=float(inits) if math.isinf(self.inits) else self.inits,
        )

    def init_class_cov(self) -> Float[Array, "n c c"]:
        """Returns the covariance of the outputs that one initialisation adds.

        Raises:
            InputError: where it is not known.
        """
        if self.init_var is None:
            raise unknown_init_cov()
        return of_classes(self.init_var, self.kernel_cov, self.mean.shape[1])

    @checked
    def per_point(self, labels: Labels) -> Float[Array, " n"]:
        """Returns the probability of a right decision at every point."""
        check_labels(labels, self.mean.shape)
        self.check_finite()
        return win_probability(self.mean, self.cov, jnp.asarray(labels, jnp.int32))

    @checked
    def accuracy(self, labels: Labels) -> float:
        """Returns the expected accuracy, an integral: no sampling."""
        return float(self.per_point(labels).mean())

    def win_probabilities(self) -> Float[Array, "n c"]:
        """Returns the probability of deciding for each class.

        As many integrals as classes, each within 1e-3; rows sum to one within 2e-3.
        """
        self.check_finite()
        return win_probabilities(self.mean, self.cov)

    def check_finite(self) -> None:
        """Raises `NumericalError` where mean or covariances are not finite."""
        doors.check_finite("the mean and covariances of this law", self.mean, self.cov)

    @checked
    def confusion(self, labels: Labels) -> Float[Array, "c c"]:
        """Returns the expected confusion matrix: row true class, column decision.

        Rows are means of `win_probabilities` over the points of a class, NaN for a
        class without test points.
        """
        check_labels(labels, self.mean.shape)
        classes = np.arange(self.mean.shape[1])
        members = np.asarray(labels)[:, None] == classes[None, :]
        counts = members.sum(axis=0)
        share = members / np.where(counts > 0, counts, np.nan)[None, :]
        confusion = share.T @ np.asarray(self.win_probabilities())
        return jax.device_put(confusion.astype(self.mean.dtype))

    @checked
    def cross_cov(self, a: Points, b: Points) -> Float[Array, "n_a n_b c c"]:
        """Returns Cov(f_i(x_a), f_j(x_b)), the share of the initialisations included.

        Args:
            a: indices of test points.
            b: indices of test points.

        Raises:
            InputError: where this law does not know them, or an index is out of range.
        """
        if self.cross is None:
            raise InputError(
                "`cross_cov` needs `cross`, which this law does not know (files do "
                "not hold it): use a route that has it, or Draws.law()."
            )
        for name, points in (("a", np.asarray(a)), ("b", np.asarray(b))):
            n = self.mean.shape[0]
            if points.size and not 0 <= points.min() <= points.max() < n:
                raise InputError(
                    f"`{name}` must lie in 0 ... {n - 1}, "
                    f"got {points.min()} ... {points.max()}."
                )
        cov = self.cross.cov(a, b)
        if math.isinf(self.inits):
            return cov
        share = self.cross.init_cov(a, b) / self.inits
        own = jnp.eye(self.mean.shape[1], dtype=cov.dtype)[None, None]
        return cov + share[:, :, None, None] * own

    @checked
    def accuracy_std(
        self,
        labels: Labels,
        *,
        points: int = 300,
        samples: int = 4000,
        key: Array | None = None,
    ) -> float:
        """Returns the standard deviation of the accuracy over draws, and networks.

        Of the accuracy of the whole test set of n points: its variance is the mean of
        P (1 - P)/n plus (1 - 1/n) times the mean covariance of two decisions being
        right. The latter is sampled from the joint law of `points` points, chosen at
        random, without bias. The standard error of the variance is sqrt(2/samples)
        times the variance of the accuracy of these points alone, besides what they
        miss of the average over pairs: measured for n = 2000 and c = 10, 7 to 11 % of
        the result with 300 points, 23 to 33 % with 100. Where sampling errors make
        the variance negative the result is 0.

        O((points c)^3 + samples (points c)^2) time, some ten seconds on two cores for
        c = 10; a few times (points c)^2 numbers of memory.

        Args:
            labels: of the test points.
            points: number of points in the joint law.
            samples: number of joint samples.
            key: of points and samples; always the same ones without it.

        Raises:
            InputError: where the law does not know the covariances between points.
            NumericalError: where they are no covariances: an eigenvalue below -1e-3
                of the largest. Smaller negative ones are set to zero.
        """
        check_labels(labels, self.mean.shape)
        for name, value in (("points", points), ("samples", samples)):
            check_count(name, value, least=2)
        chosen, key = accuracy_spread.choose(len(self.mean), points, key)
        accuracy_spread.check_size(len(chosen), self.mean.shape[1])
        return accuracy_spread.accuracy_std(
            np.asarray(self.per_point(labels), float),
            np.asarray(self.mean, float)[chosen],
            np.asarray(self.cross_cov(chosen, chosen), float),
            np.asarray(labels)[chosen],
            samples=samples,
            key=key,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the law to an npz file, complete or not at all; without `cross`."""
        storage.save(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "OutputLaw":
        """Reads what `save` wrote, of this class or of one that extends it.

        Raises:
            InputError: where the file does not hold it.
        """
        return storage.load(path, cls, soundness.law)

    def decisions(self) -> Int[Array, " n"]:
        """Returns the class of the largest mean output."""
        self.check_finite()
        return jnp.argmax(self.mean, axis=-1)

    def gap_variance(self) -> Float[Array, " n"]:
        """Returns the variance of an output about the mean over classes.

        What decisions see of the covariance: noise common to all classes drops out.
        """
        total = jnp.trace(self.cov, axis1=-2, axis2=-1)
        return total - self.cov.sum((-2, -1)) / self.cov.shape[-1]
