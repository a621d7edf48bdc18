"""Copies of training images and corrupted test images, by the exact route."""

import dataclasses
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from exact_cases import COPIES, ERF, KEY, NOISE, PROBLEM, SIGNS, by_hand, close, known

from theory import exact
from theory.corruption.corruptions import Replacement
from theory.errors import NumericalError


def copies_by_hand(noise, draw, x, copies):
    """Rows of all copies, by the documented keys."""
    own = jax.random.fold_in(KEY, draw)
    more = jax.random.fold_in(own, zlib.crc32(b"copies"))
    keys = [own] + [jax.random.fold_in(more, r) for r in range(1, copies)]
    return np.concatenate([noise.apply(key, x) for key in keys])


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_copies_and_corrupted_test_images_by_hand(ridge):
    ask = Replacement(p=0.2, noise=SIGNS)
    draws = exact(
        ERF,
        NOISE,
        PROBLEM,
        draws=2,
        key=KEY,
        ridge=ridge,
        copies=COPIES,
        test_corruption=ask,
    )
    for k in range(2):
        own = jax.random.fold_in(KEY, k)
        test_key = jax.random.fold_in(own, zlib.crc32(b"test"))
        asked = dataclasses.replace(
            PROBLEM,
            x_test=ask.apply(test_key, PROBLEM.x_test),
            labels_train=jnp.tile(PROBLEM.labels_train, COPIES),
        )
        x = copies_by_hand(NOISE, k, PROBLEM.x_train, COPIES)
        outputs, init_var = by_hand(ERF, x, asked, ridge=ridge)
        close(np.asarray(draws.outputs)[k, 0], outputs)
        close(known(draws.init_var)[k], init_var)
    plain = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY)
    np.testing.assert_array_equal(draws.draw_keys, plain.draw_keys)


@pytest.mark.parametrize("options", [{"ridge": 0.2}, {"time": 3.0}], ids=str)
def test_clean_copies_divide_the_ridge_and_the_time(options):
    clean = Replacement(p=0.0, noise=SIGNS)
    one = exact(ERF, clean, PROBLEM, draws=1, key=KEY, **options)
    factor = {"ridge": COPIES, "time": 1 / COPIES}
    options = {name: factor[name] * value for name, value in options.items()}
    more = exact(ERF, clean, PROBLEM, draws=1, key=KEY, copies=COPIES, **options)
    close(more.outputs, one.outputs)
    close(known(more.init_var), known(one.init_var))


def test_clean_copies_are_named():
    clean = Replacement(p=0.0, noise=SIGNS)
    text = "images 0 and 16 of 3 copies of 16 images are identical (32 duplicates in"
    with raises(text, NumericalError):
        exact(ERF, clean, PROBLEM, draws=1, key=KEY, copies=COPIES)


def test_copies_average_the_noise_away():
    # many copies are smoother than one, towards what clean images teach
    noise = Replacement(p=0.5, noise=SIGNS)
    clean = exact(ERF, Replacement(p=0.0, noise=SIGNS), PROBLEM, draws=1, key=KEY)
    off = []
    for copies in (1, 8):
        found = exact(
            ERF, noise, PROBLEM, draws=4, key=KEY, copies=copies, with_init_var=False
        )
        off.append(np.abs(np.asarray(found.outputs) - clean.outputs).mean())
    assert off[1] < 0.8 * off[0]


def test_strength_zero_leaves_the_test_images():
    same = Replacement(p=0.0, noise=SIGNS)
    one = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY, test_corruption=same)
    two = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY)
    close(one.outputs, two.outputs)
