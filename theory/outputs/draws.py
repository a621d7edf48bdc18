"""What the routes return: a law of the outputs, or draws from it.

`OutputLaw` holds mean and covariance over corruption draws of the outputs f_i(x*) of
the average over initialisations, and `init_var`, what one initialisation adds.
`Draws` holds outputs themselves. Both know their accuracy, and `Draws.law` goes from
one to the other without bias.
"""

import dataclasses
import os

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from theory.errors import InputError, check_count
from theory.numerics import doors
from theory.numerics.signatures import checked
from theory.outputs import soundness, storage
from theory.outputs.accuracy import win_probability, win_probability_iid
from theory.outputs.covariances import SampledCross, of_classes, unknown_init_cov
from theory.outputs.law import Labels, OutputLaw, check_labels
from theory.outputs.statistics import standard_error
from theory.records import record, static


@record(kw_only=True, repr=False)
class Draws:
    """Outputs on the test points for each corruption draw and initialisation.

    Attributes:
        outputs: axes draw, initialisation, point, class. An average over infinitely
            many initialisations has one entry on the second axis and `init_var`.
        init_var: variance that one initialisation adds, per draw and point, where it
            is known analytically; None where the second axis samples it.
        kernel_cov: covariance of the outputs that it adds beside, as the kernel of a
            network of finite width is its own; None at infinite width.
        init_var_at: the test points that `init_var` is known at; None for all.
        draw_keys: raw key of each corruption draw: equal keys, equal corruption.
        diagnostics: named numbers per draw to judge the run by.
        averaged: whether the second axis holds the average over all initialisations,
            as kernels give it, and not networks; so it does with `init_var`.
    """

    outputs: Float[Array, "draw init n c"]
    init_var: Float[Array, "draw k"] | None = None
    kernel_cov: Float[Array, "draw n c c"] | None = None
    init_var_at: Int[Array, " k"] | None = None
    draw_keys: Int[Array, "draw 2"] | None = None
    diagnostics: dict = dataclasses.field(default_factory=dict)
    averaged: bool = static(default=False)

    @checked
    def __repr__(self) -> str:
        """What was drawn, and what speaks against it; no arrays."""
        if not hasattr(self.outputs, "shape"):  # a pytree of something else
            return f"{type(self).__name__}({self.outputs!r}, ...)"
        second = "average over all initialisations" if self.averaged else "init"
        said = [doors.described(self.outputs, "draw", second, "point", "class")]
        said += doors.doubts({}, outputs=self.outputs)
        return f"{type(self).__name__}({'; '.join(said)})"

    def averages(self, inits: int | None = None) -> Float[Array, "draw group n c"]:
        """Returns mean outputs of groups of `inits` initialisations; None for all."""
        draws, available, n, c = self.outputs.shape
        if inits is not None and (self.averaged or self.init_var is not None):
            raise InputError(
                "`inits` must be left out: these draws are averages over all "
                "initialisations, and hold no networks."
            )
        inits = available if inits is None else inits
        check_count("inits", inits)
        if available % inits:
            raise InputError(
                f"`inits` must divide the {available} initialisations of these draws, "
                f"got {inits}."
            )
        return self.outputs.reshape(draws, -1, inits, n, c).mean(axis=2)

    @checked
    def decisions(self, inits: int | None = None) -> Int[Array, "draw group n"]:
        """Returns the class each average of `inits` networks decides for."""
        doors.check_finite("the outputs of these draws", self.outputs)
        return jnp.argmax(self.averages(inits), axis=-1)

    @checked
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
        check_labels(labels, self.outputs.shape[2:])
        doors.check_finite("the outputs of these draws", self.outputs)
        labels = jnp.asarray(labels, jnp.int32)  # one program for all who ask
        if self.averaged and self.init_var is None and inits is not None:
            raise InputError(
                "`inits` needs `init_var`, which these averages over all "
                "initialisations do not know: ask theory.exact for it "
                "(`with_init_var`), exact_iterative (`init_var_at`), or leave it out."
            )
        if self.init_var is None or inits is None:
            right = self.decisions(inits).astype(labels.dtype) == labels[None, None, :]
            return right.mean(axis=(1, 2), dtype=self.outputs.dtype)
        return self.integrated(labels, inits).mean(axis=1)

    @checked
    def integrated(self, labels: Labels, inits: int) -> Float[Array, "draw n"]:
        """Returns how probable a mean of `inits` networks decides for `labels`.

        Given each draw: initialisations are integrated, by `init_var`.
        """
        check_count("inits", inits)
        if self.init_var is None or self.init_var_at is not None:
            raise InputError(
                "`inits` needs `init_var` at all test points, and it is known at some: "
                "ask for them in `init_var_at`, or take the draws' `known_points()`."
            )
        doors.check_finite("`init_var` of these draws", self.init_var)
        draws, _, n, c = self.outputs.shape
        means = self.outputs.reshape(draws * n, c)
        variances = self.init_var.reshape(-1) / inits
        every = jnp.tile(jnp.asarray(labels, jnp.int32), draws)
        if self.kernel_cov is None:
            given_draw = win_probability_iid(means, variances, every)
        else:
            cov = self.init_class_cov().reshape(draws * n, c, c) / inits
            given_draw = win_probability(means, cov, every)
        return given_draw.reshape(draws, n)

    def init_class_cov(self) -> Float[Array, "draw n c c"]:
        """Returns the covariance of the outputs that one initialisation adds.

        Raises:
            InputError: where it is not known analytically, at all test points.
        """
        if self.init_var is None or self.init_var_at is not None:
            raise unknown_init_cov()
        return of_classes(self.init_var, self.kernel_cov, self.outputs.shape[-1])

    @checked
    def accuracy(self, labels: Labels, inits: int | None = None) -> float:
        """Returns the mean over draws of `accuracies`."""
        return float(self.accuracies(labels, inits).mean())

    @checked
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
        told apart: `cov` is that of one network, and `init_var` is None; so it is
        where it is known at some test points only, see `known_points`.

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
        analytic = self.init_var if self.init_var_at is None else None
        if analytic is not None:
            init_var = analytic.mean(axis=0)
        elif inits > 1:
            init_var = self.outputs.var(axis=1, ddof=1).mean(axis=(0, 2))
            own = jnp.eye(c, dtype=cov.dtype)[None]
            cov = cov - (init_var / inits)[:, None, None] * own
        else:
            init_var = None
        shared = None if self.kernel_cov is None else self.kernel_cov.mean(axis=0)
        return OutputLaw(
            mean=mean,
            cov=cov,
            init_var=init_var,
            kernel_cov=shared,
            diagnostics={"draws": draws, "inits": inits, "rank": min(draws - 1, c)},
            cross=SampledCross(
                outputs=self.outputs,
                # of the kernel's share between points nothing is known
                init_var=None if analytic is None or shared is not None else init_var,
            ),
        )

    def known_points(self) -> "Draws":
        """Returns the draws at the test points whose `init_var` is known alone."""
        if self.init_var_at is None:
            return self
        return dataclasses.replace(
            self, outputs=self.outputs[:, :, self.init_var_at], init_var_at=None
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the draws to an npz file, complete or not at all."""
        storage.save(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Draws":
        """Reads what `save` wrote.

        Raises:
            InputError: where the file does not hold draws.
        """
        return storage.load(path, cls, soundness.draws)
