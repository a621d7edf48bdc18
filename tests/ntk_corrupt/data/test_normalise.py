"""Normalisations of pixels, and images that they refuse."""

import numpy as np
import pytest
from closeness import raises
from hypothesis import given, settings
from image_arrays import ROUNDING, arrays, pixel_arrays
from problems import x64

from ntk_corrupt.data import loading, normalise

# One of 8 pixels that differs by a grey level of 255 spreads by a share of 1/770.
STANDARDISED = 770 * ROUNDING


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


def test_binary_does_not_hide_a_nan_and_float32_does_not_hide_an_overflow():
    x, labels, x_test, labels_test = arrays()
    nan = np.full(x.shape, np.nan)
    with raises("`x_train` must be finite"):
        loading.from_arrays(nan, labels, x_test / 255, labels_test, normalise="binary")
    with x64(False), raises("`x_train` must fit in float32"):
        loading.from_arrays(
            x * 1e40, labels, x_test * 1e40, labels_test, normalise="none"
        )
