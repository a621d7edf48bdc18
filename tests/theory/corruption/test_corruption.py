"""Samples of the corruptions against their moments."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from closeness import within
from problems import prototypes

from theory import keys
from theory.corruption.copies import (
    corrupt,
    corrupt_copies,
    corrupt_problem,
    corrupt_test,
)
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

UNIT = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
STANDARDISED = np.array([-0.7, -0.0, 0.2, 1.1, 2.8])
SAMPLES = 20_000  # with fewer the squares of skew noise are far from Gaussian
KEY = jax.random.key(7)
# Small images have one shape: op by op, laws share what is compiled for it.
SHAPE = (4, 30)
GREY = jnp.asarray(np.random.default_rng(1).random(SHAPE).astype(np.float32))
EPS = float(np.finfo(float).eps)
EPS32 = float(np.finfo(np.float32).eps)
ROUNDING = 64 * EPS  # of some ten operations on numbers of size one
# A uniform number, made into noise, rounds by half an eps, and the quantile function of
# noise of unit size is as steep as the noise is many, where it is steepest.
NOISE_ROUNDING = 2 * math.prod(SHAPE) * EPS32


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


def tiled(row, dtype=np.float64, times=None):
    """Small images made of copies of one row, of a length that divides theirs."""
    times = times or (SHAPE[0], SHAPE[1] // len(row))
    return jnp.asarray(np.tile(np.asarray(row, dtype), times))


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


traces = []


@functools.partial(jax.jit, static_argnames="copies")
def compiled(laws, draw, x, copies):
    """Copies and moments of all laws, by name, in one program."""
    traces.append(copies)
    return {
        name: (corrupt_copies(law, KEY, draw, x, copies), law.moments(x))
        for name, law in laws.items()
    }


def all_laws(p):
    return {name: make(p) for name, make in CORRUPTIONS.items()}


@pytest.fixture(scope="module")
def three():
    """Three compiled copies by every law."""
    found = compiled(all_laws(0.6), 3, GREY.astype(float), 3)
    return {name: np.asarray(copies) for name, (copies, _) in found.items()}


def test_a_sweep_of_the_strength_compiles_once(three):
    before = len(traces)
    outs = [
        compiled(all_laws(p), draw, GREY.astype(float), 3)
        for draw, p in enumerate((0.2, 0.5, 0.9))
    ]
    assert len(traces) == before > 0, [
        name
        for name, make in CORRUPTIONS.items()
        if jax.tree.structure(make(0.2)) != jax.tree.structure(make(0.6))
    ]
    for name in CORRUPTIONS:
        assert len({float(out[name][1].mean[0, 0]) for out in outs}) == 3, name


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


def test_draw_keys_are_folded_from_the_key():
    key = jax.random.key(11)
    noise = Additive(p=0.5)
    np.testing.assert_array_equal(
        corrupt(noise, key, 6, GREY), noise.apply(keys.draw_key(key, 6), GREY)
    )
    assert keys.draw_key(key, 0) != keys.draw_key(key, 1)


# --- copies and test images -------------------------------------------------------


def assert_same_noise(actual, expected):
    np.testing.assert_allclose(
        actual, expected, rtol=NOISE_ROUNDING, atol=NOISE_ROUNDING
    )


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_first_copy_is_the_draw(name, three):
    noise, x = CORRUPTIONS[name](0.6), GREY.astype(float)
    draw = np.asarray(corrupt(noise, KEY, 3, x))
    assert corrupt_copies(noise, KEY, 3, x, 1).tobytes() == draw.tobytes()
    assert three[name].shape == (12, 30)
    assert_same_noise(three[name][:4], draw)


def test_more_copies_move_none(three):
    names = ("Replacement-uniform", "Additive-normal", "ClippedAdditive")
    laws = {name: CORRUPTIONS[name](0.6) for name in names}
    for name, (five, _) in compiled(laws, 3, GREY.astype(float), 5).items():
        assert five.shape == (20, 30)
        assert_same_noise(five[:12], three[name])


def test_copies_and_test_images_are_independent_and_have_the_moments():
    noise = Replacement(p=0.8, noise=SKEW)
    x = tiled(UNIT, times=(SAMPLES, 2))
    copies = np.asarray(corrupt_copies(noise, KEY, 0, x, 3))
    asked = np.asarray(corrupt_test(noise, KEY, 0, x))
    other = np.asarray(corrupt(noise, KEY, 1, x))
    mean, var = (
        np.asarray(getattr(noise.moments(tiled(UNIT)), name))[0, :10]
        for name in ("mean", "var")
    )
    centred = [part - mean for part in (*copies.reshape(3, -1, 10), asked, other)]
    for i, one in enumerate(centred):
        within(one, np.zeros(10), slack=1e-6)
        within(one**2, var, slack=1e-6)
        for before in centred[:i]:
            within(one * before, np.zeros(10))


def test_copies_keep_clear_of_the_keys_inside_a_draw():
    # jax.random.split(key)[i] is fold_in(key, i): copy 1 must not fold in a bare 1.
    own = keys.draw_key(KEY, 0)
    taken = {tuple(jax.random.key_data(k).tolist()) for k in jax.random.split(own, 9)}
    taken.add(tuple(jax.random.key_data(own).tolist()))

    def sampler(key, shape):
        """Noise that is its key, in halves of words that float32 holds exactly."""
        words = jax.random.key_data(key)
        halves = jnp.stack([words >> 16, words & 0xFFFF])
        return halves.astype(jnp.float32).reshape(shape)

    noise = Additive(
        p=1.0, noise=CustomNoise(sampler=sampler, moments=(0.0, 0.0, 0.0, 0.0))
    )

    @jax.jit
    def seen(x):
        asked = corrupt_test(noise, KEY, 0, x)
        return jnp.concatenate([corrupt_copies(noise, KEY, 0, x, 4), asked])

    high, low = (
        np.asarray(seen(jnp.zeros((1, 4))), np.int64).reshape(-1, 2, 2).swapaxes(0, 1)
    )
    used = list(map(tuple, (high * 2**16 + low).tolist()))
    assert used[0] == tuple(jax.random.key_data(own).tolist())
    assert len(set(used)) == 5
    assert not taken & set(used[1:])


def test_a_problem_is_corrupted_row_by_row():
    problem = prototypes((2, 2), n_test=4, d=30)
    noise, ask = Replacement(p=0.5), Additive(p=0.2)

    @jax.jit
    def both(problem):
        seen = corrupt_problem(noise, problem, KEY, 2, copies=3, test_corruption=ask)
        rows = corrupt_copies(noise, KEY, 2, problem.x_train, 3)
        return seen, rows, corrupt_test(ask, KEY, 2, problem.x_test)

    seen, train, test = both(problem)
    assert_same_noise(seen.x_train, train)
    np.testing.assert_array_equal(
        np.asarray(seen.labels_train).reshape(3, 4),
        [np.asarray(problem.labels_train)] * 3,
    )
    assert_same_noise(seen.x_test, test)
    seen.check()
    plain = corrupt_problem(noise, problem, KEY, 2)
    np.testing.assert_array_equal(
        plain.x_train, corrupt(noise, KEY, 2, problem.x_train)
    )
    assert plain.x_test is problem.x_test


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_good_noises_pass(noise):
    noise.check()
