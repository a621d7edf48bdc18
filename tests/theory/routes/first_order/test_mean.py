"""The mean of the law against finite differences of the mean kernel's prediction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from first_order_cases import MOMENTS, NOISES, PROBLEMS, mean_first_layer, networks

from theory.corruption.corruptions import Additive, Replacement
from theory.kernels import propagation
from theory.kernels.architecture import Architecture
from theory.routes.first_order.law import first_order


def at_level(kind, p, noise):
    # a Python number: one of NumPy would be another program
    return kind(p=float(p), noise=noise)


@jax.jit
def predict(arch, problem, q, k, k_test):
    """Theta_* Theta^{-1} Y of the first-layer numbers of all training points."""
    theta = propagation.propagate(q[:, None], q[None, :], k, arch).ntk
    index = jnp.arange(q.shape[0])
    theta = theta.at[index, index].set(propagation.propagate_diag(q, arch).ntk)
    q_test = propagation.first_layer_variance(problem.x_test, arch)
    rows = propagation.propagate(q_test[:, None], q[None, :], k_test, arch).ntk
    return rows @ jnp.linalg.solve(theta, problem.y)


def finite_difference(arch, kind, mu, problem, h=5e-4):
    """Prediction of the mean kernel at eps = 0, and its derivative (error h^4)."""

    def at(eps):
        layer = mean_first_layer(arch, kind is Additive, mu, problem, eps)
        return np.asarray(predict(arch, problem, *layer))

    slope = 8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))
    return at(0.0), slope / (12 * h)


def check_mean(arch, kind, name, problem):
    """Compares value and slope."""
    value, slope = finite_difference(arch, kind, MOMENTS[name], problem)
    pure, near = (
        first_order(arch, at_level(kind, p, NOISES[name]), problem) for p in (1.0, 0.75)
    )
    # a solve of targets of one: the condition is that of kap I + theta_o 1 1^T
    n = len(problem.labels_train)
    kap, theta_o = (float(pure.diagnostics[part]) for part in ("kap", "theta_o"))
    rounding = n * np.finfo(float).eps * (1 + n * theta_o / kap)
    np.testing.assert_allclose(pure.mean, value, rtol=0, atol=rounding)
    got = (np.asarray(near.mean) - pure.mean) / 0.25
    # h = 5e-4 to the fourth, of outputs that turn within a twentieth: 1e-8, far above
    # rounding over h
    np.testing.assert_allclose(got, slope, rtol=0, atol=1e-8 * np.abs(slope).max())


@networks
def test_mean_is_the_derivative_of_the_mean_kernel(activation, depth):
    for b_var in (0.0, 0.1):
        arch = Architecture(depth=depth, activation=activation, w_var=1.4, b_var=b_var)
        for name in MOMENTS:
            for problem in PROBLEMS.values():
                check_mean(arch, Replacement, name, problem)


def remainders(arch, kind, name, problem, steps):
    """Largest difference of the mean kernel's prediction from the law."""
    worst = []
    for eps in steps:
        layer = mean_first_layer(arch, kind is Additive, MOMENTS[name], problem, eps)
        law = first_order(arch, at_level(kind, 1 - eps, NOISES[name]), problem)
        worst.append(np.abs(predict(arch, problem, *layer) - law.mean).max())
    return np.array(worst)


def log_slope(steps, values):
    return np.polyfit(np.log(steps), np.log(values), 1)[0]


@pytest.mark.parametrize(("activation", "depth"), [("erf", 3), ("relu", 2)])
@pytest.mark.parametrize("kind", [Replacement, Additive])
def test_the_remainder_is_of_second_order(activation, depth, kind):
    arch = Architecture(depth=depth, activation=activation, w_var=1.4, b_var=0.1)
    steps = 2.0 ** -np.arange(4, 11)
    for name, problem in (("skew", "unbalanced"), ("bernoulli", "missing")):
        values = remainders(arch, kind, name, PROBLEMS[problem], steps)
        assert values[-1] > 1e-11  # above rounding
        assert abs(log_slope(steps, values) - 2) < 0.15, values


@pytest.mark.parametrize("activation", ["erf", "tanh"])
def test_the_second_order_vanishes_for_odd_activations(activation):
    # noise of mean 0 and variance 1, standardised images: outputs are odd in eps
    arch = Architecture(depth=3, activation=activation, w_var=1.4)
    steps = 2.0 ** -np.arange(3, 9)
    values = remainders(arch, Replacement, "uniform", PROBLEMS["balanced"], steps)
    assert values[-1] > 1e-11
    assert abs(log_slope(steps, values) - 3) < 0.15, values


@pytest.mark.parametrize(("activation", "depth"), [("erf", 3), ("relu", 2)])
def test_mean_with_additive_noise(activation, depth):
    for b_var in (0.0, 0.1):
        arch = Architecture(depth=depth, activation=activation, w_var=1.4, b_var=b_var)
        for name in MOMENTS:
            for problem in PROBLEMS.values():
                check_mean(arch, Additive, name, problem)


@pytest.mark.parametrize(("activation", "depth"), [("erf", 3), ("relu", 2)])
def test_mean_with_training_rates(activation, depth):
    for w_rates, b_rates in (
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),  # biases from zero
        ((0.5, 2.0, 1.5), (0.3, 0.0, 0.7)),
        ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)),  # last layer alone
    ):
        arch = Architecture(
            depth=depth,
            activation=activation,
            w_rates=w_rates[-depth:],
            b_rates=b_rates[-depth:],
        )
        check_mean(arch, Replacement, "skew", PROBLEMS["unbalanced"])


@pytest.mark.parametrize("kind", [Replacement, Additive])
def test_mean_of_a_linear_model(kind):
    arch = Architecture(depth=1, activation="erf", w_var=1.4, b_var=0.1)
    check_mean(arch, kind, "skew", PROBLEMS["unbalanced"])
