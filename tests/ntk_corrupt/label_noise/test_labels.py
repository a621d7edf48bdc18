"""Wrong labels: how many, which, by what, and that smaller shares are nested."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from problems import prototypes, x64

from ntk_corrupt.label_noise.labels import MODES, corrupt_labels

N, C = 4000, 5
LABELS = jax.device_put((np.arange(N) % C).astype(np.int32))
KEY = jax.random.key(3)
NEAR = prototypes(counts=(5, 7, 9), d=6, spread=0.8)


def changed(share, mode="flip", **options):
    found = corrupt_labels(LABELS, share, C, mode=mode, key=KEY, **options)
    return np.asarray(found) != np.asarray(LABELS)


@pytest.mark.parametrize("mode", ["flip", "next"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.333, 0.7, 1.0])
def test_as_many_are_wrong_as_asked(mode, share):
    assert changed(share, mode).sum() == int(share * N + 1e-6)


def test_floating_point_loses_no_label():
    labels = jax.device_put(np.zeros(100, np.int32))
    assert int(0.29 * 100) == 28
    for percent in (10, 29, 57, 58, 99):
        found = corrupt_labels(labels, percent / 100, 2, mode="flip", key=KEY)
        assert np.asarray(found).sum() == percent


def test_redrawn_labels_are_right_by_chance():
    found = np.asarray(corrupt_labels(LABELS, 0.8, C, key=KEY))
    wrong = (found != np.asarray(LABELS)).mean()
    share, replaced = 1 - 1 / C, 0.8 * N
    error = (share * (1 - share) / replaced) ** 0.5 * 0.8
    assert wrong == pytest.approx(0.8 * share, abs=5 * error)
    assert wrong != pytest.approx(0.8, abs=5 * error)


@pytest.mark.parametrize(("mode", "classes"), [("uniform", C), ("flip", C - 1)])
def test_what_replaces_a_label_is_uniform(mode, classes):
    found = np.asarray(corrupt_labels(LABELS, 1.0, C, mode=mode, key=KEY))
    ahead = (found - np.asarray(LABELS)) % C
    counts = np.bincount(ahead, minlength=C)[C - classes :]
    assert counts.sum() == N
    expected = N / classes
    chi2 = ((counts - expected) ** 2 / expected).sum()
    # mean classes - 1, variance twice that
    assert chi2 < classes - 1 + 5 * (2 * (classes - 1)) ** 0.5


def test_the_next_class():
    found = corrupt_labels(LABELS, 1.0, C, mode="next", key=KEY)
    np.testing.assert_array_equal(found, (np.asarray(LABELS) + 1) % C)


@pytest.mark.parametrize("mode", MODES)
def test_smaller_shares_are_nested(mode):
    options: dict[str, Any] = {"x": NEAR.x_train, "mode": mode, "key": KEY}
    labels = NEAR.labels_train
    shares = (0.0, 0.2, 0.5, 0.8, 1.0)
    found = [np.asarray(corrupt_labels(labels, s, 3, **options)) for s in shares]
    np.testing.assert_array_equal(found[0], labels)
    for less, more in zip(found, found[1:], strict=False):
        # what is replaced already stays as it was replaced
        kept = less != np.asarray(labels)
        np.testing.assert_array_equal(more[kept], less[kept])
    assert (found[1] != found[-1]).any()


def test_every_group_loses_the_same_share():
    groups = jax.device_put(np.random.default_rng(0).permutation(np.arange(N) % 7))
    wrong = changed(0.3, groups=groups)
    sizes = np.bincount(groups)
    lost = np.bincount(groups, weights=wrong)
    np.testing.assert_array_equal(lost, np.floor(0.3 * sizes))
    # without groups they lose different shares
    assert len(set(np.bincount(groups, weights=changed(0.3)) - lost)) > 1


def test_nearest_is_the_nearest_other_mean():
    x, labels = np.asarray(NEAR.x_train), np.asarray(NEAR.labels_train)
    means = [x[labels == i].mean(axis=0) for i in range(3)]
    margins, others = [], []
    for image, label in zip(x, labels, strict=True):
        distance = [((image - mean) ** 2).sum() for mean in means]
        own = distance[label]
        distance[label] = np.inf
        margins.append(min(distance) - own)
        others.append(int(np.argmin(distance)))
    chosen = np.argsort(margins)[: int(0.4 * len(x))]
    assert np.diff(np.sort(margins)).min() > 1e-9  # an order that rounding leaves
    expected = labels.copy()
    expected[chosen] = np.array(others)[chosen]
    asked: dict[str, Any] = {"mode": "nearest", "x": NEAR.x_train}
    found = corrupt_labels(NEAR.labels_train, 0.4, 3, key=KEY, **asked)
    np.testing.assert_array_equal(found, expected)
    # a rule, not chance
    other = corrupt_labels(NEAR.labels_train, 0.4, 3, key=jax.random.key(9), **asked)
    np.testing.assert_array_equal(found, other)
    # a class without images has no mean
    empty = corrupt_labels(NEAR.labels_train, 1.0, 4, key=KEY, **asked)
    assert np.asarray(empty).max() < 3


def test_the_key_decides():
    one, same, other = (
        np.asarray(corrupt_labels(LABELS, 0.5, C, key=jax.random.key(seed)))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    right = np.asarray(LABELS)
    both = ((one != right) & (other != right)).mean()
    # independent choices meet by chance
    expected = (0.5 * (1 - 1 / C)) ** 2
    error = (expected * (1 - expected) / N) ** 0.5
    assert both == pytest.approx(expected, abs=5 * error)


@pytest.mark.parametrize("mode", ["uniform", "flip"])
def test_the_same_in_single_precision(mode):
    double = corrupt_labels(LABELS, 0.5, C, mode=mode, key=KEY)
    with x64(False):
        single = corrupt_labels(LABELS, 0.5, C, mode=mode, key=KEY)
    np.testing.assert_array_equal(double, single)
    assert double.dtype == single.dtype == jnp.int32


def test_labels_of_a_problem():
    noisy = corrupt_labels(NEAR.labels_train, 0.5, 3, key=KEY)
    dataclasses.replace(NEAR, labels_train=noisy).check()


@pytest.mark.parametrize(
    ("share", "options", "text"),
    [
        (1.1, {}, "`share` must be in [0, 1], got 1.1"),
        (float("nan"), {}, "`share` must be a number, got nan"),
        (0.5, {"mode": "random"}, "unknown label noise 'random'"),
        (0.5, {"mode": "nearest"}, "`x` must be given"),
    ],
)
def test_bad_input(share, options, text):
    with raises(text):
        corrupt_labels(LABELS, share, C, key=KEY, **options)


def test_one_class_has_no_other():
    labels = jax.device_put(np.zeros(3, np.int32))
    with raises("`num_classes` must be an integer of at least 2, got 1"):
        corrupt_labels(labels, 0.5, 1, mode="flip", key=KEY)
    zeros = jax.device_put(np.zeros(len(NEAR.x_train), np.int32))
    with raises("`labels` must be of two classes"):
        corrupt_labels(zeros, 0.5, 2, mode="nearest", key=KEY, x=NEAR.x_train)
