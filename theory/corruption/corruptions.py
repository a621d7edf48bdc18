"""Corruptions of images, of which networks get samples and the theory moments.

One definition serves both sides: samples to the networks, exact moments per pixel to
the theory. Pixels are corrupted independently. A sample depends on the key, the draw
and the shape only: random numbers are always float32 and then cast, so float32
training and float64 theory see the same corrupted images (the corruption level of the
mask is rounded to float32 too, which moves it by at most 3e-8).

Reference: docs/theory/corruption.md (3)-(4); arXiv 2606.11319, appendix C.
"""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from theory.corruption.base import Corruption
from theory.corruption.noises import Bernoulli, Noise, Normal, Scalar, Uniform, float32
from theory.errors import InputError
from theory.numerics import doors
from theory.records import record


def _check_p(p: Scalar) -> None:
    known = doors.real("p", p)
    if known is not None and not 0 <= known <= 1:  # NaN fails too
        raise InputError(f"`p` must be a corruption level in [0, 1], got {known}.")


@jax.custom_jvp
def _undifferentiated(p: Scalar) -> Scalar:
    """The level that pixels are drawn against, of which samples are no function."""
    return p


@_undifferentiated.defjvp
def _undifferentiated_jvp(primals, tangents):
    raise InputError(
        "samples of Replacement have no derivative in `p`, pixels are kept or not: "
        "differentiate theory.first_order or theory.resummed, or draw from Additive."
    )


@record(kw_only=True)
class Replacement(Corruption):
    """Each pixel is replaced by noise with probability p: x~ = z or x.

    `p=0` returns `x` bit for bit, `p=1` is independent of `x`. `p` is traced.
    """

    ends_in_noise: ClassVar[bool] = True
    p: Scalar
    noise: Noise = Uniform(-(3**0.5), 3**0.5)

    def apply(self, key, x):
        """See `Corruption.apply`."""
        mask_key, noise_key = jax.random.split(key)
        p = _undifferentiated(float32(self.p))
        replaced = jax.random.uniform(mask_key, x.shape, jnp.float32) < p
        return jnp.where(
            replaced, self.noise.sample(noise_key, x.shape).astype(x.dtype), x
        )

    def raw_moments(self, x):
        """See `Corruption.raw_moments`: eps x^k + p mu_k."""
        return [
            (1 - self.p) * x**k + self.p * mu
            for k, mu in enumerate(self.noise.raw_moments(), start=1)
        ]

    def check(self):
        """See `Corruption.check`."""
        _check_p(self.p)
        if not isinstance(self.noise, Noise):
            raise InputError(f"`noise` must be a Noise, got {self.noise!r:.60}.")
        if doors.concrete(self.noise):
            self.noise.check()


def BinaryReplacement(p: Scalar) -> Replacement:  # a constructor, spelt like the others
    """Each pixel of a binary image is replaced by a fair coin with probability p."""
    return Replacement(p=p, noise=Bernoulli(0.5))


@record(kw_only=True)
class Additive(Corruption):
    """Each pixel fades as noise comes in: x~ = (1 - p) x + p z.

    `p=0` returns `x` bit for bit, `p=1` is independent of `x`. `p` is traced.
    """

    ends_in_noise: ClassVar[bool] = True
    p: Scalar
    noise: Noise = Normal()

    def apply(self, key, x):
        """See `Corruption.apply`."""
        p = jnp.asarray(self.p, x.dtype)
        z = self.noise.sample(key, x.shape).astype(x.dtype)
        # -0.0 + 0.0 is 0.0: without the first branch p = 0 would not be the identity.
        return jnp.where(p == 0, x, (1 - p) * x + p * z)

    def raw_moments(self, x):
        """See `Corruption.raw_moments`: the binomial formula."""
        mu = (1.0, *self.noise.raw_moments())
        eps_x = (1 - self.p) * x
        return [
            sum(
                math.comb(k, i) * eps_x ** (k - i) * self.p**i * mu[i]
                for i in range(k + 1)
            )
            for k in range(1, 5)
        ]

    def check(self):
        """See `Corruption.check`."""
        _check_p(self.p)
        if not isinstance(self.noise, Noise):
            raise InputError(f"`noise` must be a Noise, got {self.noise!r:.60}.")
        if doors.concrete(self.noise):
            self.noise.check()


@record(kw_only=True)
class ClippedAdditive(Corruption):
    """Uniform noise of width sigma, clipped: x~ = clip(x + U(-sigma/2, sigma/2), 0, 1).

    For pixels in [0, 1]. It is biased wherever it clips: a black pixel has mean
    sigma/8. `sigma=0` returns `x` bit for bit.
    """

    sigma: Scalar

    def apply(self, key, x):
        """See `Corruption.apply`."""
        sigma = jnp.asarray(self.sigma, x.dtype)
        u = jax.random.uniform(key, x.shape, jnp.float32).astype(x.dtype) - 0.5
        return jnp.where(sigma == 0, x, jnp.clip(x + sigma * u, 0.0, 1.0))

    def raw_moments(self, x):
        """See `Corruption.raw_moments`: the part that stays inside, and the clipped."""
        sigma = jnp.asarray(self.sigma, x.dtype)
        width = jnp.where(sigma == 0, 1.0, sigma)
        low, high = jnp.clip(x - sigma / 2, 0, 1), jnp.clip(x + sigma / 2, 0, 1)
        inside = jnp.where(sigma == 0, 1.0, (high - low) / width)
        at_one = (
            jnp.maximum(x + sigma / 2 - 1, 0) - jnp.maximum(x - sigma / 2 - 1, 0)
        ) / width
        # (high^(k+1) - low^(k+1))/(high - low) as a sum: no cancellation at small sigma
        return [
            inside * sum(low**i * high ** (k - i) for i in range(k + 1)) / (k + 1)
            + at_one
            for k in range(1, 5)
        ]

    def check(self):
        """See `Corruption.check`."""
        sigma = doors.real("sigma", self.sigma)
        if sigma is not None and not 0 <= sigma < math.inf:
            raise InputError(f"`sigma` must be finite and not negative, got {sigma}.")

    def check_images(self, x):
        """See `Corruption.check_images`."""
        inside = lambda x: (x >= 0) & (x <= 1)
        if doors.concrete(x) and not doors.holds(inside, x):
            raise InputError(
                "ClippedAdditive needs pixels in [0, 1], got "
                f"[{float(x.min()):.3g}, {float(x.max()):.3g}]: use normalise='unit'."
            )
