"""Models with given constants against draws of them, and against known values."""

import numpy as np
from scipy import integrate, stats

from experiments.laws.score_model import fitted_accuracies, toy_accuracies


def test_accuracies_are_those_of_simulated_outputs():
    rng = np.random.default_rng(0)
    scores, labels = 0.1 * rng.normal(size=(20, 4)), rng.integers(0, 4, 20)
    (found,) = fitted_accuracies(scores, labels, [0.94], a=1.5, c=0.3)
    # twice the slope of the level where it is fitted
    outputs = 3.0 * scores + 0.3 * rng.normal(size=(20_000, 20, 4))
    right = (outputs.argmax(-1) == labels).mean()
    # 400 000 decisions, each of at most 1/2
    np.testing.assert_allclose(found, right, rtol=0, atol=5 * 0.5 / 400_000**0.5)


def test_the_toy_model_is_its_integral_and_most_uncertain_once():
    levels = np.linspace(0, 1, 41)
    mean, spread = toy_accuracies(levels.tolist())
    np.testing.assert_allclose(mean[-1], 0.1, rtol=0, atol=1e-8)

    def integrand(u):
        return stats.norm.pdf(u) * stats.norm.cdf(u + 10 * (1 - levels[34])) ** 9

    np.testing.assert_allclose(
        mean[34], integrate.quad(integrand, -12, 12)[0], rtol=1e-6
    )
    assert (np.diff(mean) <= 1e-12).all()
    steps = np.sign(np.diff(spread[levels > 0.5]))
    # rises to one maximum inside, 1/2 where half of the decisions are right, and falls
    assert (np.diff(steps) <= 0).all()
    assert set(steps) == {-1, 1}
    np.testing.assert_allclose(spread.max(), 0.5, rtol=0, atol=5e-3)
