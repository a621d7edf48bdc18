"""Sets that need no files: digits and Gaussian prototypes."""

from typing import Any

import numpy as np
from closeness import raises
from image_arrays import counts, rows

from ntk_corrupt.data import loading, prototypes


def test_digits_are_split_once_and_for_all():
    problem = loading.load("digits", normalise="unit")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    assert problem.x_train.shape == (1198, 64)
    assert problem.x_test.shape == (599, 64)
    x_train = np.asarray(problem.x_train)
    together = np.concatenate([x_train, problem.x_test])
    order = np.lexsort((16 * together).T)
    np.testing.assert_array_equal((16 * together)[order], images[np.lexsort(images.T)])
    train = counts(problem)
    np.testing.assert_array_equal(train, np.round(np.bincount(labels) * 2 / 3))
    # Shuffled: no class gathers at the head, and the split does not follow the file.
    head = np.asarray(problem.labels_train)[:200]
    assert np.bincount(head, minlength=10).min() >= 8
    same = rows(x_train) & rows(images[:1198] / 16)
    assert 600 < len(same) < 1000
    # The checksum split itself, as a sum that any other split would change.
    assert int((16 * x_train).sum()) == DIGITS_SUM


# Sum of the training pixels of digits, from the split as first made: it must not move.
DIGITS_SUM = 373842


def test_digits_subsets_and_test_part_do_not_overlap():
    first = loading.load("digits", n_train=100, n_test=50)
    other = loading.load("digits", n_train=100, n_test=50, seed=1)
    assert counts(first) == counts(other) == [10] * 10
    assert np.bincount(first.labels_test).tolist() == [5] * 10
    assert rows(first.x_train) != rows(other.x_train)
    np.testing.assert_array_equal(first.x_test, other.x_test)
    everything = loading.load("digits")
    assert not rows(everything.x_train) & rows(everything.x_test)


def test_digits_in_colour_are_the_same_digits():
    grey, colour = (
        loading.load(name, normalise="unit") for name in ("digits", "colour_digits")
    )
    np.testing.assert_array_equal(grey.labels_train, colour.labels_train)
    # every image is a line from paper to ink, along the pixels of the grey one
    images = np.asarray(colour.x_train).reshape(-1, 64, 3)
    pixels = np.asarray(grey.x_train)
    off = pixels - pixels.mean(axis=1, keepdims=True)
    steep = np.einsum("np,npc->nc", off, images) / (off**2).sum(axis=1)[:, None]
    paper = images.mean(axis=1) - steep * pixels.mean(axis=1, keepdims=True)
    line = paper[:, None] + steep[:, None] * pixels[:, :, None]
    np.testing.assert_allclose(images, line, rtol=0, atol=1e-5)
    ink = paper + steep
    # both are uniform, and say nothing of the class: means within five errors
    for values, low in ((ink, 0.5), (paper, 0.0)):
        assert values.min() > low - 1e-5
        assert values.max() < low + 0.5 + 1e-5
        for c in range(10):
            mean = values[np.asarray(colour.labels_train) == c].mean(axis=0)
            assert np.abs(mean - low - 0.25).max() < 5 * 0.5 / (12 * 118) ** 0.5


def test_gaussian_prototypes_have_the_stated_distribution():
    n, d, noise_std = 4000, 50, 0.5
    problem = prototypes.gaussian_prototypes(
        num_classes=4, n_train=n, d=d, noise_std=noise_std, normalise="none", seed=3
    )
    assert counts(problem) == [1000] * 4
    x, labels = np.asarray(problem.x_train), np.asarray(problem.labels_train)
    means = np.stack([x[labels == i].mean(axis=0) for i in range(4)])
    residual = x - means[labels]
    # Standard errors: sigma^2 sqrt(2 / (n d)) of a variance, with 5 of them allowed.
    assert (
        abs(residual.var() * n / (n - 4) / noise_std**2 - 1) < 5 * (2 / (n * d)) ** 0.5
    )
    assert abs(means.var() - 1) < 5 * (2 / (4 * d)) ** 0.5
    test = np.asarray(problem.x_test)
    nearest = ((test[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
    np.testing.assert_array_equal(nearest, problem.labels_test)


def test_gaussian_prototypes_follow_their_seed_and_check_their_arguments():
    first, again, other = (prototypes.gaussian_prototypes(seed=i) for i in (0, 0, 1))
    np.testing.assert_array_equal(first.x_train, again.x_train)
    assert not rows(first.x_train) & rows(other.x_train)
    assert not rows(first.x_train) & rows(first.x_test)
    equal = prototypes.gaussian_prototypes(
        n_train=100, n_test=100
    )  # one size, one stream?
    assert not rows(equal.x_train) & rows(equal.x_test)
    subset = loading.load("gaussian_prototypes", n_train=20, seed=5)
    whole = loading.load("gaussian_prototypes")
    assert rows(subset.x_train) < rows(whole.x_train)
    np.testing.assert_array_equal(subset.x_test, whole.x_test)
    bad: dict[str, Any] = {"n_train": 9, "d": 0, "num_classes": 1, "seed": -1}
    for argument, value in bad.items():
        with raises(f"`{argument}` must be at least"):
            prototypes.gaussian_prototypes(**{argument: value})
    with raises("`noise_std` must be finite and not negative, got -1.0"):
        prototypes.gaussian_prototypes(noise_std=-1.0)
    with raises("takes pixels in [0, 1]"):
        loading.load("gaussian_prototypes", normalise="unit")
