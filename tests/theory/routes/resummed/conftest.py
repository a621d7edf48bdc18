"""A problem that several files solve."""

import pytest
from problems import prototypes


@pytest.fixture(scope="module")
def small():
    return prototypes((20, 20, 20), n_test=30, d=120, spread=1.5, seed=3)
