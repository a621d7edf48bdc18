"""Single entries, layer by layer: without compilation, and their gradients."""

import activation_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from activation_cases import BY_NAME
from closeness import assert_close
from kernel_cases import Z, each_kind, gram_of, part, shared

from theory.kernels import propagation


@each_kind(activation_cases.TRAINABLE, kinds={"relu"})  # operation by operation
def test_jit_is_eager(case):
    arch = shared(case)
    q = propagation.first_layer_variance(Z, arch)
    cov = propagation.first_layer_covariance(Z, Z, arch)
    with jax.disable_jit():
        eager = propagation.propagate(q[:, None], q[None, :], cov, arch)
        diagonal = propagation.propagate_diag(q, arch)
    off = ~np.eye(len(Z), dtype=bool)
    assert_close(part(gram_of(case), off), part(eager, off))
    assert_close(part(gram_of(case), np.diag_indices(len(Z))), diagonal)


@pytest.mark.parametrize("name", ["relu", "erf", "elu"])
def test_gradients_of_an_entry(name):
    arch = shared(BY_NAME[name])
    fn = jax.jit(lambda q1, q2, cov: propagation.propagate(q1, q2, cov, arch))
    args = jnp.array([0.9, 0.4]), jnp.array([0.6, 1.5]), jnp.array([0.3, -0.5])
    for which in range(3):
        unit = [jnp.full(2, float(which == i)) for i in range(3)]
        _, tangent = jax.jvp(fn, args, tuple(unit))
        up, down = (
            fn(*[a + step * e for a, e in zip(args, unit, strict=True)])
            for step in (1e-5, -1e-5)
        )
        difference = jax.tree.map(lambda a, b: (a - b) / 2e-5, up, down)
        assert_close(tangent, difference, rtol=1e-7, atol=1e-8)


@each_kind(activation_cases.TRAINABLE)
def test_gradients_at_the_edges_are_finite(case):
    q = jnp.array([0.8, 0.8, 0.15, 0.0])
    cov = jnp.array([0.8, -0.8, 0.15, 0.0])
    arch = shared(case, depth=2, w_rates=None, b_rates=None)

    @jax.jit
    def along(*args):
        return jax.jvp(lambda *at: propagation.propagate(*at, arch), args, args)

    with jax.debug_nans(True):
        out = along(q, q, cov)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(out))
