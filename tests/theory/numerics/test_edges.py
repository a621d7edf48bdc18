"""The vectorised angle against the C library, in 80-bit arithmetic where there is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory.numerics.edges import arctan2, safe_atan2

DTYPES = ("float32", "float64")


def directions(dtype):
    """(y, x) all around the circle, at many scales; denser at the seams of cases."""
    seams = np.arange(-8, 9) * np.pi / 8
    near = np.concatenate(
        [seams + sign * 10.0**-k for k in range(1, 17) for sign in (-1, 1)]
    )
    around = np.concatenate([np.linspace(-np.pi, np.pi, 20_001), seams, near])
    y, x = (f(around).astype(dtype) for f in (np.sin, np.cos))
    scales = (1.0, 1e-15, 1e15)
    tilts = (1.0, 1e-6, 1e6)
    pairs = [
        (y * np.dtype(dtype).type(s * t), x * np.dtype(dtype).type(s))
        for s in scales
        for t in tilts
    ]
    axes = np.array([(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1)], dtype).T
    return tuple(
        np.concatenate([*part, axis])
        for part, axis in zip(zip(*pairs, strict=True), axes, strict=True)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_arctan2_is_that_of_the_c_library(dtype):
    y, x = directions(dtype)
    found = np.asarray(jax.jit(arctan2)(y, x))
    assert found.dtype == dtype
    expected = np.arctan2(y.astype(np.longdouble), x.astype(np.longdouble))
    # the documented bound: 4 units of the last place
    error = np.abs(found - expected) / np.spacing(np.abs(expected).astype(dtype))
    assert error.max() <= 4, error.max()


def test_arctan2_of_zeros():
    one = jnp.ones(())
    assert arctan2(0 * one, one) == 0
    assert arctan2(0 * one, -one) == np.pi
    assert arctan2(one, 0 * one) == np.pi / 2
    assert safe_atan2(0 * one, 0 * one) == np.pi / 2


def test_derivatives_of_arctan2():
    y, x = (part[::50] for part in directions("float64"))
    large = np.hypot(x, y) > 1e-3
    y, x = y[large], x[large]
    for argnum in (0, 1):
        once = [jax.grad(f, argnum) for f in (arctan2, jnp.arctan2)]
        twice = [jax.grad(f, argnum) for f in once]
        for ours, theirs in (once, twice):
            # a dozen roundings in each, of products and sums of squares
            np.testing.assert_allclose(
                jax.jit(jax.vmap(ours))(y, x),
                jax.jit(jax.vmap(theirs))(y, x),
                rtol=64 * np.finfo(float).eps,
            )
