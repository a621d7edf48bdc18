"""Moments of noises and corruptions, against samples, integrals and SciPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from closeness import within
from corruption_cases import (
    EPS,
    NOISES,
    ROUNDING,
    SAMPLES,
    SKEW,
    UNIT,
    corruptions,
    tiled,
)

from theory.corruption.copies import corrupt
from theory.corruption.corruptions import Additive, ClippedAdditive, Replacement
from theory.corruption.noises import Uniform

STANDARDISED = np.array([-0.7, -0.0, 0.2, 1.1, 2.8])
# scipy's own moments: a second definition of the same laws
SCIPY = {
    "uniform": scipy.stats.uniform(-(3**0.5), 2 * 3**0.5),
    "uniform_off_centre": scipy.stats.uniform(0.2, 0.9 - 0.2),
    "normal": scipy.stats.norm(0, 1),
    "normal_off_centre": scipy.stats.norm(0.4, 0.3),
    "laplace": scipy.stats.laplace(-0.2, 0.5),
    "bernoulli": scipy.stats.bernoulli(0.3),
    "rademacher": scipy.stats.rv_discrete(values=([-1, 1], [0.5, 0.5])),
    "custom": scipy.stats.expon(-0.7),
}


@pytest.mark.parametrize("name", NOISES)
def test_raw_moments_of_the_noises(name):
    scale = 0.8 if name == "rademacher" else 1.0
    if name == "mixture":
        wide, narrow = (scipy.stats.norm(0, sd) for sd in (1.5, 0.4))
        expected = [0.2 * wide.moment(k) + 0.8 * narrow.moment(k) for k in range(1, 5)]
    else:
        expected = [SCIPY[name].moment(k) * scale**k for k in range(1, 5)]
    # sums of at most five terms, of which the largest is 12
    np.testing.assert_allclose(
        NOISES[name].raw_moments(), expected, rtol=ROUNDING, atol=12 * ROUNDING
    )


@pytest.mark.parametrize("p", [0.3, 1.0])
@corruptions
def test_moments_are_those_of_the_samples(make, p):
    noise = make(p)
    unit_only = isinstance(noise, ClippedAdditive)
    x = np.concatenate([UNIT, UNIT if unit_only else STANDARDISED])
    moments = noise.moments(tiled(x))
    # One long image of many copies of each pixel: pixels are corrupted independently.
    many = corrupt(noise, jax.random.key(3), 0, tiled(x, times=(SAMPLES, 1)))
    sample = np.asarray(many)
    mean, var, cov_square, var_square = (
        np.asarray(getattr(moments, field.name))[0, : len(x)]
        for field in dataclasses.fields(moments)
    )
    square = var + mean**2
    # 1e-6: noise and p are rounded to float32 in the samples
    within(sample, mean, slack=1e-6)
    within((sample - mean) ** 2, var, slack=1e-6)
    within((sample - mean) * (sample**2 - square), cov_square, slack=1e-6)
    within((sample**2 - square) ** 2, var_square, slack=1e-6)


@pytest.mark.parametrize("make", [Replacement, Additive])
def test_pixels_are_independent(make):
    noise = make(p=0.8, noise=SKEW)
    x = tiled(UNIT, times=(SAMPLES, 2))
    sample = np.asarray(corrupt(noise, jax.random.key(0), 0, x))
    centred = sample - np.asarray(noise.moments(tiled(UNIT)).mean)[0, :10]
    within(centred[:, 1:] * centred[:, :-1], np.zeros(9))
    within(centred[1:] * centred[:-1], np.zeros(10))  # neighbouring images


@pytest.mark.parametrize("sigma", [1e-3, 0.15, 0.6, 1.0, 1.7, 4.0])
def test_clipped_moments_are_integrals(sigma):
    found = ClippedAdditive(sigma=sigma).raw_moments(tiled(UNIT))
    got = [np.asarray(part)[0] for part in found]
    for k in range(1, 5):
        for i, x in enumerate(UNIT):
            kinks = [u for u in (-x, 1 - x) if abs(u) < sigma / 2]
            expected = scipy.integrate.quad(
                lambda u, x=x, k=k: np.clip(x + u, 0, 1) ** k / sigma,
                -sigma / 2,
                sigma / 2,
                points=kinks or None,
                epsabs=1e-13,
            )[0]
            # what is clipped is a difference of numbers of size one, over sigma
            rounding = ROUNDING * (1 + 1 / sigma)
            np.testing.assert_allclose(got[k - 1][i], expected, rtol=0, atol=rounding)


def test_a_black_pixel_gains_an_eighth_of_the_width():
    moments = ClippedAdditive(sigma=0.4).moments(tiled([0.0]))
    np.testing.assert_allclose(moments.mean, 0.05, rtol=ROUNDING)


def test_moments_by_hand():
    x, p, end = np.linspace(-2, 2, 5)[None], 0.3, 1.5
    of_noise = [0.0, end**2 / 3, 0.0, end**4 / 5]
    m1, m2, m3, m4 = ((1 - p) * x**k + p * of_noise[k - 1] for k in (1, 2, 3, 4))
    found = Replacement(p=p, noise=Uniform(-end, end)).moments(jnp.asarray(x))
    expected = {
        "mean": m1,
        "var": m2 - m1**2,
        "cov_square": m3 - m1 * m2,
        "var_square": m4 - m2**2,
    }
    for name, value in expected.items():
        # a few roundings of the largest term of all
        np.testing.assert_allclose(
            getattr(found, name), value, rtol=0, atol=16 * EPS * m4.max(), err_msg=name
        )


def test_gradients_in_the_level_are_those_of_the_moments():
    x = tiled([0.3, -1.2])

    @jax.jit
    def second(p):
        return Additive(p=p, noise=SKEW).raw_moments(x)[1].mean()

    # of a quadratic function the difference is exact
    h = 0.125
    expected = (second(1.0) - second(1.0 - 2 * h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(second)(1.0 - h), expected, rtol=ROUNDING)
