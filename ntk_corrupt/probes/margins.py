"""Margins: does a linear argument around an image say when corruption flips it?

The margin of an image x of class y is gamma(x) = f_y - max_(k != y) f_k. To first order
corruption x -> x~ moves it by g.(x~ - x), g = d gamma/dx, whose mean is the shift
m = g.(E x~ - x) and whose variance is sum_i g_i^2 Var(x~_i | x). An image fails when
gamma(x~) < 0. Three scores z, in standard deviations, are to predict that:

    seed    gamma/sd              the corruption taken as unbiased, which it is not
    shift   (gamma + m)/sd        its mean shift to first order
    mid     gamma(E x~)/sd(E x~)  margin and gradient at the mean corrupted image
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PyTree

from theory.corruption.base import Corruption
from theory.corruption.copies import corrupt
from theory.errors import InputError
from theory.keys import stream
from theory.numerics import doors
from theory.numerics.signatures import checked
from theory.records import record, static
from theory.renamed import renamed


@checked
def margin(
    outputs: Float[Array, "n c"], labels: Int[Array, " n"]
) -> Float[Array, " n"]:
    """Returns f_y - max_(k != y) f_k of every point; negative where y is not chosen."""
    c = outputs.shape[-1]
    if doors.concrete(labels) and not doors.holds(lambda y: (y >= 0) & (y < c), labels):
        raise InputError(f"`labels` must lie in 0 ... {c - 1}.")
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


@renamed("noise", "corruption")
@record(kw_only=True)
class Margins:
    """A probe for `ensembles.measure`: margins of a network and how often they fail.

    Cost: two passes with gradients over the images, one pass for each of `repeats` and
    four for each of `curvature_probes`.

    Attributes:
        corruption: the corruption of the test images; traced.
        x: clean test images.
        labels: their classes.
        repeats: fresh corruptions of every image, of which the share of failures is
            counted.
        curvature_probes: random directions in which the curvature of the margin at the
            mean corrupted image is measured, for its mean to second order; none by
            default, and zero for piecewise linear networks.
    """

    corruption: Corruption
    x: Float[Array, "n d"]
    labels: Int[Array, " n"]
    repeats: int = static(default=1)
    curvature_probes: int = static(default=0)

    def __call__(
        self, model: nn.Module, params: PyTree, key: Array
    ) -> dict[str, Float[Array, " n"]]:
        """Returns what `MeasuredMargins` is made of, by its names."""
        x, labels = self.x, self.labels
        moments = self.corruption.moments(x)
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
            corrupted = corrupt(self.corruption, key, repeat, x)
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
