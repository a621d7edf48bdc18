"""Samples of the corruptions against their moments, and what they refuse."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from problems import prototypes, raises, within

from theory import corrupted
from theory.corrupted import corrupt
from theory.corruption import Additive, BinaryReplacement, ClippedAdditive, Replacement
from theory.noises import (
    Bernoulli,
    CustomNoise,
    Laplace,
    Normal,
    NormalMixture,
    Rademacher,
    Uniform,
)

UNIT = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
STANDARDISED = np.array([-0.7, -0.0, 0.2, 1.1, 2.8])
SAMPLES = 20_000
KEY = jax.random.key(7)


def exponential(key, shape):
    return jax.random.exponential(key, shape, jnp.float32) - jnp.float32(0.7)


# z = e - .7 with e exponential, E e^k = k!, expanded by the binomial formula
def skew_moment(k):
    """E (e - .7)^k by the binomial formula, from E e^i = i!."""
    return sum(
        math.comb(k, i) * math.factorial(i) * (-0.7) ** (k - i) for i in range(k + 1)
    )


SKEW = CustomNoise(
    sampler=exponential,
    moments=(skew_moment(1), skew_moment(2), skew_moment(3), skew_moment(4)),
)
NOISES = {
    "uniform": Uniform(-(3**0.5), 3**0.5),
    "uniform_off_centre": Uniform(0.2, 0.9),
    "normal": Normal(),
    "normal_off_centre": Normal(0.4, 0.3),
    "laplace": Laplace(-0.2, 0.5),
    "mixture": NormalMixture(0.2, 1.5, 0.4),
    "bernoulli": Bernoulli(0.3),
    "rademacher": Rademacher(0.8),
    "custom": SKEW,
}
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
CORRUPTIONS = {
    f"{kind.__name__}-{name}": lambda p, kind=kind, noise=noise: kind(p=p, noise=noise)
    for kind in (Replacement, Additive)
    for name, noise in NOISES.items()
} | {
    "BinaryReplacement": BinaryReplacement,
    "ClippedAdditive": lambda p: ClippedAdditive(sigma=2 * p),
}
corruptions = pytest.mark.parametrize("make", CORRUPTIONS.values(), ids=CORRUPTIONS)


@pytest.mark.parametrize("name", NOISES)
def test_raw_moments_of_the_noises(name):
    scale = 0.8 if name == "rademacher" else 1.0
    if name == "mixture":
        wide, narrow = (scipy.stats.norm(0, sd) for sd in (1.5, 0.4))
        expected = [0.2 * wide.moment(k) + 0.8 * narrow.moment(k) for k in range(1, 5)]
    else:
        expected = [SCIPY[name].moment(k) * scale**k for k in range(1, 5)]
    np.testing.assert_allclose(
        NOISES[name].raw_moments(), expected, rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("p", [0.3, 1.0])
@corruptions
def test_moments_are_those_of_the_samples(make, p):
    noise = make(p)
    x = UNIT
    if not isinstance(noise, ClippedAdditive):
        x = np.concatenate([UNIT, STANDARDISED])
    moments = noise.moments(jnp.asarray(x)[None])
    # One long image of many copies of each pixel: pixels are corrupted independently.
    many = corrupt(noise, jax.random.key(3), 0, jnp.tile(x, (SAMPLES, 1)))
    sample = np.asarray(many)
    mean, var, cov_square, var_square = (
        np.asarray(getattr(moments, field.name))[0]
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
    x = np.tile(UNIT, (SAMPLES, 1))
    sample = np.asarray(corrupt(noise, jax.random.key(0), 0, jnp.asarray(x)))
    centred = sample - np.asarray(noise.moments(jnp.asarray(UNIT)[None]).mean)
    within(centred[:, 1:] * centred[:, :-1], np.zeros(4))
    within(centred[1:] * centred[:-1], np.zeros(5))  # neighbouring images


@pytest.mark.parametrize("sigma", [1e-3, 0.15, 0.6, 1.0, 1.7, 4.0])
def test_clipped_moments_are_integrals(sigma):
    got = ClippedAdditive(sigma=sigma).raw_moments(jnp.asarray(UNIT))
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
            np.testing.assert_allclose(got[k - 1][i], expected, rtol=1e-10, atol=1e-12)


def test_a_black_pixel_gains_an_eighth_of_the_width():
    moments = ClippedAdditive(sigma=0.4).moments(jnp.zeros((1, 1)))
    np.testing.assert_allclose(moments.mean, 0.05, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@corruptions
def test_strength_zero_is_the_identity_bit_for_bit(make, dtype):
    x = jnp.asarray([[0.0, -0.0, 0.1, 1.0, 0.7]], dtype)
    out = corrupt(make(0.0), jax.random.key(1), 5, x)
    assert out.dtype == dtype
    assert np.asarray(out).tobytes() == np.asarray(x).tobytes()
    moments = make(0.0).moments(x)
    np.testing.assert_allclose(moments.mean, x, rtol=1e-7)
    for rest in (moments.var, moments.cov_square, moments.var_square):
        np.testing.assert_allclose(rest, 0, atol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    "noise", [Replacement(p=0.0), Additive(p=0.0), ClippedAdditive(sigma=0.0)], ids=str
)
def test_strength_zero_is_the_identity_under_jit(noise):
    x = jnp.asarray([[0.0, -0.0, 0.1, 1.0, 0.7]])
    out = jax.jit(corrupt)(noise, jax.random.key(1), 5, x)
    assert np.asarray(out).tobytes() == np.asarray(x).tobytes()


@pytest.mark.parametrize("kind", [Replacement, Additive])
@pytest.mark.parametrize("name", NOISES)
def test_level_one_forgets_the_image(kind, name):
    noise = kind(p=1.0, noise=NOISES[name])
    x = np.random.default_rng(0).normal(size=(3, 50))
    one, other = (
        corrupt(noise, jax.random.key(2), 4, jnp.asarray(rows)) for rows in (x, -9 * x)
    )
    np.testing.assert_array_equal(one, other)
    moments, others = (noise.moments(jnp.asarray(rows)) for rows in (x, -9 * x))
    jax.tree.map(np.testing.assert_array_equal, moments, others)


@corruptions
def test_float32_and_float64_see_the_same_corrupted_images(make):
    x = np.random.default_rng(1).random((4, 300)).astype(np.float32)
    key, noise = KEY, make(0.6)
    single = corrupt(noise, key, 3, jnp.asarray(x))
    double = corrupt(noise, key, 3, jnp.asarray(x, jnp.float64))
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    if isinstance(noise, Replacement):
        changed = np.asarray(single) != x
        assert 0.15 < changed.mean() < 0.75
        np.testing.assert_array_equal(single, np.asarray(double).astype(np.float32))
    else:  # the image enters a sum, rounded in its own dtype
        np.testing.assert_allclose(single, double, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_and_eager_samples_agree_to_float32_rounding(dtype):
    # fused or not, a product and a sum round differently
    x = jnp.asarray(np.random.default_rng(1).random((4, 300)), dtype)
    noise = Replacement(p=0.6, noise=Uniform(-(3**0.5), 3**0.5))
    eager, compiled = (f(noise, KEY, 3, x) for f in (corrupt, jax.jit(corrupt)))
    np.testing.assert_array_equal(eager == x, compiled == x)
    np.testing.assert_allclose(eager, compiled, rtol=0, atol=3e-7)


@corruptions
def test_draws_and_keys_differ_and_repeat(make):
    x = jnp.asarray(np.random.default_rng(1).random((4, 300)))
    noise = make(0.6)
    copies = [
        np.asarray(corrupt(noise, jax.random.key(seed), draw, x))
        for seed, draw in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    for i, one in enumerate(copies):
        for other in copies[:i]:
            # with binary noise half of the replaced pixels may agree by chance
            assert (one != other).mean() > 0.3
    again = corrupt(noise, jax.random.key(1), jnp.asarray(1), x)
    np.testing.assert_array_equal(again, copies[3])


def test_replaced_pixels_and_noise_have_keys_of_their_own():
    # With one key for both, uniform noise below the level p would be all that enters.
    noise = Replacement(p=0.3, noise=Uniform(0.0, 1.0))
    x = jnp.full((10, 1000), -1.0)
    out = np.asarray(corrupt(noise, jax.random.key(0), 0, x))
    within(out[out >= 0][:, None], [0.5])


@corruptions
def test_a_sweep_of_the_strength_compiles_once(make):
    traces = []

    @jax.jit
    def sample(noise, draw, x):
        traces.append(noise)
        return corrupt(noise, jax.random.key(0), draw, x), noise.moments(x)

    x = jnp.ones((2, 3))
    outs = [sample(make(p), draw, x) for draw, p in enumerate((0.2, 0.5, 0.9))]
    assert len(traces) == 1
    means = [float(moments.mean[0, 0]) for _, moments in outs]
    assert len(set(means)) == 3


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


def test_gradients_in_the_level_are_those_of_the_moments():
    x = jnp.asarray([[0.3, -1.2]])

    def second(p):
        return Additive(p=p, noise=SKEW).raw_moments(x)[1].sum()

    h = 1e-5
    expected = (second(1.0) - second(1.0 - 2 * h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(second)(1.0 - h), expected, rtol=1e-8)


def test_draw_keys_are_folded_from_the_key():
    key = jax.random.key(11)
    x = jnp.zeros((2, 5))
    noise = Additive(p=0.5)
    np.testing.assert_array_equal(
        corrupt(noise, key, 6, x), noise.apply(corrupted.draw_key(key, 6), x)
    )
    assert corrupted.draw_key(key, 0) != corrupted.draw_key(key, 1)


# --- copies and test images -------------------------------------------------------


@corruptions
def test_the_first_copy_is_the_draw(make):
    x = jnp.asarray(np.random.default_rng(1).random((4, 30)))
    noise = make(0.6)
    draw = np.asarray(corrupt(noise, KEY, 3, x))
    assert corrupted.corrupt_copies(noise, KEY, 3, x, 1).tobytes() == draw.tobytes()
    three, five = (
        np.asarray(corrupted.corrupt_copies(noise, KEY, 3, x, copies))
        for copies in (3, 5)
    )
    assert three.shape == (12, 30)
    np.testing.assert_array_equal(three[:4], draw)
    np.testing.assert_array_equal(five[:12], three)  # more copies move none
    jitted = jax.jit(corrupted.corrupt_copies, static_argnums=4)(noise, KEY, 3, x, 3)
    np.testing.assert_allclose(jitted, three, rtol=0, atol=3e-7)


def test_copies_and_test_images_are_independent_and_have_the_moments():
    noise = Replacement(p=0.8, noise=SKEW)
    x = jnp.asarray(np.tile(UNIT, (SAMPLES, 1)))
    copies = np.asarray(corrupted.corrupt_copies(noise, KEY, 0, x, 3))
    asked = np.asarray(corrupted.corrupt_test(noise, KEY, 0, x))
    other = np.asarray(corrupt(noise, KEY, 1, x))
    mean, var = (
        np.asarray(getattr(noise.moments(jnp.asarray(UNIT)[None]), name))[0]
        for name in ("mean", "var")
    )
    centred = [part - mean for part in (*copies.reshape(3, -1, 5), asked, other)]
    for i, one in enumerate(centred):
        within(one, np.zeros(5), slack=1e-6)
        within(one**2, var, slack=1e-6)
        for before in centred[:i]:
            within(one * before, np.zeros(5))


def test_copies_keep_clear_of_the_keys_inside_a_draw():
    # jax.random.split(key)[i] is fold_in(key, i): copy 1 must not fold in a bare 1.
    own = corrupted.draw_key(KEY, 0)
    taken = {jax.random.key_data(k).tobytes() for k in [own, *jax.random.split(own, 9)]}
    seen = []

    def sampler(key, shape):
        seen.append(jax.random.key_data(key))
        return jnp.zeros(shape, jnp.float32)

    noise = Additive(
        p=0.5, noise=CustomNoise(sampler=sampler, moments=(0.0, 0.0, 0.0, 0.0))
    )
    with jax.disable_jit():
        corrupted.corrupt_copies(noise, KEY, 0, jnp.zeros((1, 1)), 4)
        corrupted.corrupt_test(noise, KEY, 0, jnp.zeros((1, 1)))
    used = [np.asarray(key).tobytes() for key in seen]
    assert len(set(used)) == 5
    assert not taken & set(used[1:])


def test_a_problem_is_corrupted_row_by_row():
    problem = prototypes((3, 2), n_test=4)
    noise, ask = Replacement(p=0.5), Additive(p=0.2)
    seen = corrupted.corrupt_problem(
        noise, problem, KEY, 2, copies=3, test_corruption=ask
    )
    np.testing.assert_array_equal(
        seen.x_train, corrupted.corrupt_copies(noise, KEY, 2, problem.x_train, 3)
    )
    np.testing.assert_array_equal(
        np.asarray(seen.labels_train).reshape(3, 5),
        [np.asarray(problem.labels_train)] * 3,
    )
    np.testing.assert_array_equal(
        seen.x_test, corrupted.corrupt_test(ask, KEY, 2, problem.x_test)
    )
    seen.check()
    plain = corrupted.corrupt_problem(noise, problem, KEY, 2)
    np.testing.assert_array_equal(
        plain.x_train, corrupt(noise, KEY, 2, problem.x_train)
    )
    assert plain.x_test is problem.x_test


# --- refusals ---------------------------------------------------------------------


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
        corrupted.check_options(
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
        corrupted.check_options(
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


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_good_noises_pass(noise):
    noise.check()


@pytest.mark.parametrize(
    "moments",
    [
        (0.5, 0.2, 0.1, 0.1),  # variance -.05
        (0.0, 1.0, 0.0, 0.99),  # E z^4 < (E z^2)^2
        (0.0, 1.0, 1.0, 1.5),  # E z^4 < 1 + (E z^3)^2
        (0.0, 1e-6, 0.0, 0.5e-12),  # the second, in other units
        (0.0, -1.0, 0.0, 3.0),
    ],
)
def test_impossible_moments(moments):
    with raises("belong to no random variable"):
        CustomNoise(sampler=exponential, moments=moments).check()


@pytest.mark.parametrize(
    "moments", [(0.0, 1e6, 0.0, 0.5e12), (127.5, 100.0, 100.0, 8.5e8)]
)
def test_impossible_moments_of_large_noise(moments):
    with raises("belong to no random variable"):
        CustomNoise(sampler=exponential, moments=moments).check()


@pytest.mark.parametrize(
    "moments", [(0.3,) * 4, (0.0, 1.0, 0.0, 1.0), (0.0,) * 4, (2.0, 4.0, 8.0, 16.0)]
)
def test_moments_of_laws_on_one_or_two_points_are_possible(moments):
    CustomNoise(sampler=exponential, moments=moments).check()


def test_custom_noise_wants_four_finite_moments():
    with raises("`moments` of CustomNoise must be four, got 3"):
        CustomNoise(sampler=exponential, moments=(0.0, 1.0, 0.0)).check()  # ty: ignore
    with raises("`moments` of CustomNoise must be finite"):
        CustomNoise(sampler=exponential, moments=(0.0, 1.0, 0.0, math.nan)).check()


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
