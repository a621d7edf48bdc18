"""Resizing of images, before they are normalised."""

import numpy as np
from closeness import raises
from hypothesis import given, settings
from hypothesis import strategies as st
from image_arrays import ROUNDING, arrays, pixel_arrays

from ntk_corrupt.data import loading, resizing


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
