"""Cost of the mean kernel and its slopes: what depth, pairs and samples may not do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory
from theory.mean_kernel import slope, slopes
from theory.measured import measure
from theory.propagation import KernelPair, propagate


def arch(depth=3, activation="gelu"):
    return theory.Architecture(depth=depth, activation=activation)


@pytest.mark.parametrize("activation", ["erf", "gelu"])
def test_programs_do_not_grow_with_depth(activation):
    # unrolled layers took minutes of compilation once they were differentiated
    q, k = jnp.ones(4), jnp.full(4, 0.3)

    def size(depth):
        third = slope(slope(lambda *at: propagate(*at, arch(depth, activation)), 2), 0)
        return str(jax.make_jaxpr(third)(q, q, k)).count("\n")

    assert size(3) == size(8)


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


def test_samples_come_from_all_columns():
    # the first columns alone, of images sorted by class, are of the first classes
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(1300, 6)))
    noise = theory.Additive(p=0.9, noise=theory.Normal())
    found = measure(arch(2, "erf"), noise, x, jnp.arange(1300))
    sample = np.asarray(found.sample)
    assert 300 < len(sample) <= 600
    assert sample[-1] > 1300 - 2 * np.diff(sample).max()
    assert len(set(np.diff(sample))) == 1
