"""Arrays and built-in sets to a Problem: subsets, normalisations, resizing, errors."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from problems import x64

from ntk_corrupt.data import (
    duplicates,
    loading,
    normalise,
    pool,
    prototypes,
    resizing,
    subsets,
)
from theory.problem import Problem

CLASSES = 3
ROUNDING = 64 * np.finfo(float).eps  # of some ten operations on numbers of size one
# One of 8 pixels that differs by a grey level of 255 spreads by a share of 1/770.
STANDARDISED = 770 * ROUNDING


def arrays(n=30, n_test=12, shape=(4, 5), seed=0):
    """Random bytes and cyclic labels of `CLASSES` classes, for `from_arrays`."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, size=(n + n_test, *shape), dtype=np.uint8)
    labels = np.arange(n + n_test) % CLASSES
    return images[:n], labels[:n], images[n:], labels[n:]


def rows(x):
    return {row.tobytes() for row in np.asarray(x)}


def counts(problem):
    return np.bincount(problem.labels_train, minlength=problem.num_classes).tolist()


# --- normalisations ---------------------------------------------------------------


pixel_arrays = hnp.arrays(
    np.float64, (3, 2, 4), elements=st.integers(0, 255).map(lambda byte: byte / 255)
).filter(lambda x: (np.ptp(x.reshape(3, -1), axis=1) > 0).all())


@settings(deadline=None)
@given(pixel_arrays)
def test_standardise_has_mean_zero_and_mean_square_one(pixels):
    before = pixels.copy()
    x = normalise.standardise(pixels)
    np.testing.assert_allclose(x.mean(axis=(1, 2)), 0, atol=STANDARDISED)
    np.testing.assert_allclose((x**2).mean(axis=(1, 2)), 1, rtol=ROUNDING)
    np.testing.assert_array_equal(pixels, before)
    scaled = normalise.standardise(255 * pixels - 7)
    np.testing.assert_allclose(scaled, x, atol=STANDARDISED)


@settings(deadline=None)
@given(pixel_arrays)
def test_unit_signed_binary_and_none_are_what_they_say(pixels):
    np.testing.assert_array_equal(normalise.unit(pixels), pixels)
    np.testing.assert_array_equal(normalise.none(pixels), pixels)
    np.testing.assert_array_equal(normalise.signed(pixels), 2 * pixels - 1)
    expected = [[float(value >= 0.5) for value in image.ravel()] for image in pixels]
    np.testing.assert_array_equal(normalise.binary(pixels).reshape(3, -1), expected)


def test_binary_takes_exactly_one_half_as_one():
    x = normalise.binary(np.array([[0.5, np.nextafter(0.5, 0)]]))
    np.testing.assert_array_equal(x, [[1.0, 0.0]])


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_standardise_neither_overflows_nor_underflows(scale):
    pixels = np.random.default_rng(0).normal(size=(3, 7))
    expected = normalise.standardise(pixels)
    found = normalise.standardise(scale * pixels)
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_image_is_named_with_its_class(value):
    x, labels, x_test, labels_test = arrays()
    x = x / 255
    x[17] = value
    with raises("`x_train`: image 17 (class 2) is constant"):
        loading.from_arrays(x, labels, x_test / 255, labels_test)
    with raises("pass `normalise='unit'`"):
        loading.from_arrays(x, labels, x_test / 255, labels_test)
    problem = loading.from_arrays(
        x, labels, x_test / 255, labels_test, normalise="unit"
    )
    np.testing.assert_allclose(np.asarray(problem.x_train)[17], value, rtol=ROUNDING)


def test_a_constant_image_is_found_after_resizing_and_choosing_classes():
    x, labels, x_test, labels_test = arrays()
    x[10] = 77  # class 1
    with raises("`x_train`: image 10 (class 1) is constant"):
        loading.from_arrays(x, labels, x_test, labels_test, size=3, classes=(2, 1))
    # One grey level in one pixel of a large image is not constant.
    image = np.full((1, 2048, 2048), 200 / 255)
    image[0, 5, 5] = 201 / 255
    assert normalise.standardise(image).max() > 1000


