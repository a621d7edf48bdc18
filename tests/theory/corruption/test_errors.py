"""What the corruptions and their noises refuse, and in which words."""

import math

import jax
import jax.numpy as jnp
import pytest
from closeness import raises
from problems import prototypes

from theory.corruption.copies import check_options
from theory.corruption.corruptions import (
    Additive,
    BinaryReplacement,
    ClippedAdditive,
    Replacement,
)
from theory.corruption.noises import (
    Bernoulli,
    CustomNoise,
    Laplace,
    Normal,
    NormalMixture,
    Rademacher,
    Uniform,
)

sampler = jax.random.normal


@pytest.mark.parametrize("kind", [Replacement, Additive, BinaryReplacement])
@pytest.mark.parametrize("p", [-0.1, 1.0001, math.nan, math.inf])
def test_levels_outside_the_unit_interval(kind, p):
    with raises(f"`p` must be a corruption level in [0, 1], got {p}"):
        kind(p=p).check()


@pytest.mark.parametrize("p", [0.0, 1.0, 0.5, jnp.asarray(0.2)])
def test_levels_inside_the_unit_interval(p):
    Replacement(p=p).check()
    Additive(p=p).check()
    BinaryReplacement(p).check()


@pytest.mark.parametrize("copies", [0, -1, True])
def test_copies_that_make_no_sense(copies):
    with raises(f"`copies` must be an integer of at least 1, got {copies}"):
        check_options(
            Replacement(p=0.5), prototypes(), copies=copies, test_corruption=None
        )


@pytest.mark.parametrize(
    ("test_corruption", "text"),
    [
        (ClippedAdditive(sigma=0.1), "`test_corruption`: ClippedAdditive needs pixels"),
        (
            Additive(p=2.0),
            "`test_corruption`: `p` must be a corruption level in [0, 1]",
        ),
    ],
    ids=str,
)
def test_test_corruptions_that_make_no_sense(test_corruption, text):
    with raises(text):
        check_options(
            Replacement(p=0.5), prototypes(), copies=1, test_corruption=test_corruption
        )


@pytest.mark.parametrize("sigma", [-1e-9, math.nan, math.inf])
def test_widths_that_make_no_law(sigma):
    with raises(f"`sigma` must be finite and not negative, got {sigma}"):
        ClippedAdditive(sigma=sigma).check()


BAD_NOISES = [
    (Uniform(1.0, 1.0), "`low` of Uniform must be below `high`, got 1.0, 1.0"),
    (Uniform(2.0, 1.0), "`low` of Uniform must be below `high`, got 2.0, 1.0"),
    (Uniform(0.0, math.inf), "`high` of Uniform must be finite, got inf"),
    (Normal(math.nan, 1.0), "`loc` of Normal must be finite, got nan"),
    (Normal(0.0, 0.0), "`scale` of Normal must be positive, got 0.0"),
    (Normal(0.0, -1.0), "`scale` of Normal must be positive, got -1.0"),
    (NormalMixture(1.2), "`share` of NormalMixture must be in [0, 1], got 1.2"),
    (NormalMixture(0.1, 0.0), "`wide` of NormalMixture must be positive, got 0.0"),
    (Laplace(0.0, 0.0), "`scale` of Laplace must be positive, got 0.0"),
    (Laplace(0.0, math.nan), "`scale` of Laplace must be finite, got nan"),
    (Bernoulli(1.5), "`prob` of Bernoulli must be in [0, 1], got 1.5"),
    (Bernoulli(-0.5), "`prob` of Bernoulli must be in [0, 1], got -0.5"),
    (Rademacher(0.0), "`scale` of Rademacher must be positive, got 0.0"),
]


@pytest.mark.parametrize(("noise", "text"), BAD_NOISES, ids=str)
def test_parameters_that_make_no_law(noise, text):
    for kind in (Replacement(p=0.5, noise=noise), Additive(p=0.5, noise=noise)):
        with raises(text):
            kind.check()


@pytest.mark.parametrize(
    "moments",
    [
        (0.5, 0.2, 0.1, 0.1),  # variance -.05
        (0.0, 1.0, 0.0, 0.99),  # E z^4 < (E z^2)^2
        (0.0, 1.0, 1.0, 1.5),  # E z^4 < 1 + (E z^3)^2
        (0.0, 1e-6, 0.0, 0.5e-12),  # the second, in other units
        (0.0, -1.0, 0.0, 3.0),
        (0.0, 1e6, 0.0, 0.5e12),  # and of large noise
        (127.5, 100.0, 100.0, 8.5e8),
    ],
)
def test_impossible_moments(moments):
    with raises("belong to no random variable"):
        CustomNoise(sampler=sampler, moments=moments).check()


@pytest.mark.parametrize(
    "moments", [(0.3,) * 4, (0.0, 1.0, 0.0, 1.0), (0.0,) * 4, (2.0, 4.0, 8.0, 16.0)]
)
def test_moments_of_laws_on_one_or_two_points_are_possible(moments):
    CustomNoise(sampler=sampler, moments=moments).check()


def test_custom_noise_wants_four_finite_moments():
    with raises("`moments` of CustomNoise must be four, got 3"):
        CustomNoise(sampler=sampler, moments=(0.0, 1.0, 0.0)).check()  # ty: ignore
    with raises("`moments` of CustomNoise must be finite"):
        CustomNoise(sampler=sampler, moments=(0.0, 1.0, 0.0, math.nan)).check()


@pytest.mark.parametrize("bad", [-0.01, 1.01, math.nan])
def test_clipped_noise_wants_pixels_in_the_unit_interval(bad):
    x = jnp.asarray([[0.0, 1.0, bad]])
    with raises("ClippedAdditive needs pixels in [0, 1], got "):
        ClippedAdditive(sigma=0.1).check_images(x)
    with raises("use normalise='unit'"):
        ClippedAdditive(sigma=0.1).check_images(x)
    ClippedAdditive(sigma=0.1).check_images(jnp.asarray([[0.0, 0.5, 1.0]]))
    Replacement(p=0.5).check_images(x)
    Additive(p=0.5).check_images(x)
