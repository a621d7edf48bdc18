"""Splits of losses: against known mixtures, counts by hand, a grid of posteriors."""

import numpy as np
import pytest
from closeness import raises
from scipy import stats

from ntk_corrupt.label_noise import detection

RNG = np.random.default_rng(0)
N = 2000
WRONG = RNG.random(N) < 0.3
APART = np.where(WRONG, RNG.normal(4.0, 0.5, N), RNG.normal(0.5, 0.2, N))


def test_a_known_mixture():
    chance = detection.mixture(APART)
    # the posterior of the law they were drawn from
    upper = 0.3 * stats.norm.pdf(APART, 4.0, 0.5)
    lower = 0.7 * stats.norm.pdf(APART, 0.5, 0.2)
    expected = upper / (upper + lower)
    assert np.abs(chance - expected).mean() < 0.01
    assert ((chance > 0.5) == WRONG).mean() > 0.999


def test_the_chance_rises_with_the_loss():
    # a wide upper Gaussian is the likelier one far below both means
    losses = np.where(WRONG, RNG.normal(3.0, 2.0, N), RNG.normal(2.0, 0.2, N))
    order = np.argsort(losses)
    chance = detection.mixture(losses)[order]
    assert (np.diff(chance) >= -1e-12).all()
    assert chance[0] < 0.5 < chance[-1]


def test_scale_and_order_do_not_matter():
    chance = detection.mixture(APART)
    # log chances of hundreds, at losses rounded anew
    scaled = detection.mixture(7 * APART - 3)
    np.testing.assert_allclose(scaled, chance, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(detection.mixture(APART), chance)
    order = RNG.permutation(N)
    shuffled = detection.mixture(APART[order])
    # from another start, to the tolerance that scikit-learn stops at
    np.testing.assert_allclose(shuffled, chance[order], rtol=0, atol=1e-3)


def test_equal_losses():
    np.testing.assert_array_equal(detection.mixture(np.ones(5)), np.zeros(5))
    # two values: two piles
    found = detection.mixture(np.array([0.0, 0.0, 0.0, 1.0, 1.0]))
    np.testing.assert_array_equal(found > 0.5, [False, False, False, True, True])


def test_counts_by_hand():
    losses = np.array([0.1, 0.9, 0.2, 0.8, 0.3])
    wrong = np.array([False, True, True, True, False])
    flagged = detection.beyond(losses, 0.25)
    np.testing.assert_array_equal(flagged, [False, True, False, True, True])
    found = detection.detection(losses, flagged, wrong)
    assert found.precision == pytest.approx(2 / 3)
    fewer = detection.detection(losses, detection.beyond(losses, 0.85), wrong)
    assert (fewer.precision, fewer.recall) == pytest.approx((1, 1 / 3))
    # of 6 pairs of a wrong and a right one only (.2, .3) is the other way
    assert found.auc == pytest.approx(5 / 6)


def test_area_is_the_share_of_pairs():
    losses = np.where(WRONG, RNG.normal(1.0, 1.0, N), RNG.normal(0.0, 1.0, N))
    pairs = losses[WRONG][:, None] > losses[~WRONG][None]
    found = detection.detection(losses, losses > 0.5, WRONG)
    assert found.auc == pytest.approx(pairs.mean())
    # two unit Gaussians one apart
    error = 0.5 / (WRONG.sum()) ** 0.5
    assert found.auc == pytest.approx(stats.norm.cdf(0.5**0.5), abs=5 * error)


def test_nothing_to_find():
    losses, none = np.array([0.1, 0.2]), np.zeros(2, bool)
    found = detection.detection(losses, none, none)
    assert all(np.isnan(value) for value in found)
    every = detection.detection(losses, ~none, ~none)
    assert (every.precision, every.recall) == (1, 1)
    assert np.isnan(every.auc)


def test_correction():
    labels, predicted = np.array([0, 1, 2, 3]), np.array([3, 3, 3, 3])
    flagged = np.array([False, True, True, False])
    found = detection.corrected(labels, predicted, flagged)
    np.testing.assert_array_equal(found, [0, 3, 3, 3])


@pytest.mark.parametrize("classes", [2, 10])
def test_loss_of_guessing(classes):
    of = lambda loss: detection.loss_of_guessing(loss, classes)
    y, even = np.eye(classes)[0], np.full(classes, 1 / classes)
    assert of("cross_entropy") == pytest.approx(np.log(classes))
    for loss in ("mse", "softmax_mse"):
        assert of(loss) == pytest.approx(((even - y) ** 2).mean())


def test_bad_input():
    bad = np.array([0.1, np.nan])
    with raises("`losses` must be finite, got NaN or infinity: nan at [1]"):
        detection.mixture(bad)
    with raises("`losses` must be finite"):
        detection.detection(bad, bad > 0, bad > 0)
    with raises("`losses` must be at least two, got 1"):
        detection.mixture(np.array([0.1]))