@pytest.mark.parametrize("name", ["unit", "signed", "binary"])
def test_values_outside_the_unit_interval_are_refused_where_they_matter(name):
    x, labels, x_test, labels_test = (a.astype(float) for a in arrays())
    labels, labels_test = labels.astype(int), labels_test.astype(int)
    with raises(f"and `normalise='{name}'` takes pixels in [0, 1]"):
        loading.from_arrays(x, labels, x_test, labels_test, normalise=name)
    for free in ("standardise", "none"):
        loading.from_arrays(x, labels, x_test, labels_test, normalise=free)


# --- subsets ----------------------------------------------------------------------

label_arrays = st.lists(st.integers(0, CLASSES - 1), min_size=CLASSES, max_size=60).map(
    lambda tail: np.array([*range(CLASSES), *tail])
)


@settings(deadline=None)
@given(label_arrays, st.integers(0, 2**40), st.data())
def test_subsets_are_balanced_nested_and_without_replacement(labels, seed, draw):
    largest = CLASSES * int(np.bincount(labels).min())
    n = draw.draw(st.integers(CLASSES, largest))

    def take(n, seed=seed):
        return subsets.balanced(
            labels, n, num_classes=CLASSES, seed=seed, stream="train"
        )

    chosen = take(n)
    counts = np.bincount(labels[chosen], minlength=CLASSES)
    assert len(chosen) == n == len(set(chosen.tolist()))
    assert np.ptp(counts) <= 1
    np.testing.assert_array_equal(take(n), chosen)
    np.testing.assert_array_equal(take(largest)[:n], chosen)


def test_seeds_streams_and_remainders_differ():
    labels = np.arange(3000) % CLASSES

    def take(seed, stream, n=100):
        return subsets.balanced(
            labels, n, num_classes=CLASSES, seed=seed, stream=stream
        )

    assert set(take(0, "train")) != set(take(1, "train"))
    assert set(take(0, "train")) != set(take(0, "test"))
    # 100 = 3 * 33 + 1: which class has 34 is random.
    extra = {
        int(np.bincount(labels[take(seed, "train")]).argmax()) for seed in range(30)
    }
    assert extra == {0, 1, 2}
    # Uniform over the pool, not its head: 5 standard errors of the mean position.
    positions = np.concatenate([take(seed, "train") for seed in range(30)])
    assert abs(positions.mean() - 1499.5) < 5 * 3000 / np.sqrt(12 * positions.size)
    # No class sits at a fixed place of the rounds, as it would in a fixed class order.
    assert np.bincount(labels[take(0, "train", n=600)[::CLASSES]]).min() > 40


def test_all_images_keep_their_order():
    x, labels, x_test, labels_test = arrays()
    problem = loading.from_arrays(x, labels, x_test, labels_test, normalise="unit")
    np.testing.assert_array_equal(problem.labels_train, labels)
    np.testing.assert_array_equal(problem.x_train, x.reshape(30, -1) / 255)
    np.testing.assert_array_equal(problem.x_test, x_test.reshape(12, -1) / 255)


def test_images_stay_with_their_labels_and_seed_leaves_the_test_set_alone():
    x, labels, x_test, labels_test = arrays(n=300, n_test=60)
    owner = {row.tobytes(): label for row, label in zip(x, labels, strict=True)}

    def load(**seeds):
        return loading.from_arrays(
            x,
            labels,
            x_test,
            labels_test,
            n_train=30,
            n_test=9,
            normalise="none",
            **seeds,
        )

    first = load()
    images = np.asarray(first.x_train).astype(np.uint8)
    for row, label in zip(images, np.asarray(first.labels_train), strict=True):
        assert owner[row.tobytes()] == label
    again, other, other_test = load(), load(seed=1), load(test_seed=1)
    np.testing.assert_array_equal(first.x_train, again.x_train)
    np.testing.assert_array_equal(first.x_test, again.x_test)
    assert rows(other.x_train) != rows(first.x_train)
    np.testing.assert_array_equal(first.x_test, other.x_test)
    np.testing.assert_array_equal(first.x_train, other_test.x_train)
    assert rows(other_test.x_test) != rows(first.x_test)


