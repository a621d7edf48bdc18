"""Comparisons of numbers by the roundings of what they are made of."""

import re

import jax
import numpy as np
import pytest
from activation_cases import _TOLERANCE

from theory.errors import InputError


def assert_close(actual, expected, *, rtol=None, atol=None):
    """Compares structure, shape, dtype and values, at the tolerance of the dtype."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for one, other in zip(
        jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
    ):
        one, other = np.asarray(one), np.asarray(other)
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        default = _TOLERANCE.get(one.dtype.name, (0.0, 0.0))
        np.testing.assert_allclose(
            one,
            other,
            rtol=default[0] if rtol is None else rtol,
            atol=default[1] if atol is None else atol,
        )


def raises(text, error=InputError):
    """The error is one line that contains `text`."""
    return pytest.raises(error, match=rf"\A[^\n]*{re.escape(text)}[^\n]*\Z")


def within(sample, expected, *, slack=0.0, errors=5.0):
    """Asserts that the mean over the first axis is `expected` within standard errors.

    Args:
        sample: independent repetitions on the first axis.
        expected: the mean they should have.
        slack: absolute, for errors that are not statistical.
        errors: number of standard errors.
    """
    sample = np.asarray(sample, float)
    allowed = errors * sample.std(axis=0, ddof=1) / len(sample) ** 0.5 + slack
    difference = np.abs(sample.mean(axis=0) - np.asarray(expected))
    assert difference.shape == allowed.shape, (difference.shape, allowed.shape)
    worst = (difference - allowed).max()
    assert worst <= 0, f"off by {worst:.2g} beyond {errors} standard errors"


def check_sample(sample, mean, cov):
    """Sampled outputs have this mean, and this covariance between points.

    Within 5 standard errors of Gaussian ones: outputs of one draw are correlated, and
    the fewer directions they vary in, the less their means and variances average out.

    Args:
        sample: outputs (draw, point, class).
        mean: (point, class).
        cov: (point, point, class, class).
    """
    k, size = len(sample), np.size(mean)
    sample = np.asarray(sample).reshape(k, size)
    cov = np.asarray(cov).transpose(0, 2, 1, 3).reshape(size, size)
    gap = sample.mean(0) - np.asarray(mean).ravel()
    sd = np.sqrt(np.diagonal(cov))
    # a class that is missing has no noise
    some = sd > 1e-12 * sd.max()
    np.testing.assert_allclose(gap[~some], 0, atol=1e-12)
    sd, correlation = sd[some], cov[some][:, some] / np.outer(sd[some], sd[some])
    measured, squared = np.cov(sample.T), cov @ cov
    total, squares = np.trace(cov), np.trace(squared)
    for name, found, variance in (
        ("mean", k * ((gap[some] / sd) ** 2).mean(), 2 * (correlation**2).mean()),
        ("variance", np.trace(measured) / total, 2 * squares / total**2 / (k - 1)),
        (
            "covariance",
            (measured * cov).sum() / squares,
            2 * (squared**2).sum() / squares**2 / (k - 1),
        ),
    ):
        assert abs(found - 1) < 5 * variance**0.5, (name, found, variance**0.5)
    # what is left of the covariance is no more than twice the error of a sample
    left = ((measured - cov) ** 2).sum() / ((total**2 + squares) / (k - 1))
    assert left < 4, left
