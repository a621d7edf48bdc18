"""Arrays and names to a Problem: shapes, dtypes, classes, duplicates, errors."""

import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from image_arrays import CLASSES, ROUNDING, arrays, counts, rows
from problems import x64

from ntk_corrupt.data import duplicates, loading, normalise, pool
from theory.problem import Problem


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
        ((nan, labels, x_test / 255, labels_test), "NaN or infinity: nan at [4, "),
        (
            (x * 1j, labels, x_test * 1j, labels_test),
            "must hold real numbers, got complex128",
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


def test_unknown_names_come_with_the_nearest_valid_ones():
    with raises("unknown data set 'minst': did you mean 'mnist' or 'kmnist'"):
        loading.load("minst")
    for call in (loading.load, lambda *a, **k: loading.from_arrays(*arrays(), **k)):
        with raises("unknown normalisation 'standardize': did you mean 'standardise'"):
            call("digits", normalise="standardize")
    assert set(loading.NAMES) >= {"digits", "mnist", "cifar10", "gaussian_prototypes"}


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
