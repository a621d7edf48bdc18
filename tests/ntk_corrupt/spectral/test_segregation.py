"""What labels explain of components: planted directions, regression by itself."""

import jax
import numpy as np
import pytest
from closeness import raises

from ntk_corrupt.label_noise.labels import corrupt_labels
from ntk_corrupt.spectral import segregation
from ntk_corrupt.spectral.truncation import SpectralTruncation

C, N, RHO = 4, 2000, 0.4
TRUE = jax.device_put(np.arange(N) % C)
# Of sums over N points, over components as small as .2 of features of 5.
ROUNDING = 64 * N * np.finfo(float).eps
NOISY = corrupt_labels(TRUE, RHO, C, mode="flip", key=jax.random.key(0))


def planted(signal=5.0, wrong=1.0, rest=0.2, seed=0):
    """Class means in 4 directions, wrong labels in 4, nothing in the others."""
    rng = np.random.default_rng(seed)
    hot, flipped = np.eye(C)[np.asarray(TRUE)], np.eye(C)[np.asarray(NOISY)]
    parts = [signal * hot, wrong * (flipped - hot), np.zeros((N, 4))]
    noise = rest * rng.normal(size=(N, 12))
    return jax.device_put(np.concatenate(parts, axis=1) + noise)


def r2(z, regressors):
    """Least squares with a constant, column by column."""
    design = np.concatenate([regressors, np.ones((len(z), 1))], axis=1)
    left = z - design @ np.linalg.lstsq(design, z, rcond=None)[0]
    return 1 - (left**2).sum(axis=0) / ((z - z.mean(axis=0)) ** 2).sum(axis=0)


transform = jax.jit(SpectralTruncation.transform)
explained = jax.jit(segregation.explained)


def found_in(h, noisy=NOISY):
    fit = SpectralTruncation.fit(h)
    found = segregation.segregation(fit, h, TRUE, noisy, C)
    return found, np.asarray(transform(fit, h))


def test_shares_are_those_of_least_squares():
    found, z = found_in(planted())
    right, flipped = (np.eye(C)[np.asarray(of)] for of in (TRUE, NOISY))
    wrong = flipped - right
    np.testing.assert_allclose(found.true, r2(z, right), atol=ROUNDING)
    np.testing.assert_allclose(found.noise, r2(z, wrong), atol=ROUNDING)
    both = r2(z, np.concatenate([right, wrong], axis=1))
    np.testing.assert_allclose(found.noise_beyond, both - found.true, atol=ROUNDING)
    assert found.variance.sum() == pytest.approx(1)


def test_planted_directions_are_told_apart():
    found, _ = found_in(planted())
    # three directions of class means, then the wrong labels, then nothing
    assert (found.true[:3] > 0.95).all()
    assert (found.noise_beyond[:3] < 0.02).all()
    # of the wrong labels alone the signal has a part: they tell true classes too
    assert (found.noise[:3] > 0.05).all()
    assert (found.noise_beyond[3:6] > 0.6).all()
    assert (found.true[8:] < 0.05).all()
    assert found.reach("true") == 3
    assert found.reach("noise_beyond") > 4
    assert found.index_beyond == found.reach("noise_beyond") / 3
    assert found.index == found.reach("noise") / found.reach("true")
    swapped, _ = found_in(planted(signal=1.0, wrong=5.0))
    assert swapped.index_beyond < 1.5 < found.index_beyond


def test_without_wrong_labels_nothing_is_explained_by_them():
    found, _ = found_in(planted(wrong=0.0), TRUE)
    np.testing.assert_array_equal(found.noise, 0)
    assert np.isnan(found.index)
    assert np.isnan(found.reach("noise_beyond"))


def test_chance_explains_little():
    rng = np.random.default_rng(1)
    z, put = rng.normal(size=(N, 50)), jax.device_put
    found = np.asarray(explained(put(z), put(np.eye(C)[np.asarray(TRUE)])))
    # three free regressors: mean (C - 1)/(N - 1), variance twice that over N
    error = (2 * (C - 1) / N**2 / 50) ** 0.5
    assert found.mean() == pytest.approx((C - 1) / (N - 1), abs=5 * error)
    dependent = put(np.concatenate([z[:, :2], z[:, :2] @ np.ones((2, 2))], axis=1))
    found = np.asarray(explained(put(z), dependent))
    np.testing.assert_allclose(found[:2], 1, atol=ROUNDING)
    np.testing.assert_array_equal(explained(put(np.ones((N, 50))), dependent), 0)


def test_reach():
    amounts = np.array([3.0, 1.0, 0.0, 6.0])
    for share, d in ((0.3, 1), (0.31, 2), (0.4, 2), (0.41, 4), (1.0, 4)):
        assert segregation.reach(amounts, share) == d
    with raises("`share` must be in (0, 1], got 0"):
        segregation.reach(amounts, 0.0)


def test_fit_of_wrong_labels():
    true, noisy = np.asarray(TRUE), np.asarray(NOISY)
    decisions = np.stack([true, noisy, (true + 1) % C])
    fits = segregation.flipped_fit(decisions, TRUE, NOISY)
    np.testing.assert_array_equal(fits[:2], [0, 1])
    ahead = noisy == (true + 1) % C
    assert fits[2] == pytest.approx(ahead.sum() / (RHO * N))
    assert np.isnan(segregation.flipped_fit(decisions, TRUE, TRUE)).all()
