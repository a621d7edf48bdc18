"""What the routes return: a law of the outputs, or draws from it.

`OutputLaw` holds mean and covariance over corruption draws of the outputs f_i(x*) of
the average over initialisations, and `init_var`, what one initialisation adds.
`Draws` holds outputs themselves. Both know their accuracy, and `Draws.law` goes from
one to the other without bias.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from theory.accuracy import win_probability, win_probability_iid
from theory.errors import InputError
from theory.records import record

# Labels come straight from a `Problem` or from NumPy.
Labels = Int[Array, " n"] | Int[np.ndarray, " n"]


def _check_inits(inits: int) -> None:
    if not inits >= 1:
        raise InputError(f"`inits` must be at least 1, got {inits}.")


@record(kw_only=True)
class OutputLaw:
    """Gaussian law of the outputs at every test point.

    Attributes:
        mean: mean outputs.
        cov: covariance of the outputs of one point over draws.
        init_var: variance that one initialisation adds to each output, independently
            for the classes, theory/README.md (11); NaN where the route does not know.
        diagnostics: named numbers to judge the law by.
    """

    mean: Float[Array, "n c"]
    cov: Float[Array, "n c c"]
    init_var: Float[Array, " n"]
    diagnostics: dict = dataclasses.field(default_factory=dict)

    def averaged(self, inits: int) -> "OutputLaw":
        """Returns the law of the mean output of `inits` networks; 1 is one network.

        Raises:
            InputError: where `init_var` is not known.
        """
        _check_inits(inits)
        if not bool(jnp.isfinite(self.init_var).all()):
            raise InputError(
                "`averaged` needs `init_var`, which this law does not know: use the "
                "exact route, or networks with at least 2 initialisations."
            )
        own = jnp.eye(self.mean.shape[1], dtype=self.cov.dtype)[None]
        return dataclasses.replace(
            self,
            cov=self.cov + (self.init_var / inits)[:, None, None] * own,
            init_var=jnp.zeros_like(self.init_var),
        )

    def per_point(self, labels: Labels) -> Float[Array, " n"]:
        """Returns the probability of a right decision at every point."""
        _check_labels(labels, self.mean.shape)
        return win_probability(self.mean, self.cov, jnp.asarray(labels))

    def accuracy(self, labels: Labels) -> float:
        """Returns the expected accuracy, an integral: no sampling."""
        return float(self.per_point(labels).mean())

    def decisions(self) -> Int[Array, " n"]:
        """Returns the class of the largest mean output."""
        return jnp.argmax(self.mean, axis=-1)

    def gap_variance(self) -> Float[Array, " n"]:
        """Returns the variance of an output about the mean over classes.

        What decisions see of the covariance: noise common to all classes drops out.
        """
        total = jnp.trace(self.cov, axis1=-2, axis2=-1)
        return total - self.cov.sum((-2, -1)) / self.cov.shape[-1]


def _check_labels(labels: Labels, shape: tuple[int, ...]) -> None:
    """Host checks of labels against outputs of shape (n, c)."""
    values = np.asarray(labels)
    if values.shape != shape[:1]:
        raise InputError(
            f"`labels` must have one entry per test point, {shape[0]}, "
            f"got shape {values.shape}."
        )
    if values.size and not 0 <= values.min() <= values.max() < shape[1]:
        raise InputError(
            f"`labels` must lie in 0 ... {shape[1] - 1}, "
            f"got {values.min()} ... {values.max()}."
        )


@record(kw_only=True)
class Draws:
    """Outputs on the test points for each corruption draw and initialisation.

    Attributes:
        outputs: axes draw, initialisation, point, class. An average over infinitely
            many initialisations has one entry on the second axis and `init_var`.
        init_var: variance that one initialisation adds, per draw and point, where it
            is known analytically; None where the second axis samples it.
        draw_keys: raw key of each corruption draw: equal keys, equal corruption.
        diagnostics: named numbers per draw to judge the run by.
    """

    outputs: Float[Array, "draw init n c"]
    init_var: Float[Array, "draw n"] | None = None
    draw_keys: Int[Array, "draw 2"] | None = None
    diagnostics: dict = dataclasses.field(default_factory=dict)

    def averages(self, inits: int | None = None) -> Float[Array, "draw group n c"]:
        """Returns mean outputs of groups of `inits` initialisations; None for all."""
        draws, available, n, c = self.outputs.shape
        inits = available if inits is None else inits
        _check_inits(inits)
        if available % inits:
            raise InputError(
                f"`inits` must divide the {available} initialisations of these draws, "
                f"got {inits}."
            )
        return self.outputs.reshape(draws, -1, inits, n, c).mean(axis=2)

    def decisions(self, inits: int | None = None) -> Int[Array, "draw group n"]:
        """Returns the class each average of `inits` networks decides for."""
        return jnp.argmax(self.averages(inits), axis=-1)

    def accuracies(
        self, labels: Labels, inits: int | None = None
    ) -> Float[Array, " draw"]:
        """Returns the accuracy of each draw.

        Args:
            labels: of the test points.
            inits: networks averaged before the decision; None for all there are. With
                `init_var` the averages over initialisations are integrated: the
                expected accuracy of a mean of `inits` networks, given the draw.
        """
        _check_labels(labels, self.outputs.shape[2:])
        labels = jnp.asarray(labels)
        if self.init_var is None or inits is None:
            right = self.decisions(inits) == labels[None, None, :]
            return right.mean(axis=(1, 2), dtype=self.outputs.dtype)
        _check_inits(inits)
        draws, _, n, c = self.outputs.shape
        given_draw = win_probability_iid(
            self.outputs.reshape(draws * n, c),
            self.init_var.reshape(-1) / inits,
            jnp.tile(labels, draws),
        )
        return given_draw.reshape(draws, n).mean(axis=1)

    def accuracy(self, labels: Labels, inits: int | None = None) -> float:
        """Returns the mean over draws of `accuracies`."""
        return float(self.accuracies(labels, inits).mean())

    def stderr(self, labels: Labels, inits: int | None = None) -> float:
        """Returns the standard error over draws of `accuracy`; NaN for one draw."""
        return standard_error(np.asarray(self.accuracies(labels, inits)))

    def law(self) -> OutputLaw:
        """Estimates the law of the average over initialisations, without bias.

        Variance components: with m initialisations per draw, the covariance over draws
        of their mean holds 1/m of the variance over initialisations, which is
        estimated within draws, averaged over classes, and taken out. What remains may
        have small negative eigenvalues; it is not repaired. The covariance of k draws
        has rank at most k - 1 (`diagnostics["rank"]`): with few draws use
        `accuracies`, not the integral of this law.

        With one initialisation per draw and no `init_var` the two variances cannot be
        told apart: `cov` is that of one network, and `init_var` NaN.

        Raises:
            InputError: for a single draw.
        """
        draws, inits, _, c = self.outputs.shape
        if draws < 2:
            raise InputError("`law` needs at least 2 draws, got 1: ask for more draws.")
        per_draw = self.outputs.mean(axis=1)
        mean = per_draw.mean(axis=0)
        deviation = per_draw - mean[None]
        cov = jnp.einsum("kni,knj->nij", deviation, deviation) / (draws - 1)
        if self.init_var is not None:
            init_var = self.init_var.mean(axis=0)
        elif inits > 1:
            init_var = self.outputs.var(axis=1, ddof=1).mean(axis=(0, 2))
            own = jnp.eye(c, dtype=cov.dtype)[None]
            cov = cov - (init_var / inits)[:, None, None] * own
        else:
            init_var = jnp.full(mean.shape[:1], jnp.nan, mean.dtype)
        return OutputLaw(
            mean=mean,
            cov=cov,
            init_var=init_var,
            diagnostics={"draws": draws, "inits": inits, "rank": min(draws - 1, c)},
        )


def standard_error(values: np.ndarray) -> float:
    """Returns the standard error of the mean of `values`, NaN for fewer than two."""
    if values.size < 2:
        return float("nan")
    return float(values.std(ddof=1) / values.size**0.5)
