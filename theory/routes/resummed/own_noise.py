"""Noise of the test points themselves, as the solved training answers to it.

Equations: docs/theory/linearised.md (L8), docs/theory/regression.md (E9).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.corruption.base import Corruption
from theory.linearised import kernel_rows
from theory.linearised.image_moments import ImageMoments
from theory.linearised.training_kernel import moments
from theory.records import record
from theory.regression import responses
from theory.routes.resummed.solved import Side, Solved


@record(kw_only=True)
class PointNoise:
    """What belongs to corrupted test points; what belongs to training is `Solved`.

    Attributes:
        corruption: of the test points.
        strength: their mean variance of a pixel, which `moments` and `norms` are for.
        moments: of outputs, for the three parts of `kernel_rows.OwnNoise`.
        norms: of kernel rows, alike.
        norm_slopes: derivatives of the norms along each of `Solved.directions`.
    """

    corruption: Corruption
    strength: Float[Array, ""]
    moments: Float[Array, "3 c c"]
    norms: Float[Array, "3"]
    norm_slopes: tuple[Float[Array, "3"], ...]


_parts = jax.jit(kernel_rows.own_noise, static_argnames="features")
_random_rows = jax.jit(responses.random_rows)


def facing(
    solved: Solved, x_test: Float[Array, "n d"], corruption: Corruption | None
) -> tuple[Float[Array, "n d"], PointNoise | None]:
    """Returns the points to predict at, and their noise: None if they have none."""
    if corruption is None:
        return x_test, None
    test = moments(x_test, solved.arch, corruption)
    if not test.var.any():
        return test.mean, None
    parts = _parts(solved.arch, solved.measured, test, features=x_test.shape[1] + 2)
    of_outputs, norms = _answers(solved.centre, parts)
    of_norms = lambda side: _answers(side, parts)[1]
    return x_test, PointNoise(
        corruption=corruption,
        strength=test.var.mean(),
        moments=of_outputs,
        norms=norms,
        norm_slopes=tuple(
            each.of(of_norms, solved.centre) for each in solved.directions
        ),
    )


def _answers(side: Side, parts: kernel_rows.OwnNoise) -> tuple[Array, Array]:
    """Moments of the outputs, and norms, for the three parts of the noise."""
    extra = side.solution.lam.shape[0] - parts.kk.shape[0]
    found = [
        _random_rows(side.solution, jnp.pad(part, ((0, extra),) * 2)) for part in parts
    ]
    of_outputs, norms = zip(*found, strict=True)
    return jnp.stack(of_outputs), jnp.stack(norms)


def weights(
    noise: PointNoise,
    solved: Solved,
    test: ImageMoments,
    rows: kernel_rows.KernelRows,
    side: Side,
) -> Float[Array, "3 t"]:
    """Returns the weights of the three parts of every test point's noise, (E9)."""
    strength = test.var.mean(axis=1) / noise.strength
    return strength[None, :] * kernel_rows.own_noise_weights(
        solved.measured, side.scales, rows, side.s
    )