def test_sizes_that_cannot_be_met_say_what_can():
    x, labels, x_test, labels_test = arrays()
    few = labels.copy()
    few[few == 1] = np.r_[1, 1, 1, 1, np.zeros(6, int)]

    def load(labels=labels, **sizes):
        return loading.from_arrays(x, labels, x_test, labels_test, **sizes)

    with raises("`n_train` must be at most 30, the number of images there are, got 31"):
        load(n_train=31)
    with raises("`n_test` must be at most 12, the number of images there are, got 13"):
        load(n_test=13)
    with raises("`n_train` must be at least 3, one image of each class, got 2"):
        load(n_train=2)
    for n in (0, -4):
        with raises(f"`n_train` must be at least 1, got {n}"):
            load(n_train=n)
        with raises(f"`n_test` must be at least 1, got {n}"):
            load(n_test=n)
    with raises("`n_train` = 13 cannot be balanced: class 1 has only 4 images, so at"):
        load(labels=few, n_train=13)
    with raises("at most 12; `n_train=None` takes all 30 unbalanced"):
        load(labels=few, n_train=13)
    assert counts(load(labels=few, n_train=12)) == [4, 4, 4]
    assert counts(load(labels=few)) == [16, 4, 10]
    assert load(n_test=1).x_test.shape == (1, 20)
    with raises("`seed` must be at least 0, got -1"):
        load(seed=-1)
    with raises("`test_seed` must be at least 0, got -1"):
        load(test_seed=-1)
    for value in (4.0, True, "4"):
        with raises(f"`n_train` must be an integer, got {value!r}"):
            subsets.check_integer("n_train", value, minimum=1)


# --- from_arrays ------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (4, 5), (4, 5, 3), (2, 3, 2, 2)])
def test_images_of_any_shape_are_flattened_in_order(shape):
    x, labels, x_test, labels_test = arrays(shape=shape)
    problem = loading.from_arrays(x, labels, x_test, labels_test)
    assert isinstance(problem, Problem)
    problem.check()
    assert problem.num_classes == CLASSES
    assert problem.x_train.shape == (30, np.prod(shape))
    np.testing.assert_allclose(
        problem.x_train, normalise.standardise(x / 255).reshape(30, -1), atol=ROUNDING
    )


def test_dtype_follows_x64_and_float32_is_the_rounding_of_float64():
    with x64(True):
        double = loading.load("digits", n_train=50, n_test=20)
    with x64(False):
        single = loading.load("digits", n_train=50, n_test=20)
    assert double.x_train.dtype == np.float64
    assert single.x_train.dtype == np.float32
    assert double.labels_train.dtype == single.labels_train.dtype == np.int32
    for part in ("x_train", "x_test"):
        rounded = np.asarray(getattr(double, part)).astype(np.float32)
        np.testing.assert_array_equal(rounded, getattr(single, part))


def test_bytes_are_divided_by_255_unless_taken_as_they_are():
    x, labels, x_test, labels_test = arrays()
    for name, low, high in (("unit", 0, 1), ("signed", -1, 1), ("none", 0, 255)):
        problem = loading.from_arrays(x, labels, x_test, labels_test, normalise=name)
        assert np.asarray(problem.x_train).min() == low
        assert np.asarray(problem.x_train).max() == high
    jnp_arrays = (jnp.asarray(a) for a in (x, labels, x_test, labels_test))
    problem = loading.from_arrays(*jnp_arrays, normalise="none")
    np.testing.assert_array_equal(problem.x_train, x.reshape(30, -1))


