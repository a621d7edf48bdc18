"""Random images and labels for tests of loading, and what they compare."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

CLASSES = 3
ROUNDING = 64 * np.finfo(float).eps  # of some ten operations on numbers of size one


def arrays(n=30, n_test=12, shape=(4, 5), seed=0):
    """Random bytes and cyclic labels of `CLASSES` classes, for `from_arrays`."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, size=(n + n_test, *shape), dtype=np.uint8)
    labels = np.arange(n + n_test) % CLASSES
    return images[:n], labels[:n], images[n:], labels[n:]


def rows(x):
    return {row.tobytes() for row in np.asarray(x)}


def counts(problem):
    return np.bincount(problem.labels_train, minlength=problem.num_classes).tolist()


pixel_arrays = hnp.arrays(
    np.float64, (3, 2, 4), elements=st.integers(0, 255).map(lambda byte: byte / 255)
).filter(lambda x: (np.ptp(x.reshape(3, -1), axis=1) > 0).all())
