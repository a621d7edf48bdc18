"""Networks of the tests of resummed, and a comparison of the law with draws."""

import jax
import numpy as np
from closeness import check_sample

from theory import Architecture, Replacement

KEY = jax.random.key(1)
# Every other architecture, shape or option compiles all of the route anew.
ERF = Architecture(depth=2, activation="erf")
DEEP = Architecture(depth=3, activation="erf")
NOISE, ON_TEST = Replacement(p=0.8), Replacement(p=0.3)


def centred(outputs):
    return outputs - outputs.mean(axis=-1, keepdims=True)


def check_against(law, draws):
    """Mean, variances and covariances of draws are those of the law."""
    points = np.arange(len(law.mean))
    check_sample(draws.outputs[:, 0], law.mean, law.cross_cov(points, points))