def test_classes_are_kept_and_relabelled_in_order():
    x, labels, x_test, labels_test = arrays()
    both = loading.from_arrays(
        x, labels, x_test, labels_test, classes=(2, 0), n_train=8, normalise="none"
    )
    assert both.num_classes == 2
    assert both.class_counts.tolist() == counts(both) == [4, 4]
    images = np.asarray(both.x_train)[np.asarray(both.labels_train) == 0]
    assert rows(images.astype(np.uint8)) <= rows(x[labels == 2].reshape(10, -1))
    for bad in ((1,), (1, 1), ()):
        with raises("`classes` must name at least 2 different classes"):
            loading.from_arrays(x, labels, x_test, labels_test, classes=bad)
    with raises("`classes` must lie in 0 ... 2, got 3"):
        loading.from_arrays(x, labels, x_test, labels_test, classes=(0, 3))
    with raises("`x_test` has no image of the classes (1, 2)"):
        loading.from_arrays(x, labels, x_test[::3], labels_test[::3], classes=(1, 2))


def test_arrays_that_disagree_are_refused():
    x, labels, x_test, labels_test = arrays()
    nan = x / 255
    nan[4, 0, 0] = np.nan
    cases = [
        ((x, labels[:-1], x_test, labels_test), "`labels_train` must have shape (30,)"),
        ((x, labels, x_test, labels_test[None]), "`labels_test` must have shape (12,)"),
        ((x, np.eye(3)[labels], x_test, labels_test), "`labels_train` must have shape"),
        ((x, labels, x_test[:, :3], labels_test), "`x_train` and `x_test` must hold"),
        ((x, labels, x_test[:0], labels_test[:0]), "`x_test` must have shape (n, ...)"),
        ((x[:, :0], labels, x_test, labels_test), "`x_train` must have shape (n, ...)"),
        ((x.ravel()[:30], labels, x_test, labels_test), "`x_train` must have shape"),
        ((x, labels / 1, x_test, labels_test), "`labels_train` must be integers, got "),
        (
            (x, labels - 1, x_test, labels_test),
            "`labels_train` must lie in 0 ... 2, got",
        ),
        (
            (x / 255, labels, x_test, labels_test),
            "must have the same dtype, got float64",
        ),
        ((nan, labels, x_test / 255, labels_test), "NaN or infinity in image 4"),
        (
            (x * 1j, labels, x_test * 1j, labels_test),
            "must hold real numbers, got dtype",
        ),
        ((x, labels * 2, x_test, labels_test), "got none of class 1: lower"),
        ((x, labels * 0, x_test, labels_test * 0), "got none of class 1: lower"),
    ]
    for wrong, text in cases:
        with raises(text):
            loading.from_arrays(*wrong)
    with raises("`labels_train` must lie in 0 ... 1, got 2 for image 2"):
        loading.from_arrays(x, labels, x_test, labels_test, num_classes=2)
    with raises("an image of each of the 4 classes, got none of class 3"):
        loading.from_arrays(x, labels, x_test, labels_test, num_classes=4)
    with raises("`num_classes` must be at least 2, got 1"):
        loading.from_arrays(x, labels, x_test, labels_test, num_classes=1)


def test_binary_does_not_hide_a_nan_and_float32_does_not_hide_an_overflow():
    x, labels, x_test, labels_test = arrays()
    nan = np.full(x.shape, np.nan)
    with raises("`x_train` must be finite"):
        loading.from_arrays(nan, labels, x_test / 255, labels_test, normalise="binary")
    with x64(False), raises("`x_train` must fit in float32"):
        loading.from_arrays(
            x * 1e40, labels, x_test * 1e40, labels_test, normalise="none"
        )


# --- names, built-in sets, resizing -----------------------------------------------


def test_unknown_names_come_with_the_nearest_valid_ones():
    with raises("unknown data set 'minst': did you mean 'mnist' or 'kmnist'"):
        loading.load("minst")
    for call in (loading.load, lambda *a, **k: loading.from_arrays(*arrays(), **k)):
        with raises("unknown normalisation 'standardize': did you mean 'standardise'"):
            call("digits", normalise="standardize")
    assert set(loading.NAMES) >= {"digits", "mnist", "cifar10", "gaussian_prototypes"}


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
    with raises("`noise_std` must not be negative, got -1.0"):
        prototypes.gaussian_prototypes(noise_std=-1.0)
    with raises("takes pixels in [0, 1]"):
        loading.load("gaussian_prototypes", normalise="unit")


