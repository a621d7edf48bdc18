"""Corrupted images: at no and full strength, in both precisions, draw by draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import within
from corruption_cases import (
    CORRUPTIONS,
    EPS32,
    GREY,
    KEY,
    NOISES,
    SAMPLES,
    SHAPE,
    corruptions,
    tiled,
)

from theory import keys
from theory.corruption.copies import corrupt
from theory.corruption.corruptions import Additive, ClippedAdditive, Replacement
from theory.corruption.noises import Uniform


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@corruptions
def test_strength_zero_is_the_identity_bit_for_bit(make, dtype):
    x = tiled([0.0, -0.0, 0.1, 1.0, 0.7], dtype)
    out = corrupt(make(0.0), jax.random.key(1), 5, x)
    assert out.dtype == dtype
    assert np.asarray(out).tobytes() == np.asarray(x).tobytes()
    moments = make(0.0).moments(x)
    # powers of pixels of at most one, multiplied in another order
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(moments.mean, x, rtol=8 * eps)
    for rest in (moments.var, moments.cov_square, moments.var_square):
        np.testing.assert_allclose(rest, 0, atol=8 * eps)


@pytest.mark.parametrize(
    "noise", [Replacement(p=0.0), Additive(p=0.0), ClippedAdditive(sigma=0.0)], ids=str
)
def test_strength_zero_is_the_identity_under_jit(noise):
    x = tiled([0.0, -0.0, 0.1, 1.0, 0.7])
    out = jax.jit(corrupt)(noise, jax.random.key(1), 5, x)
    assert np.asarray(out).tobytes() == np.asarray(x).tobytes()


@pytest.mark.parametrize("kind", [Replacement, Additive])
@pytest.mark.parametrize("name", NOISES)
def test_level_one_forgets_the_image(kind, name):
    noise = kind(p=1.0, noise=NOISES[name])
    x = np.random.default_rng(0).normal(size=SHAPE)
    one, other = (
        corrupt(noise, jax.random.key(2), 4, jnp.asarray(rows)) for rows in (x, -9 * x)
    )
    np.testing.assert_array_equal(one, other)
    moments, others = (noise.moments(jnp.asarray(rows)) for rows in (x, -9 * x))
    jax.tree.map(np.testing.assert_array_equal, moments, others)


@corruptions
def test_float32_and_float64_see_the_same_corrupted_images(make):
    noise = make(0.6)
    single = np.asarray(corrupt(noise, KEY, 3, GREY))
    double = np.asarray(corrupt(noise, KEY, 3, GREY.astype(np.float64)))
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    if isinstance(noise, Replacement):
        changed = (single != GREY).mean()
        assert abs(changed - 0.6) < 5 * (0.6 * 0.4 / GREY.size) ** 0.5
        np.testing.assert_array_equal(single, double.astype(np.float32))
    else:  # the image enters a sum, rounded in its own dtype, as p is: five roundings
        atol = 16 * EPS32 * np.abs(double).max()
        np.testing.assert_allclose(single, double, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_and_eager_samples_agree_to_float32_rounding(dtype):
    # fused or not, a product and a sum round differently
    x = GREY.astype(dtype)
    noise = Replacement(p=0.6, noise=Uniform(-(3**0.5), 3**0.5))
    eager, compiled = (
        np.asarray(f(noise, KEY, 3, x)) for f in (corrupt, jax.jit(corrupt))
    )
    np.testing.assert_array_equal(eager == x, compiled == x)
    atol = 8 * EPS32 * 2 * 3**0.5  # of the width of the noise
    np.testing.assert_allclose(eager, compiled, rtol=0, atol=atol)


@corruptions
def test_draws_and_keys_differ_and_repeat(make):
    noise, x = make(0.6), GREY.astype(np.float64)
    copies = [
        np.asarray(corrupt(noise, jax.random.key(seed), draw, x))
        for seed, draw in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    for i, one in enumerate(copies):
        for other in copies[:i]:
            # two coins of .3, which are added to all pixels, differ in .42 of them
            assert (one != other).mean() > 0.42 - 5 * (0.42 * 0.58 / x.size) ** 0.5
    again = corrupt(noise, jax.random.key(1), jnp.asarray(1), x)
    np.testing.assert_array_equal(again, copies[3])


def test_replaced_pixels_and_noise_have_keys_of_their_own():
    # With one key for both, uniform noise below the level p would be all that enters.
    noise = Replacement(p=0.3, noise=Uniform(0.0, 1.0))
    x = tiled([-1.0], times=(SAMPLES, 10))
    out = np.asarray(corrupt(noise, jax.random.key(0), 0, x))
    within(out[out >= 0][:, None], [0.5])


def test_no_two_laws_look_alike_to_jit():
    # Treedefs are keys of the jit cache. Where those of two classes are equal and
    # their hashes collide (one process in 30), the one is computed for the other.
    laws = [make(0.5) for make in CORRUPTIONS.values()] + list(NOISES.values())
    structures = {}
    for law in laws:
        structures.setdefault(repr(jax.tree.structure(law)), law)
    different = list(map(jax.tree.structure, structures.values()))
    for i, one in enumerate(different):
        assert all(one != other for other in different[:i])


def test_draw_keys_are_folded_from_the_key():
    key = jax.random.key(11)
    noise = Additive(p=0.5)
    np.testing.assert_array_equal(
        corrupt(noise, key, 6, GREY), noise.apply(keys.draw_key(key, 6), GREY)
    )
    assert keys.draw_key(key, 0) != keys.draw_key(key, 1)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_good_noises_pass(noise):
    noise.check()
