"""Stopping rules on paths made by hand."""

import numpy as np
import pytest
from closeness import raises

from ntk_corrupt.label_noise import stopping

RISE_AND_FALL = [0.1, 0.5, 0.7, 0.7, 0.6, 0.8, 0.3]


def test_the_best_epoch():
    assert stopping.noisy_validation(RISE_AND_FALL) == 5
    assert stopping.oracle(RISE_AND_FALL) == 5
    # the first of ties: training on gains nothing
    assert stopping.noisy_validation([0.1, 0.4, 0.4]) == 1
    assert stopping.oracle([0.3]) == 0


@pytest.mark.parametrize(
    ("patience", "epoch"), [(1, 2), (2, 2), (3, 5), (7, 5), (100, 5)]
)
def test_patience(patience, epoch):
    # the best of .7 at epoch 2 is passed at epoch 5, three later
    assert stopping.noisy_validation(RISE_AND_FALL, patience=patience) == epoch


def test_patience_as_a_loop():
    rng = np.random.default_rng(0)
    for _ in range(300):
        path, patience = rng.integers(0, 6, rng.integers(1, 12)), rng.integers(1, 6)
        best = 0
        for epoch, value in enumerate(path):
            if value > path[best]:
                best = epoch
            if epoch - best >= patience:
                break
        assert stopping.noisy_validation(path, patience=int(patience)) == best


def test_noise_of_labels_leaves_the_best_epoch_where_it_is():
    # uniform noise on a share: accuracy a is (1 - share) a + share/C in expectation
    truth = np.array(RISE_AND_FALL)
    for share in (0.25, 0.5, 0.75):
        noisy = (1 - share) * truth + share / 10
        assert stopping.noisy_validation(noisy) == stopping.oracle(truth)


def test_losses_part():
    valid = np.array([2.3, 1.5, 1.2, 1.2, 1.3, 1.5])
    train = np.array([2.3, 1.45, 1.1, 0.95, 0.6, 0.1])
    # gaps over the validation loss: 0, .033, .083, .21 ...
    assert stopping.loss_gap(train, valid) == 2
    assert stopping.loss_gap(train, valid, tolerance=0.05) == 1
    assert stopping.loss_gap(train, valid, tolerance=0.5) == 3
    assert stopping.loss_gap(train, valid, tolerance=5.0) == 5
    # a network that starts with a gap is not trained
    assert stopping.loss_gap(train - 1, valid) == 0
    # in any unit
    assert stopping.loss_gap(1000 * train, 1000 * valid) == 2


def test_a_budget_of_distance():
    distance = [0.0, 0.2, 0.3, 0.5, 0.45]
    assert stopping.distance_budget(distance, 0.3) == 2
    # what comes after the budget is spent does not count
    assert stopping.distance_budget(distance, 0.47) == 2
    assert stopping.distance_budget(distance, 0.1) == 0
    assert stopping.distance_budget(distance, 9.0) == 4


def test_bad_input():
    for path in ([], [0.1, np.nan], [[0.1], [0.2]]):
        with raises("must be a finite number for every epoch"):
            stopping.noisy_validation(path)
    with raises("`accuracy`"):
        stopping.oracle([np.inf])
    with raises("`patience` must be at least 1, got 0"):
        stopping.noisy_validation([0.1], patience=0)
    with raises("`valid_loss` must have length 2"):
        stopping.loss_gap([1.0, 0.5], [1.0])
    with raises("`tolerance` must be positive"):
        stopping.loss_gap([1.0], [1.0], tolerance=0.0)
    with raises("`budget` must be a number, got nan"):
        stopping.distance_budget([0.0], np.nan)
    with raises("`distance` must be a finite number"):
        stopping.distance_budget([], 0.1)
