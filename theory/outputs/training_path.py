"""Draws along training times, or ridges: what `theory.routes.exact.paths` gives."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt

from theory.numerics import doors
from theory.numerics.signatures import checked
from theory.outputs.draws import Draws
from theory.outputs.law import Labels
from theory.records import record


@record(kw_only=True, repr=False)
class TrainingPath:
    """Draws at every step of a path: growing times, or ridges.

    Attributes:
        grid: the times or the ridges; they differ between draws only if a stopping
            rule chose them.
        outputs: of the average over initialisations.
        init_var: variance that one initialisation adds; None if it was not asked for.
        train_mse: mean over training rows and classes of the squared error of the
            average over initialisations.
        init_mse: what the start of one network adds to it in expectation.
        draw_keys: as in `Draws`.
        diagnostics: `margin`, `truncation_error`, each (draw,).
    """

    grid: Float[Array, "draw step"]
    outputs: Float[Array, "draw step n c"]
    init_var: Float[Array, "draw step n"] | None
    train_mse: Float[Array, "draw step"]
    init_mse: Float[Array, "draw step"]
    draw_keys: UInt[Array, "draw 2"]
    diagnostics: dict = dataclasses.field(default_factory=dict)

    @checked
    def __repr__(self) -> str:
        """What was drawn, and what speaks against it; no arrays."""
        if not hasattr(self.outputs, "shape"):  # a pytree of something else
            return f"{type(self).__name__}({self.outputs!r}, ...)"
        said = [doors.described(self.outputs, "draw", "step", "point", "class")]
        said += doors.doubts({}, outputs=self.outputs)
        return f"{type(self).__name__}({'; '.join(said)})"

    def at(self, step: int) -> Draws:
        """Returns the draws at one step, as `exact` gives them."""
        return Draws(
            outputs=self.outputs[:, step][:, None],
            init_var=None if self.init_var is None else self.init_var[:, step],
            draw_keys=self.draw_keys,
            diagnostics=self.diagnostics | {"train_mse": self.train_mse[:, step]},
            averaged=True,
        )

    def points(self, index: Array | np.ndarray | slice) -> "TrainingPath":
        """Returns the path at some of the test points, e.g. those held for `best`."""
        return dataclasses.replace(
            self,
            outputs=self.outputs[:, :, index],
            init_var=None if self.init_var is None else self.init_var[:, :, index],
        )

    @checked
    def accuracies(
        self, labels: Labels, inits: int | None = None
    ) -> Float[Array, "draw step"]:
        """Returns the accuracy at every step, see `Draws.accuracies`."""
        steps = range(self.outputs.shape[1])
        each = [self.at(step).accuracies(labels, inits) for step in steps]
        return jnp.stack(each, axis=1)

    @checked
    def best(self, labels: Labels, inits: int | None = None) -> int:
        """Returns the step of highest accuracy, averaged over draws; the first of ties.

        Chosen on the points it is then judged by, an accuracy is too high: choose by
        `path.points(held).best(labels[held])`, report the others.
        """
        return int(self.accuracies(labels, inits).mean(axis=0).argmax())
