"""Cost of the mean kernel and its slopes: what depth, pairs and samples may not do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxprs import count_equations

import theory
from theory.kernels.propagation import KernelPair, propagate
from theory.linearised import training_kernel
from theory.linearised.mean_kernel import slope, slopes


def arch(depth=3, activation="gelu"):
    return theory.Architecture(depth=depth, activation=activation)


@pytest.mark.parametrize("activation", ["erf", "gelu"])
def test_programs_do_not_grow_with_depth(activation):
    # unrolled layers took minutes of compilation once they were differentiated
    q, k = np.ones(4), np.full(4, 0.3)

    def size(depth):
        third = slope(slope(lambda *at: propagate(*at, arch(depth, activation)), 2), 0)
        return count_equations(jax.make_jaxpr(third)(q, q, k))

    # the rates of each layer, converted and put into one array: a layer has hundreds
    assert size(8) - size(3) <= 4 * (8 - 3)
    assert size(3) > 200


def test_slopes_leave_variances_in_their_own_shape():
    # quadrature over a variance costs by its values: not by those of all pairs
    seen = []

    def fn(q1, q2, k, s):
        seen.append((q1.shape, q2.shape))
        found = jnp.sin(q1) * q2 * k**2 * jnp.exp(-s)
        return KernelPair(nngp=found, ntk=2 * found)

    at = jnp.ones((5, 1)), jnp.ones((1, 7)), jnp.full((5, 7), 0.5), jnp.zeros((5, 7))
    by_q, _, by_k = slopes(fn)(*at)
    slope(slope(fn, 2), 0)(*at)
    assert set(seen) == {((5, 1), (1, 7))}
    np.testing.assert_allclose(by_q.ntk, 0.5 * np.cos(1.0))
    np.testing.assert_allclose(by_k.nngp, np.sin(1.0))


def test_samples_come_from_all_columns(monkeypatch):
    # the first columns alone, of images sorted by class, are of the first classes
    monkeypatch.setattr(training_kernel, "_SAMPLE", 60)
    monkeypatch.setattr(training_kernel, "_FEW", 10)
    n = 131  # of no other test: compiled functions remember the sizes
    x = jnp.asarray(np.random.default_rng(0).normal(size=(n, 6)))
    noise = theory.Additive(p=0.9, noise=theory.Normal())
    linear = arch(2, "identity")
    train = training_kernel.moments(x, linear, noise)
    found = training_kernel.measure(linear, train, jnp.arange(n))
    sample = np.asarray(found.sample)
    assert 30 < len(sample) <= 60
    assert sample[-1] > n - 2 * np.diff(sample).max()
    assert len(set(np.diff(sample))) == 1
