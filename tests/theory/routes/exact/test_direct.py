"""Outputs and init_var of the exact route against NumPy, priors and matrix flows."""

import numpy as np
import pytest
from closeness import within
from exact_cases import (
    ERF,
    KEY,
    NOISE,
    PROBLEM,
    SIGNS,
    SOLVED,
    check_by_hand,
    close,
    known,
    settings,
    smoother,
)
from problems import erf_kernels

from theory import exact
from theory.corruption.copies import corrupt
from theory.corruption.corruptions import Additive, Replacement
from theory.kernels.architecture import Architecture


@pytest.mark.parametrize("p", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_outputs_and_init_var_by_hand(p, ridge):
    draws = check_by_hand(ERF, Replacement(p=p, noise=SIGNS), PROBLEM, ridge=ridge)
    assert (draws.diagnostics["margin"] > 0).all()
    if not ridge:
        assert (draws.diagnostics["train_mse"] < SOLVED**2).all()
        np.testing.assert_array_equal(draws.diagnostics["truncation_error"], 0)


def test_other_depths_and_rates_by_hand():
    rated = Architecture(
        depth=2,
        activation="erf",
        w_var=0.8,
        w_rates=(0.5, 2.0),
        b_rates=(0.3, 0.7),
    )
    check_by_hand(rated, Additive(p=0.8, noise=SIGNS), PROBLEM)


def test_a_linear_model_is_ridge_regression():
    # Theta = x.x'/d: the dual form of regression with penalty ridge d
    arch, ridge = Architecture(depth=1, activation="erf"), 0.2
    draws = check_by_hand(arch, NOISE, PROBLEM, ridge=ridge)
    x = np.asarray(corrupt(NOISE, KEY, 0, PROBLEM.x_train))
    d = x.shape[1]
    weights = np.linalg.solve(x.T @ x + ridge * d * np.eye(d), x.T @ PROBLEM.y)
    close(np.asarray(draws.outputs)[0, 0], np.asarray(PROBLEM.x_test) @ weights)


@pytest.mark.parametrize("time", [0.0, 0.7, 30.0])
def test_finite_time_solves_the_flow(time):
    draws = check_by_hand(ERF, NOISE, PROBLEM, time=time)
    if time == 0:
        np.testing.assert_array_equal(draws.outputs, 0)
        prior = np.diagonal(
            erf_kernels(PROBLEM.x_test, PROBLEM.x_test, **settings(ERF))[0]
        )
        np.testing.assert_allclose(known(draws.init_var), [prior, prior], rtol=1e-12)


def test_long_training_is_training_to_the_end():
    end = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY)
    long = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY, time=1e12)
    close(long.outputs, end.outputs)
    close(known(long.init_var), known(end.init_var))
    mse = [
        exact(ERF, NOISE, PROBLEM, draws=1, key=KEY, time=t).diagnostics["train_mse"][0]
        for t in (0.0, 1.0, 10.0, 100.0)
    ]
    np.testing.assert_allclose(mse[0], 0.25, rtol=1e-12)  # one-hot, four classes
    assert mse == sorted(mse, reverse=True)


def test_infinite_time_is_training_to_the_end():
    end = exact(ERF, NOISE, PROBLEM, draws=1, key=KEY)
    forever = exact(ERF, NOISE, PROBLEM, draws=1, key=KEY, time=np.inf)
    close(forever.outputs, end.outputs)


@pytest.mark.parametrize(
    ("ridge", "time"), [(0.0, None), (0.4, None), (0.0, 3.0)], ids=str
)
def test_init_var_is_that_of_sampled_initialisations(ridge, time):
    draws = exact(ERF, NOISE, PROBLEM, draws=1, key=KEY, ridge=ridge, time=time)
    x = np.asarray(corrupt(NOISE, KEY, 0, PROBLEM.x_train))
    n = len(x)
    everything = np.concatenate([x, np.asarray(PROBLEM.x_test)])
    nngp, ntk = erf_kernels(everything, everything, **settings(ERF))
    root = np.linalg.cholesky(nngp + 1e-12 * np.eye(len(nngp)))
    start = np.random.default_rng(0).normal(size=(20_000, len(nngp))) @ root.T
    rows = ntk[n:, :n] @ smoother(ntk[:n, :n], ridge, time)
    trained = start[:, n:] - start[:, :n] @ rows.T
    within(trained, np.zeros(len(rows)))
    within(trained**2, known(draws.init_var)[0])


def test_ridge_shrinks_and_leaves_training_error():
    free, shrunk = (
        exact(ERF, NOISE, PROBLEM, draws=1, key=KEY, ridge=ridge)
        for ridge in (0.0, 1.0)
    )
    assert shrunk.diagnostics["train_mse"][0] > 1e-3 > free.diagnostics["train_mse"][0]
    assert shrunk.diagnostics["margin"][0] > free.diagnostics["margin"][0]


def test_diagnostics_have_one_entry_per_draw():
    draws = exact(ERF, NOISE, PROBLEM, draws=3, key=KEY)
    assert set(draws.diagnostics) == {"margin", "train_mse", "truncation_error"}
    assert {value.shape for value in draws.diagnostics.values()} == {(3,)}
    # smallest pivot over its diagonal entry, by NumPy's own factorisation
    x = corrupt(NOISE, KEY, 0, PROBLEM.x_train)
    ntk = erf_kernels(x, x, **settings(ERF))[1]
    pivots = np.diagonal(np.linalg.cholesky(ntk)) ** 2 / np.diagonal(ntk)
    np.testing.assert_allclose(draws.diagnostics["margin"][0], pivots.min(), rtol=1e-9)


def test_float32_works_where_the_kernel_is_well_conditioned():
    single = exact(ERF, NOISE, PROBLEM.astype(np.float32), draws=2, key=KEY)
    double = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY)
    assert single.outputs.dtype == known(single.init_var).dtype == np.float32
    x = corrupt(NOISE, KEY, 0, PROBLEM.x_train)
    condition = np.linalg.cond(erf_kernels(x, x, **settings(ERF))[1])
    rounding = 16 * float(np.finfo(np.float32).eps) * condition
    for one, two in (
        (single.outputs, double.outputs),
        (known(single.init_var), known(double.init_var)),
    ):
        np.testing.assert_allclose(one, two, rtol=0, atol=rounding)
    np.testing.assert_array_equal(single.draw_keys, double.draw_keys)
