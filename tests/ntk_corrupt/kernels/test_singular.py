"""The largest singular value on some outputs, against the Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

import theory
from ntk_corrupt.kernels import singular
from ntk_corrupt.networks import mlp

N, D, C = 6, 4, 2
X = jnp.asarray(np.random.default_rng(0).standard_normal((N, D)), jnp.float32)


def test_largest_on_a_subspace():
    net = mlp.mlp(theory.Architecture(depth=2, activation="tanh"), 8, C)
    params = net.init(jax.random.key(0), X)
    full = jax.jit(jax.jacobian(net.apply))(params, X)
    j = np.concatenate(
        [np.asarray(leaf, float).reshape(N, C, -1) for leaf in jax.tree.leaves(full)],
        axis=2,
    )
    basis = np.kron(np.eye(3), np.ones((2, 1))) / 2**0.5
    on = np.einsum("nk,ncp->kcp", basis, j).reshape(3 * C, -1)
    values = np.linalg.svd(on, compute_uv=False)
    found = singular.largest(
        net, params, X, jnp.asarray(basis, jnp.float32), iterations=40
    )
    missed = (values[1] / values[0]) ** 160 + 64 * np.finfo(np.float32).eps
    assert float(found) == pytest.approx(values[0], rel=missed)
    with raises("`iterations` must be at least 1, got 0"):
        singular.largest(net, params, X, jnp.asarray(basis), iterations=0)
