"""The iid noises that corruptions are made of: samples, and four raw moments.

Random numbers are float32 whatever the dtype of the images, so that float32 training
and float64 theory see the same noise.
"""

import abc
import dataclasses
import math
import typing
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.errors import InputError
from theory.numerics import doors
from theory.records import record, static

Scalar = Float[Array, ""] | float | int
RawMoments = tuple[Scalar, Scalar, Scalar, Scalar]


class Noise(abc.ABC):
    """The law of one noise pixel: a sampler and its four raw moments."""

    @abc.abstractmethod
    def sample(self, key: Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Returns iid float32 noise; the key is consumed."""

    @abc.abstractmethod
    def raw_moments(self) -> RawMoments:
        """Returns E z, E z^2, E z^3, E z^4."""

    def check(self) -> None:
        """Raises `InputError` on parameters that make no law. Host only."""
        for field in dataclasses.fields(typing.cast(typing.Any, self)):
            value = getattr(self, field.name)
            parts = () if callable(value) else jax.tree.leaves(value)
            known = [doors.real(field.name, part) or 0 for part in parts]
            if not all(map(math.isfinite, known)):
                raise InputError(
                    f"`{field.name}` of {type(self).__name__} must be finite, "
                    f"got {value}."
                )


def _positive(noise: Noise, name: str) -> None:
    if not float(getattr(noise, name)) > 0:
        raise InputError(
            f"`{name}` of {type(noise).__name__} must be positive, "
            f"got {getattr(noise, name)}."
        )


def _raw_from_central(
    mean: Scalar, var: Scalar, third: Scalar, fourth: Scalar
) -> RawMoments:
    return (
        mean,
        mean**2 + var,
        mean**3 + 3 * mean * var + third,
        mean**4 + 6 * mean**2 * var + 4 * mean * third + fourth,
    )


def float32(value: Scalar) -> Array:
    """Returns `value` as random numbers are drawn."""
    return jnp.asarray(value, jnp.float32)


@record
class Uniform(Noise):
    """Uniform on [low, high]. U(-sqrt 3, sqrt 3) has mean 0 and variance 1."""

    low: Scalar = 0.0
    high: Scalar = 1.0

    def sample(self, key, shape):
        """See `Noise.sample`."""
        low, high = float32(self.low), float32(self.high)
        return low + (high - low) * jax.random.uniform(key, shape, jnp.float32)

    def raw_moments(self):
        """See `Noise.raw_moments`; the sum form does not cancel for high near low."""
        low, high = self.low, self.high
        return tuple(
            sum(low**i * high ** (k - i) for i in range(k + 1)) / (k + 1)
            for k in range(1, 5)
        )

    def check(self):
        """See `Noise.check`."""
        super().check()
        if not float(self.low) < float(self.high):
            raise InputError(
                f"`low` of Uniform must be below `high`, got {self.low}, {self.high}."
            )


@record
class Normal(Noise):
    """Gaussian noise."""

    loc: Scalar = 0.0
    scale: Scalar = 1.0

    def sample(self, key, shape):
        """See `Noise.sample`."""
        z = jax.random.normal(key, shape, jnp.float32)
        return float32(self.loc) + float32(self.scale) * z

    def raw_moments(self):
        """See `Noise.raw_moments`."""
        return _raw_from_central(self.loc, self.scale**2, 0.0, 3 * self.scale**4)

    def check(self):
        """See `Noise.check`."""
        super().check()
        _positive(self, "scale")


@record
class Laplace(Noise):
    """Laplace noise of density exp(-|z - loc|/scale)/(2 scale), variance 2 scale^2."""

    loc: Scalar = 0.0
    scale: Scalar = 1.0

    def sample(self, key, shape):
        """See `Noise.sample`."""
        z = jax.random.laplace(key, shape, jnp.float32)
        return float32(self.loc) + float32(self.scale) * z

    def raw_moments(self):
        """See `Noise.raw_moments`."""
        return _raw_from_central(self.loc, 2 * self.scale**2, 0.0, 24 * self.scale**4)

    def check(self):
        """See `Noise.check`."""
        super().check()
        _positive(self, "scale")


@record
class Bernoulli(Noise):
    """One with probability `prob`, else zero."""

    prob: Scalar = 0.5

    def sample(self, key, shape):
        """See `Noise.sample`."""
        u = jax.random.uniform(key, shape, jnp.float32)
        return (u < float32(self.prob)).astype(jnp.float32)

    def raw_moments(self):
        """See `Noise.raw_moments`."""
        return (self.prob,) * 4

    def check(self):
        """See `Noise.check`."""
        super().check()
        if not 0 <= float(self.prob) <= 1:
            raise InputError(f"`prob` of Bernoulli must be in [0, 1], got {self.prob}.")


@record
class Rademacher(Noise):
    """Plus or minus `scale` with equal probability."""

    scale: Scalar = 1.0

    def sample(self, key, shape):
        """See `Noise.sample`."""
        return float32(self.scale) * jax.random.rademacher(key, shape, jnp.float32)

    def raw_moments(self):
        """See `Noise.raw_moments`."""
        return (0.0, self.scale**2, 0.0, self.scale**4)

    def check(self):
        """See `Noise.check`."""
        super().check()
        _positive(self, "scale")


@record
class NormalMixture(Noise):
    """Gaussian noise of two widths: `wide` with probability `share`, else `narrow`."""

    share: Scalar = 0.1
    wide: Scalar = 3.0
    narrow: Scalar = 1.0

    def sample(self, key, shape):
        """See `Noise.sample`."""
        which, value = jax.random.split(key)
        chosen = jax.random.uniform(which, shape, jnp.float32) < float32(self.share)
        scale = jnp.where(chosen, float32(self.wide), float32(self.narrow))
        return scale * jax.random.normal(value, shape, jnp.float32)

    def raw_moments(self):
        """See `Noise.raw_moments`."""
        second, fourth = (
            self.share * self.wide**k + (1 - self.share) * self.narrow**k
            for k in (2, 4)
        )
        return (0.0, second, 0.0, 3 * fourth)

    def check(self):
        """See `Noise.check`."""
        super().check()
        _positive(self, "wide")
        _positive(self, "narrow")
        if not 0 <= float(self.share) <= 1:
            raise InputError(
                f"`share` of NormalMixture must be in [0, 1], got {self.share}."
            )


@record
class CustomNoise(Noise):
    """Any iid noise: a sampler `(key, shape) -> float32` and E z^k for k = 1 ... 4."""

    sampler: Callable = static()
    moments: RawMoments

    def sample(self, key, shape):
        """See `Noise.sample`."""
        return self.sampler(key, shape).astype(jnp.float32)

    def raw_moments(self):
        """See `Noise.raw_moments`."""
        return self.moments

    def check(self):
        """See `Noise.check`; the moments must be those of some law (Hamburger)."""
        super().check()
        if len(self.moments) != 4:
            raise InputError(
                f"`moments` of CustomNoise must be four, got {len(self.moments)}."
            )
        scale = abs(float(self.moments[3])) ** 0.25 or 1.0
        m1, m2, m3, m4 = (float(m) / scale**k for k, m in enumerate(self.moments, 1))
        hankel = np.array([[1, m1, m2], [m1, m2, m3], [m2, m3, m4]])
        if np.linalg.eigvalsh(hankel)[0] < -1e-6:
            raise InputError(f"`moments` {self.moments} belong to no random variable.")
