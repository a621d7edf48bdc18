"""What an architecture sees of images that are all but noise: its metric W.

To first order in what is left of the training images the outputs are

    f_i(x*) ~ x*^T W (mu_i - mean mu),    W_jk = E d^2 Theta(x, x') / dx_j dx'_k,

x and x' independent noise.

Equations: docs/theory/architectures.md (M4), (M5).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.architectures import positions
from theory.architectures.layers import Flatten
from theory.architectures.stack import Stack
from theory.corruption.base import Corruption
from theory.errors import InputError, check_count
from theory.keys import stream
from theory.numerics import doors
from theory.numerics.signatures import checked
from theory.records import record

# Bytes of derivatives that are computed at once, of some 50 arrays each.
_BYTES, _HELD = 2**28, 50


@record(kw_only=True)
class Metric:
    """The metric of an architecture, in units of its mean over the pixels.

    Attributes:
        weight: W, symmetric, of trace d.
        error: standard error of every entry, from the samples.
        scale: trace of W before the division: d times what the tangent kernel gains by
            a product of two pixels.
        square: trace W^2 without the share of the samples' fluctuations in it.
    """

    weight: Float[Array, "d d"]
    error: Float[Array, "d d"]
    scale: Float[Array, ""]
    square: Float[Array, ""]

    @property
    def rank(self) -> Float[Array, ""]:
        """Effective number of pixels: (tr W)^2 / tr W^2, d for the identity."""
        return jnp.trace(self.weight) ** 2 / self.square

    def spectrum(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Returns eigenvalues, the largest first, and directions as rows.

        Below some 2 sqrt(d) times `error` eigenvalues are those of the fluctuations.
        """
        values, vectors = jnp.linalg.eigh(self.weight)
        return values[::-1], vectors[:, ::-1].T


def _second_derivative(stack: Stack, x: Array, other: Array) -> Array:
    """Derivatives of the tangent kernel in a pixel of each, d x d, symmetrised."""
    d = len(x)

    def entry(one, two):
        return positions.pair(one, two, stack, reversible=True).ntk

    slope = lambda two: jax.grad(entry)(x, two)
    along = lambda direction: jax.jvp(slope, (other,), (direction,))[1]
    numbers = positions.numbers_of_a_pair(stack) * x.dtype.itemsize * _HELD
    size = max(1, min(d, _BYTES // numbers))
    found = jax.lax.map(along, jnp.eye(d, dtype=x.dtype), batch_size=size)
    return (found + found.T) / 2


def _exchangeable(weight: Array) -> Array:
    """The mean over all orders of the pixels."""
    d = len(weight)
    diagonal = jnp.trace(weight) / d
    beside = (weight.sum() - jnp.trace(weight)) / max(d * (d - 1), 1)
    eye = jnp.eye(d, dtype=weight.dtype)
    return (diagonal - beside) * eye + beside


@jax.jit
def _sums(stack: Stack, corruption: Corruption, x: Array, keys: Array):
    """Sums over samples of W, of its squares, and of tr W^2."""
    # any order of the pixels is as likely, and a dense layer sees none
    alike = isinstance(stack.layers[0], Flatten)

    def add(i, sums):
        noisy = corruption.apply(keys[i], x[i])
        found = _second_derivative(stack, *noisy)
        if alike:
            found = _exchangeable(found)
        total, squares, square = sums
        return total + found, squares + found**2, square + (found**2).sum()

    zero = jnp.zeros((x.shape[2],) * 2, x.dtype)
    return jax.lax.fori_loop(0, len(x), add, (zero, zero, jnp.zeros((), x.dtype)))


@checked
def metric(
    stack: Stack,
    corruption: Corruption,
    *,
    key: Array,
    samples: int = 200,
    x: Float[Array, "n d"] | None = None,
) -> Metric:
    """Returns the metric in which an architecture compares images with class means.

    Cost: d derivatives of a kernel entry for every sample, each some ten entries; with
    pooling an entry grows with the square of the positions (28 x 28 pixels: a sample
    takes seconds).

    Args:
        stack: the architecture.
        corruption: what noise is taken of: of it alone, at p = 1, or of `x` at its p.
        key: of the samples.
        samples: pairs of independent noisy images, at least 2.
        x: images to corrupt, drawn at random for every pair; None for noise alone.

    Returns:
        The metric; the identity, up to a share of the constant image, where the first
        layer is dense.

    Raises:
        InputError: bad layers; fewer than two samples; a corruption that is not all
            noise at p = 1, without `x`; images of another shape.
    """
    stack.check()
    stack.check_ntk()
    check_count("samples", samples, least=2)
    corruption.check()
    draws, picks = stream(key, "metric noise"), stream(key, "metric images")
    if x is None:
        if not corruption.ends_in_noise:
            raise InputError(
                f"{type(corruption).__name__} is not all noise at any p: give images "
                "`x` to corrupt."
            )
        corruption = dataclasses.replace(corruption, p=1.0)  # ty: ignore[invalid-argument-type]
        chosen = jnp.zeros((samples, 2, stack.pixels))
    else:
        x = doors.array("x", x, "(n, d)")
        if x.shape[1] != stack.pixels:
            raise InputError(
                f"images of shape {stack.shape} are rows of {stack.pixels} numbers, "
                f"got {x.shape[1]}."
            )
        corruption.check_images(x)
        chosen = x[jax.random.randint(picks, (samples, 2), 0, len(x))]
    keys = jax.random.split(draws, samples)
    return _metric(*_sums(stack, corruption, chosen, keys), samples)


@functools.partial(jax.jit, static_argnums=3)
def _metric(total: Array, squares: Array, square: Array, samples: int) -> Metric:
    d, mean = len(total), total / samples
    scale = jnp.trace(mean) / d
    spread = jnp.maximum(squares / samples - mean**2, 0.0) / (samples - 1)
    # products of different samples alone
    apart = ((total**2).sum() - square) / (samples * (samples - 1))
    return Metric(
        weight=mean / scale,
        error=jnp.sqrt(spread) / jnp.abs(scale),
        scale=scale * d,
        square=apart / scale**2,
    )