def test_resizing_is_bilinear_and_comes_before_the_normalisation():
    # 2 -> 4: weights 1, 3/4, 1/4, 0 of half-pixel centres; 4 -> 2 with antialiasing.
    image = np.array([[[0.0, 1.0], [0.0, 1.0]]])
    np.testing.assert_allclose(
        resizing.resize(image, (2, 4)), [[[0, 0.25, 0.75, 1]] * 2], atol=ROUNDING
    )
    wide = np.array([[[1.0, 0.0, 0.0, 0.0]]])
    # Triangle of half-width 2 at centre 1: 3/4, 3/4, 1/4 (and 1/4 outside the first).
    np.testing.assert_allclose(
        resizing.resize(wide, (1, 2))[0, 0, 0], 3 / 7, rtol=ROUNDING
    )
    x, labels, x_test, labels_test = arrays(shape=(6, 6))
    problem = loading.from_arrays(x, labels, x_test, labels_test, size=(9, 4))
    assert problem.x_train.shape == (30, 36)
    squares = np.asarray(problem.x_train) ** 2
    np.testing.assert_allclose(squares.mean(axis=1), 1, rtol=ROUNDING)
    colour = arrays(shape=(6, 6, 3))
    shrunk = np.asarray(loading.from_arrays(*colour, size=2, normalise="unit").x_train)
    grey = (colour[0][..., 1], colour[1], colour[2][..., 1], colour[3])
    np.testing.assert_allclose(
        shrunk.reshape(30, 2, 2, 3)[..., 1].reshape(30, 4),
        loading.from_arrays(*grey, size=2, normalise="unit").x_train,
        atol=ROUNDING,
    )
    same = loading.from_arrays(x, labels, x_test, labels_test, size=6)
    plain = loading.from_arrays(x, labels, x_test, labels_test)
    np.testing.assert_array_equal(same.x_train, plain.x_train)


@settings(deadline=None, max_examples=20)
@given(pixel_arrays, st.sampled_from([(1, 1), (5, 3), (2, 7)]))
def test_resizing_never_leaves_the_range(pixels, shape):
    resized = resizing.resize(pixels, shape)
    assert pixels.min() <= resized.min() <= resized.max() <= pixels.max()


def test_sizes_of_images_are_checked():
    x, labels, x_test, labels_test = arrays()
    for size, text in (
        (0, "`size` must be at least 1, got 0"),
        ((3, 3, 3), "`size` must be an integer or (height, width), got (3, 3, 3)"),
        ((3, 2.5), "`size` must be an integer, got 2.5"),
    ):
        with raises(text):
            resizing.target(size, (4, 5))
    flat = (x.reshape(30, -1), labels, x_test.reshape(12, -1), labels_test)
    with raises("`size` needs images of shape (n, height, width)"):
        loading.from_arrays(*flat, size=3)


def test_blocks_make_no_difference(monkeypatch):
    whole = loading.load("digits", n_train=100, n_test=50, size=5)
    monkeypatch.setattr(pool, "_BLOCK", 7)
    blocks = loading.load("digits", n_train=100, n_test=50, size=5)
    # pixels that resizing rounds in another program, in units of their spread
    np.testing.assert_allclose(whole.x_train, blocks.x_train, atol=10 * ROUNDING)
    x, labels, x_test, labels_test = arrays()
    x[23] = 5
    with raises("image 23 (class 2) is constant"):
        loading.from_arrays(x, labels, x_test, labels_test)


@settings(deadline=None)
@given(hnp.arrays(np.float64, (8, 2), elements=st.sampled_from([0.0, -0.0, 1.0])))
def test_duplicates_are_all_found_and_only_they(x):
    expected = []
    for i in range(8):
        earlier = [j for j in range(i) if (x[j] == x[i]).all()]
        expected += [(earlier[0], i)] if earlier else []
    pairs = duplicates.find_duplicates(x.reshape(8, 1, 2))
    assert pairs.shape == (len(expected), 2)
    assert list(map(tuple, pairs.tolist())) == expected
