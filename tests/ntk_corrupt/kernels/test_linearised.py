"""Regression with the tangent kernel of one network, against its whole Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

import theory
from ntk_corrupt.kernels import linearised
from ntk_corrupt.networks import mlp
from theory.errors import NumericalError

N, D, C, M = 7, 5, 3, 4
RNG = np.random.default_rng(1)
X, TEST = (jnp.asarray(RNG.standard_normal((n, D))) for n in (N, M))
Y = jnp.asarray(np.eye(C)[np.arange(N) % C])
# of solves with kernels of condition 1e3
SOLVED = 1e-11


def network(parametrisation="ntk", seed=0):
    arch = theory.Architecture(depth=3, activation="erf", w_var=1.3, b_var=0.2)
    model = mlp.mlp(arch, 11, C, parametrisation=parametrisation)
    params = model.init(jax.random.key(seed), X)
    return model, jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)


def by_jacobian(model, params, at, ridge):
    """The same from all derivatives, flat."""

    def flat(x):
        jacobian = jax.jacobian(lambda params: model.apply(params, x))(at)
        rows = [
            np.asarray(leaf).reshape(len(x) * C, -1)
            for leaf in jax.tree.leaves(jacobian)
        ]
        return np.concatenate(rows, axis=1)

    one, two = flat(X), flat(TEST)
    left = np.asarray(Y - model.apply(params, X)).ravel()
    weights = np.linalg.solve(one @ one.T + ridge * np.eye(N * C), left)
    start = np.asarray(model.apply(params, TEST))
    return start + (two @ one.T @ weights).reshape(M, C)


@pytest.mark.parametrize("parametrisation", ["ntk", "standard"])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_regression(parametrisation, ridge):
    model, params = network(parametrisation)
    found = linearised.regress(model, params, X, Y, TEST, ridge=ridge)
    expected = by_jacobian(model, params, params, ridge)
    np.testing.assert_allclose(found, expected, atol=SOLVED)


def test_the_kernel_at_other_parameters():
    (model, params), (_, other) = network(), network(seed=1)
    found = linearised.regress(model, params, X, Y, TEST, at=other)
    expected = by_jacobian(model, params, other, 0.0)
    np.testing.assert_allclose(found, expected, atol=SOLVED)
    assert np.abs(expected - by_jacobian(model, params, params, 0.0)).max() > 0.01


def test_training_points_are_fitted():
    model, params = network()
    found = linearised.regress(model, params, X, Y, X)
    np.testing.assert_allclose(found, Y, atol=SOLVED)


def test_conjugate_gradients(monkeypatch):
    model, params = network()
    direct = linearised.regress(model, params, X, Y, TEST)
    monkeypatch.setattr(linearised, "_LARGEST", N * C - 1)
    iterated = linearised.regress(model, params, X, Y, TEST)
    # a residual of 1e-6, and test rows of condition 1e2
    np.testing.assert_allclose(iterated, direct, atol=1e-4)
    assert not np.array_equal(iterated, direct)


@pytest.mark.parametrize("largest", [20_000, 1])
def test_a_singular_kernel_is_refused(monkeypatch, largest):
    monkeypatch.setattr(linearised, "_LARGEST", largest)
    model, params = network()
    twins, labels = jnp.concatenate([X, X[:1]]), jnp.concatenate([Y, Y[1:2]])
    with raises("`ridge`", NumericalError):
        linearised.regress(model, params, twins, labels, TEST)
    found = linearised.regress(model, params, twins, labels, TEST, ridge=0.1)
    assert np.isfinite(found).all()


def test_float32():
    model, params = network()
    x, y, test = (part.astype(jnp.float32) for part in (X, Y, TEST))
    found = linearised.regress(model, params, x, y, test)
    assert found.dtype == jnp.float32
    expected = linearised.regress(model, params, X, Y, TEST)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_refusals():
    model, params = network()
    with raises("`ridge` must be finite and not negative"):
        linearised.regress(model, params, X, Y, TEST, ridge=-1.0)


@pytest.mark.parametrize("largest", [20_000, 1])
def test_rates_are_those_of_other_parameters(monkeypatch, largest):
    # a parameter that is written as root rate times another learns rate times as fast
    monkeypatch.setattr(linearised, "_LARGEST", largest)
    model, params = network()
    rates = jax.tree.map(lambda _: 1.0, params)
    rates["params"]["layer_1"]["kernel"] = 0.3
    rates["params"]["layer_2"]["bias"] = 4.0
    rates["params"]["layer_3"]["kernel"] = 0.0
    found = linearised.regress(model, params, X, Y, TEST, rates=rates, ridge=0.01)

    def flat(x):
        jacobian = jax.jacobian(lambda params: model.apply(params, x))(params)
        rows = jax.tree.map(lambda leaf, rate: leaf * rate**0.5, jacobian, rates)
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(rows)]
        return np.concatenate([e.reshape(len(x) * C, -1) for e in leaves], axis=1)

    one, two = flat(X), flat(TEST)
    left = np.asarray(Y - model.apply(params, X)).ravel()
    weights = np.linalg.solve(one @ one.T + 0.01 * np.eye(N * C), left)
    expected = model.apply(params, TEST) + (two @ one.T @ weights).reshape(M, C)
    np.testing.assert_allclose(found, expected, atol=SOLVED if largest > 1 else 1e-4)


def test_rates_of_another_structure_are_refused():
    model, params = network()
    with raises("`rates` must have a number for each array"):
        linearised.regress(model, params, X, Y, TEST, rates={"params": 1.0})
    negative = jax.tree.map(lambda _: -1.0, params)
    with raises("`rates` must be finite and not negative"):
        linearised.regress(model, params, X, Y, TEST, rates=negative)
