"""The real MNIST, where its files are."""

import time

import numpy as np
import pytest
from checkout import ROOT
from closeness import raises

from ntk_corrupt.data import loading

MNIST = ROOT.parent / "shared" / "data" / "mnist"


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST files in {MNIST}")
def test_the_real_mnist():
    start = time.process_time()
    problem = loading.load("mnist", data_dir=MNIST.parent, normalise="unit")
    seconds = time.process_time() - start
    # what the least of it takes here: every pixel becomes a float, and is divided
    start = time.process_time()
    for _ in range(70):
        np.full((1000, 784), 7, np.uint8).astype(np.float64) / 255
    least = time.process_time() - start
    assert problem.x_train.shape == (60_000, 784)
    assert problem.x_test.shape == (10_000, 784)
    # Published class counts.
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(problem.labels_train).tolist() == train
    assert np.bincount(problem.labels_test).tolist() == test
    # 0.1307 and 0.3081: the mean and standard deviation everyone normalises with.
    pixels = np.asarray(problem.x_train).ravel()
    mean = pixels.mean()
    assert abs(mean - 0.1307) < 5e-5
    assert abs((pixels @ pixels / pixels.size - mean**2) ** 0.5 - 0.3081) < 5e-5
    assert seconds < 100 * least  # CPU time; 20 where this was written

    subset = loading.load("mnist", data_dir=MNIST, n_train=1003, n_test=500)
    assert sorted(np.bincount(subset.labels_train)) == [100] * 7 + [101] * 3
    assert np.bincount(subset.labels_test).tolist() == [50] * 10
    squares = np.asarray(subset.x_train) ** 2
    np.testing.assert_allclose(squares.mean(axis=1), 1, rtol=1e-12)
    same = loading.load("mnist", data_dir=MNIST, n_train=1003, n_test=500)
    np.testing.assert_array_equal(subset.x_train, same.x_train)
    other = loading.load("mnist", data_dir=MNIST, n_train=1003, n_test=500, seed=1)
    np.testing.assert_array_equal(subset.x_test, other.x_test)
    shared = {row.tobytes() for row in np.asarray(subset.x_train)} & {
        row.tobytes() for row in np.asarray(other.x_train)
    }
    assert len(shared) < 60  # about 1003^2 / 60 000 = 17 by chance
    # Full balanced sizes, ten times the smallest class.
    with raises("class 5 has only 5421 images, so at most 54210"):
        loading.load("mnist", data_dir=MNIST, n_train=60_000)
    with raises("class 5 has only 892 images, so at most 8920"):
        loading.load("mnist", data_dir=MNIST, n_test=10_000)
