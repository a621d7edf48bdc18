"""Kernels against moments over the initialisations of wide finite networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from activation_cases import BY_NAME

from theory.activations import registry
from theory.kernels import matrices
from theory.kernels.architecture import Architecture

KEY = jax.random.key(0)
WIDTH, INITS, DEPTH = 4096, 24, 3
POINTS = np.random.default_rng(5).standard_normal((2, 6))


@functools.cache
def empirical(case, w_var, b_var):
    """Per initialisation: nngp (n, n), and each layer's part of the NTK.

    The covariance of the outputs is that given the last hidden layer, over which the
    mean is left to sampling: unbiased, and less noisy than products of outputs. Parts
    of the NTK are (inits, depth, 2, n, n): weights in the NTK parametrisation, and
    biases, by reverse-mode autodiff of every output.
    """
    phi = registry.get(case.name).fn
    x = jnp.asarray(POINTS, jnp.float32)
    sizes = (x.shape[1], *(WIDTH,) * (DEPTH - 1), 1)

    def forward(params, x):
        for weights, bias in params[:-1]:
            scale = np.float32(np.sqrt(w_var / weights.shape[0]))
            x = phi(scale * (weights.T @ x) + bias)
        weights, bias = params[-1]
        scale = np.float32(np.sqrt(w_var / weights.shape[0]))
        return (scale * (weights.T @ x) + bias)[0], x

    def sample(key):
        params = []
        for i in range(DEPTH):
            k1, k2 = jax.random.split(jax.random.fold_in(key, i))
            weights = jax.random.normal(k1, sizes[i : i + 2], jnp.float32)
            bias = jax.random.normal(k2, sizes[i + 1 : i + 2], jnp.float32)
            params.append((weights, np.float32(np.sqrt(b_var)) * bias))
        gradient = jax.grad(forward, has_aux=True)
        gradients, hidden = jax.vmap(gradient, (None, 0))(params, x)
        flat = lambda g: g.reshape(len(x), -1)
        parts = [[flat(g) @ flat(g).T for g in layer] for layer in gradients]
        return b_var + w_var * hidden @ hidden.T / WIDTH, jnp.array(parts)

    keys = jax.random.split(KEY, INITS)
    return tuple(map(np.asarray, jax.jit(lambda k: jax.lax.map(sample, k))(keys)))


def z_scores(samples, expected):
    stderr = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return (samples.mean(axis=0) - expected) / stderr


# Weight and bias rates: None is the NTK parametrisation; then one kind at a time, and
# rates that differ from layer to layer.
RATES = {
    "ntk": (None, None),
    "first weights": ((1.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    "last weights": ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)),
    "trained biases": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "all different": ((0.3, 2.0, 0.7), (1.5, 0.2, 0.6)),
}
NETWORKS = [("relu", 1.7, 0.3), ("erf", 2.0, 0.0)]  # the latter's biases start at 0


# One test: two workers would sample the same networks. Weekly: a minute each, for a
# third route to kernels, beside quadrature and neural-tangents.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "w_var", "b_var"), NETWORKS)
def test_kernels_are_moments_over_wide_networks(name, w_var, b_var):
    outputs, parts = empirical(BY_NAME[name], w_var, b_var)
    for which, (w_rates, b_rates) in RATES.items():
        arch = Architecture(
            depth=DEPTH,
            activation=name,
            w_var=w_var,
            b_var=b_var,
            w_rates=w_rates,
            b_rates=b_rates,
        )
        gram = matrices.gram(jnp.asarray(POINTS), arch)
        weights, biases = w_rates or (1.0,) * DEPTH, b_rates or (b_var,) * DEPTH
        # layers, and weights or biases, are axes 1 and 2
        rates = np.transpose([weights, biases])
        tangent = np.tensordot(parts, rates, ((1, 2), (0, 1)))
        for samples, kernel in ((tangent, gram.ntk), (outputs, gram.nngp)):
            z = z_scores(samples, np.asarray(kernel))
            assert np.abs(z).max() < 5, (which, z)
