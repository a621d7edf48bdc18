"""Kernels of stacks of layers against neural-tangents, and by other routes."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

import theory
from benchmarks.architectures import theirs
from theory import architectures
from theory.architectures import kernels, positions
from theory.errors import InputError

SHAPE = (6, 4, 2)
VARIANCES: dict[str, Any] = dict(w_var=1.7, b_var=0.1)
of_shape = functools.partial(architectures.convolutional, shape=SHAPE, **VARIANCES)
LAYERS = (
    architectures.Convolution(stride=2),
    architectures.Phi(),
    architectures.Convolution(size=2),
    architectures.Phi(),
    architectures.AveragePooling(),
    architectures.Flatten(),
    architectures.Dense(),
    architectures.Phi(),
    architectures.Dense(),
)
STACKS = {
    "flat": of_shape(depth=4, activation="relu"),
    "local": of_shape(depth=2, activation="erf", pooling="local"),
    "global": of_shape(depth=3, activation="relu", pooling="global"),
    "around": of_shape(depth=3, activation="erf", padding="circular", pooling="global"),
    "valid": of_shape(depth=2, activation="relu", padding="valid", pooling="global"),
    "residual": of_shape(depth=4, activation="erf", residual=True, pooling="global"),
    "residual, flat": of_shape(depth=3, activation="relu", residual=True),
    "local weights": of_shape(depth=2, activation="erf", shared=False, pooling="local"),
    "odd sizes": architectures.Stack(
        layers=LAYERS, activation="relu", shape=(7, 8, 3), **VARIANCES
    ),
    "dense": architectures.dense(depth=3, shape=SHAPE, activation="erf", **VARIANCES),
}


def images(stack, n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, stack.pixels))


# what others of them hold too, weekly: compilation takes seconds
WEEKLY = (
    "flat",
    "local weights",
    "around",
    "dense",
    "global",
    "valid",
    "residual, flat",
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in WEEKLY))
        for name in STACKS
    ],
)
def test_against_neural_tangents(name, monkeypatch):
    stack = STACKS[name]
    # blocks that do not divide 5 and 3 images
    monkeypatch.setattr(kernels, "_block", lambda *sizes: (2, 2))
    one, two = images(stack, 5), images(stack, 3, 1)
    shaped = lambda x: x.reshape(-1, *stack.shape)
    expected = theirs(stack)(shaped(one), shaped(two), ("nngp", "ntk"))
    found = architectures.nngp_ntk(one, two, stack)
    # rounding of sums of up to 24^2 positive terms
    for kind in ("nngp", "ntk"):
        np.testing.assert_allclose(
            getattr(found, kind), getattr(expected, kind), rtol=1e-12
        )
    whole = architectures.gram(one, stack)
    between = architectures.nngp_ntk(one, one, stack)
    for kind in ("nngp", "ntk"):
        matrix = np.asarray(getattr(whole, kind))
        np.testing.assert_array_equal(matrix, matrix.T)
        # closed forms lose half of the digits of an image and itself
        rounding = 1e-6 if stack.activation == "relu" else 1e-12
        np.testing.assert_allclose(matrix, getattr(between, kind), rtol=rounding)


def test_an_image_and_itself_keep_their_digits():
    """Of relu the kernel is homogeneous, and that of itself known by another way."""
    stack = architectures.convolutional(
        depth=3, shape=SHAPE, activation="relu", w_var=2.0
    )
    one = images(stack, 4)
    found = architectures.gram(one, stack)
    # E[relu^2] = q/2 with C_w = 2: variances are means over windows, twice
    x = (one.reshape(4, *SHAPE) ** 2).mean(axis=3)
    sums = np.zeros((6, 4, 6, 4))
    for h in range(6):
        for w in range(4):
            near = np.zeros((6, 4))
            near[max(h - 1, 0) : h + 2, max(w - 1, 0) : w + 2] = 1 / 9
            sums[h, w] = near
    once = np.einsum("hwij,nij->nhw", sums, 2 * x)
    twice = np.einsum("hwij,nij->nhw", sums, once)
    nngp = twice.mean(axis=(1, 2))
    np.testing.assert_allclose(np.diag(found.nngp), nngp, rtol=1e-13)
    # three layers of weights, each with the same share without biases
    np.testing.assert_allclose(np.diag(found.ntk), 3 * nngp, rtol=1e-13)


def test_pooling_of_single_positions_changes_nothing():
    """All pairs of positions lead to what equal ones do, an image and itself too.

    Of tanh, whose series are wrong by 1e-9 of a position and itself.
    """
    flat = dataclasses.replace(STACKS["residual, flat"], activation="tanh")
    *before, last, readout = flat.layers
    pooled = (*before, architectures.AveragePooling(size=1), last, readout)
    one = images(flat, 4)
    found = architectures.gram(one, dataclasses.replace(flat, layers=pooled))
    expected = architectures.gram(one, flat)
    np.testing.assert_allclose(found.nngp, expected.nngp, rtol=1e-13)
    np.testing.assert_allclose(found.ntk, expected.ntk, rtol=1e-13)


def test_dense_stacks_are_perceptrons():
    arch = theory.Architecture(depth=3, activation="gelu", **VARIANCES)
    stack = architectures.dense(depth=3, shape=SHAPE, activation="gelu", **VARIANCES)
    one, two = images(stack, 5), images(stack, 4, 1)
    found, expected = (
        architectures.nngp_ntk(one, two, stack),
        theory.nngp_ntk(one, two, arch),
    )
    np.testing.assert_allclose(found.ntk, expected.ntk, rtol=1e-12)
    np.testing.assert_allclose(found.nngp, expected.nngp, rtol=1e-12)


def test_shifted_images_are_the_same_where_everything_is_averaged():
    stack = STACKS["around"]
    one = images(stack, 3)
    moved = np.roll(one.reshape(-1, *SHAPE), (2, 1), axis=(1, 2)).reshape(3, -1)
    found = architectures.nngp_ntk(one, moved, stack).ntk
    np.testing.assert_allclose(found, architectures.gram(one, stack).ntk, rtol=1e-12)
    other = STACKS["flat"]
    far = architectures.nngp_ntk(one, moved, other).ntk
    assert np.abs(far / architectures.gram(one, other).ntk - 1).max() > 0.1


def test_single_precision():
    stack = STACKS["local"]
    one = images(stack, 4)
    found = architectures.nngp_ntk(one.astype(np.float32), one, stack)
    assert found.ntk.dtype == jnp.float64
    one = one.astype(np.float32)
    found = architectures.nngp_ntk(one, one, stack).ntk
    assert found.dtype == jnp.float32
    expected = architectures.nngp_ntk(one.astype(np.float64), one, stack).ntk
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ((), "the last of `layers` must be Dense"),
        ((architectures.Dense(),), "Dense follows Flatten or GlobalAverage"),
        ((architectures.Flatten(), architectures.Phi()), "must be Dense"),
        ((architectures.Flatten(), architectures.Convolution()), "before Flatten"),
        ((architectures.AveragePooling(size=4),), "do not divide 6 x 4"),
        ((architectures.Convolution(size=7, padding="valid"),), "do not fit 6 x 4"),
        ((architectures.Convolution(size=11, padding="circular"),), "more than once"),
        ((architectures.Convolution(padding="mirror"),), "unknown padding 'mirror'"),
        ((architectures.Convolution(stride=0),), "`stride` must be an integer"),
        ((architectures.Residual(()),), "must end in Convolution or Dense"),
        ((architectures.Residual((architectures.Phi(),)),), "must end in"),
        (
            (architectures.Residual((architectures.Convolution(stride=2),)),),
            "keeps its shape, got 24 positions before and 6 after",
        ),
        (
            (architectures.Residual((architectures.AveragePooling(),)),),
            "AveragePooling cannot be in it",
        ),
    ],
)
def test_layers_that_cannot_follow(layers, said):
    stack = architectures.Stack(layers=layers, activation="erf", shape=SHAPE)
    with pytest.raises(InputError, match=said):
        architectures.gram(np.ones((2, 48)), stack)


CONV, PHI = architectures.Convolution(), architectures.Phi()


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ((PHI, CONV), "Phi must follow Convolution or Dense"),
        ((CONV, PHI, PHI), "Phi must follow"),
        # each position has a variance of its own, and Phi would see their mean
        ((CONV, architectures.Flatten(), PHI), "Phi must follow"),
        ((CONV, PHI, architectures.AveragePooling(), PHI), "Phi must follow"),
        ((CONV, PHI, architectures.Residual((CONV,)), PHI), "Phi must follow"),
        ((architectures.Residual((CONV,)),), "a Residual adds to many channels"),
    ],
)
def test_kernels_of_no_network_are_refused(layers, said):
    flat = () if architectures.Flatten() in layers else (architectures.Flatten(),)
    stack = architectures.Stack(
        layers=(*layers, *flat, architectures.Dense()), activation="erf", shape=SHAPE
    )
    with raises(said):
        architectures.gram(np.ones((2, 48)), stack)


@pytest.mark.parametrize(
    ("variances", "said"),
    [
        ({"w_var": -1.0}, "`w_var` must be positive and finite, got -1.0"),
        ({"b_var": float("nan")}, "`b_var` must be finite and not negative, got nan"),
    ],
)
def test_variances_are_checked(variances, said):
    with raises(said):
        architectures.dense(depth=2, shape=SHAPE, activation="erf", **variances)


def test_images_of_another_shape():
    with pytest.raises(InputError, match="are rows of 48 numbers, got 47"):
        architectures.gram(np.ones((2, 47)), STACKS["flat"])
    with pytest.raises(InputError, match="unknown pooling 'max'"):
        of_shape(depth=2, activation="erf", pooling="max")
    with pytest.raises(InputError, match="`shape` must be height, width and chan"):
        architectures.dense(depth=2, activation="erf", shape=(6, 0, 1))


def test_an_activation_without_slope_is_refused():
    with pytest.raises(InputError, match="step has no NTK"):
        architectures.gram(np.ones((2, 48)), of_shape(depth=2, activation="step"))
    # nothing is activated
    architectures.gram(np.ones((2, 48)), of_shape(depth=1, activation="step"))


@pytest.mark.slow
def test_derivatives_of_a_kernel():
    """Reverse mode, as the metric needs it, against differences."""
    stack = STACKS["local"]
    x, other = jnp.asarray(images(stack, 2))
    entry = lambda x: positions.pair(x, other, stack, reversible=True).ntk
    found = jax.grad(entry)(x)
    step = 1e-5
    for pixel in (0, 13, 47):
        moved = np.zeros(48)
        moved[pixel] = step
        slope = (entry(x + moved) - entry(x - moved)) / (2 * step)
        # roundings of an entry of 10 over the step
        np.testing.assert_allclose(found[pixel], slope, rtol=1e-6, atol=1e-9)
