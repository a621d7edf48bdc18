"""Subsets: balanced, nested, of a seed, and sizes that cannot be met."""

import numpy as np
from closeness import raises
from hypothesis import given, settings
from hypothesis import strategies as st
from image_arrays import CLASSES, arrays, counts, rows

from ntk_corrupt.data import loading, subsets

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
