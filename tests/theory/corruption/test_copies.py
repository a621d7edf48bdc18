"""Copies and test images of a draw, by every law in one program."""

import functools
import math

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
    SAMPLES,
    SHAPE,
    SKEW,
    UNIT,
    tiled,
)
from problems import prototypes

from theory import keys
from theory.corruption.copies import (
    corrupt,
    corrupt_copies,
    corrupt_problem,
    corrupt_test,
)
from theory.corruption.corruptions import Additive, Replacement
from theory.corruption.noises import CustomNoise

# A uniform number, made into noise, rounds by half an eps, and the quantile function of
# noise of unit size is as steep as the noise is many, where it is steepest.
NOISE_ROUNDING = 2 * math.prod(SHAPE) * EPS32

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
