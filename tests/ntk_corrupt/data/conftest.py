"""Small data sets that several files read."""

import numpy as np
import pytest
from data_files import small_set, write_idx

from ntk_corrupt.data import cifar


@pytest.fixture
def mnist_dir(tmp_path):
    """A folder with a small data set in the format of MNIST, under mnist/."""
    write_idx(tmp_path / "mnist", small_set())
    return tmp_path


@pytest.fixture
def cifar_arrays(monkeypatch):
    """Batches of 20 images instead of 10 000."""
    monkeypatch.setattr(cifar, "_RECORDS", 20)
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (6, 20, 3, 32, 32), np.uint8)  # channels first
    labels = np.tile(np.arange(20, dtype=np.uint8) % 10, (6, 1))
    return pixels, labels
