"""A kernel between images of pure noise, by least squares in their pixels.

Multilayer perceptrons see noise through three numbers a pair, of which the derivatives
are known. Of other architectures the kernel is sampled: its entries between independent
noise images are fitted by polynomials of single pixels, and what the fit leaves is
noise of entries. For normal noise the bilinear part is the metric W (Stein's lemma).

Equations: docs/theory/architectures.md (M6), (M7).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.architectures import positions
from theory.architectures.kernels import nngp_ntk
from theory.architectures.stack import Stack
from theory.corruption.corruptions import Additive, Replacement
from theory.numerics.edges import matmul
from theory.records import record

# Bytes of own entries that are computed at once, of some ten arrays each.
_BYTES, _HELD = 2**26, 10
# Variance of a squared pixel beside the pixel, of its own: below, it is none.
_ROUNDING = 1e-9


@record(kw_only=True)
class PixelPolynomials:
    """Polynomials of a noisy pixel: of mean zero, uncorrelated, of unit variance.

    Attributes:
        mean: mu_1, mean_square: mu_2, std: of a pixel.
        along: regression of a squared pixel on the pixel.
        scale: one over the standard deviation of what is left; 0 where nothing is.
    """

    mean: Float[Array, ""]
    mean_square: Float[Array, ""]
    std: Float[Array, ""]
    along: Float[Array, ""]
    scale: Float[Array, ""]

    def of(
        self, pixel: Float[Array, "*n d"], square: Float[Array, "*n d"]
    ) -> Float[Array, "*n k"]:
        """Returns the polynomials, k = 2 d, of pixels and squares less their means."""
        left = (square - self.along * pixel) * self.scale
        return jnp.concatenate([pixel / self.std, left], axis=-1)

    def at(self, x: Float[Array, "*n d"]) -> Float[Array, "*n k"]:
        """Returns the polynomials of images of noise."""
        return self.of(x - self.mean, x**2 - self.mean_square)


def pixel_polynomials(corruption: Replacement | Additive, dtype) -> PixelPolynomials:
    """Returns the polynomials of the noise of a corruption."""
    mu1, mu2, mu3, mu4 = (
        jnp.asarray(mu, dtype) for mu in corruption.noise.raw_moments()
    )
    var, cov, square = mu2 - mu1**2, mu3 - mu1 * mu2, mu4 - mu2**2
    along = cov / var
    left = square - along * cov
    some = left > _ROUNDING * mu4
    scale = jnp.where(some, 1 / jnp.sqrt(jnp.where(some, left, 1.0)), 0.0)
    return PixelPolynomials(
        mean=mu1, mean_square=mu2, std=jnp.sqrt(var), along=along, scale=scale
    )


@record(kw_only=True)
class Projected:
    """The kernel of pure noise, and of test points with it; k polynomials, s samples.

    Attributes:
        theta_o: mean of entries of two images of noise.
        alone: by which an entry answers to the polynomials of one of its images.
        weight: by which it answers to those of both, k x k, symmetric: the metric.
        left_var: variance of what these leave of an entry.
        theta_d: mean of the entry of an image with itself.
        own: by which that answers.
        own_left: what it leaves, of every sample.
        theta_test: mean of entries of a test point.
        test: by which they answer: the class means that a test point sees.
        test_left: what that leaves, of every sample.
        freedom: samples less what was fitted to them.
        errors: variance of what is fitted to a row, all of it together, over that of
            what is left.
    """

    theta_o: Float[Array, ""]
    alone: Float[Array, " k"]
    weight: Float[Array, "k k"]
    left_var: Float[Array, ""]
    theta_d: Float[Array, ""]
    own: Float[Array, " k"]
    own_left: Float[Array, " s"]
    theta_test: Float[Array, " n"]
    test: Float[Array, "n k"]
    test_left: Float[Array, "n s"]
    freedom: Float[Array, ""]
    errors: Float[Array, ""]


def _design(polynomials: Float[Array, "s k"]) -> tuple[Array, Array, Array]:
    """One and the polynomials, what fits their coefficients, and how many they are."""
    ones = jnp.ones((len(polynomials), 1), polynomials.dtype)
    design = jnp.concatenate([ones, polynomials], axis=1)
    used = 1 + (jnp.abs(polynomials).max(axis=0) > 0).sum()
    return design, jnp.linalg.pinv(design), used.astype(design.dtype)


@functools.partial(jax.jit, static_argnames="size")
def _own_entries(stack: Stack, x: Float[Array, "s d"], *, size: int):
    one = lambda each: positions.own(each[None], stack).ntk[0]
    return jax.lax.map(one, x, batch_size=size)


def samples_needed(pixels: int) -> int:
    """Returns the fewest samples that are fitted: twice what either half needs."""
    return 4 * (2 * pixels + 1)


def project(
    stack: Stack,
    polynomials: PixelPolynomials,
    noise: Float[Array, "s d"],
    x_test: Float[Array, "n d"],
) -> Projected:
    """Returns the projections: s^2/4 + n s kernel entries, and s of images with
    themselves.

    Args:
        stack: the architecture.
        polynomials: of the noise.
        noise: independent images of it; an even number.
        x_test: clean test images.
    """
    half = len(noise) // 2
    pairs = nngp_ntk(noise[:half], noise[half:], stack).ntk
    rows = nngp_ntk(x_test, noise, stack).ntk
    numbers = positions.numbers_of_a_pair(stack) * noise.dtype.itemsize * _HELD
    own = _own_entries(stack, noise, size=max(1, min(half, _BYTES // numbers)))
    return _projected(polynomials.at(noise), pairs, rows, own)


@jax.jit
def _projected(at: Array, pairs: Array, rows: Array, own: Array) -> Projected:
    half = len(pairs)
    one, fit_one, used = _design(at[:half])
    two, fit_two, _ = _design(at[half:])
    # the halves are independent: no entry of an image with itself is among the pairs
    found = matmul(matmul(fit_one, pairs), fit_two.T)
    left = pairs - matmul(matmul(one, found), two.T)
    found = (found + found.T) / 2
    design, fit, _ = _design(at)
    of_own, of_test = matmul(fit, own[:, None])[:, 0], matmul(rows, fit.T)
    return Projected(
        theta_o=found[0, 0],
        alone=found[0, 1:],
        weight=found[1:, 1:],
        left_var=(left**2).sum() / (half - used) ** 2,
        theta_d=of_own[0],
        own=of_own[1:],
        own_left=own - matmul(design, of_own[:, None])[:, 0],
        theta_test=of_test[:, 0],
        test=of_test[:, 1:],
        test_left=rows - matmul(of_test, design.T),
        freedom=len(at) - used,
        errors=used / (len(at) - used),
    )
