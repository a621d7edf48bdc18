"""Properties of kernel matrices: symmetry, blocks, precision, and one compilation."""

import dataclasses

import activation_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from activation_cases import BY_NAME
from closeness import assert_close
from kernel_cases import EPS, ROWS, SPLIT, Z, each_kind, gram_of, over, part, shared

from theory.activations import closed_forms, registry
from theory.kernels import matrices, propagation
from theory.kernels.architecture import Architecture


@over(activation_cases.TRAINABLE)
def test_gram_is_symmetric_and_positive(case):
    for kernel in jax.tree.leaves(gram_of(case)):
        kernel = np.asarray(kernel)
        assert np.all(np.isfinite(kernel))
        assert np.array_equal(kernel, kernel.T)
        # entries of 64 roundings in a row: as much as a singular one may show
        rounding = 64 * EPS * len(kernel) * kernel.max()
        assert np.linalg.eigvalsh(kernel)[0] >= -rounding


@each_kind(activation_cases.TRAINABLE)
def test_cross_is_a_block_of_the_gram(case):
    cross = matrices.nngp_ntk(Z[:SPLIT], Z[SPLIT:], shared(case))
    assert_close(cross, part(gram_of(case), np.s_[:SPLIT, SPLIT:]))


@each_kind(activation_cases.CASES)
def test_nngp_alone(case):
    nngp = matrices.nngp(Z[:SPLIT], Z[SPLIT:], shared(case))
    assert_close(nngp, part(gram_of(case).nngp, np.s_[:SPLIT, SPLIT:]))


@over(activation_cases.TRAINABLE)
def test_diagonal(case):
    diagonal = matrices.nngp_ntk_diag(Z, shared(case))
    assert_close(part(gram_of(case), np.diag_indices(len(Z))), diagonal)


@over(activation_cases.TRAINABLE)
def test_gram_follows_a_permutation_of_the_points(case):
    order = np.random.default_rng(7).permutation(len(Z))
    permuted = matrices.gram(jnp.asarray(ROWS[order]), shared(case))
    assert_close(permuted, part(gram_of(case), np.ix_(order, order)))


@over(activation_cases.TRAINABLE)
def test_finite_at_zero_input_without_biases(case):
    gram = matrices.gram(Z, shared(case, b_var=0.0, b_rates=(0.0,) * 3))
    assert all(np.all(np.isfinite(kernel)) for kernel in jax.tree.leaves(gram))


@each_kind(activation_cases.TRAINABLE)
def test_single_precision(case):
    gram = matrices.gram(Z.astype(jnp.float32), shared(case))
    for single, double in zip(
        jax.tree.leaves(gram), jax.tree.leaves(gram_of(case)), strict=True
    ):
        assert single.dtype == jnp.float32
        scale = np.sqrt(np.outer(np.diagonal(double), np.diagonal(double)))
        error = (np.abs(np.asarray(single, np.float64) - double) / scale).max()
        # 32 roundings, multiplied by 4 in each of two layers of u^4
        assert error <= 32 * 4**2 * np.finfo(np.float32).eps


@pytest.mark.parametrize("b_var", [0.0, 0.4])
def test_depth_one_is_the_linear_kernel(b_var):
    arch = Architecture(depth=1, activation="relu", w_var=1.7, b_var=b_var)
    linear = b_var + 1.7 * Z @ Z.T / Z.shape[1]
    expected = propagation.KernelPair(nngp=linear, ntk=linear)
    assert_close(matrices.gram(Z, arch), expected)
    assert_close(matrices.nngp_ntk(Z, Z, arch), expected)
    rated = dataclasses.replace(arch, w_rates=(0.3,), b_rates=(2.0,))
    ntk = 2.0 + 0.3 * 1.7 * Z @ Z.T / Z.shape[1]
    assert_close(matrices.gram(Z, rated).ntk, ntk)


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_no_rates_are_the_ntk_parametrisation(name):
    arch = shared(BY_NAME[name])
    implicit = dataclasses.replace(arch, w_rates=None, b_rates=None)
    assert_close(matrices.gram(Z, implicit), matrices.gram(Z, arch))


def test_a_sweep_compiles_once():
    traces = []
    erf = registry.get("erf").dual

    def pair(q1, q2, cov):
        traces.append(q1.shape)
        return erf.pair(q1, q2, cov)

    phi = registry.Activation(
        "counted", jax.lax.erf, closed_forms.ClosedForm(pair, erf.diag)
    )
    for w_var in (1.0, 1.5):
        for b_var in (0.0, 0.1):
            for rate in (1.0, 0.5):
                arch = Architecture(
                    depth=2,
                    activation=phi,
                    w_var=w_var,
                    b_var=b_var,
                    w_rates=(rate, 1.0),
                    b_rates=(b_var, rate),
                )
                matrices.gram(Z, arch)
                once = len(traces)
                if (w_var, b_var, rate) == (1.0, 0.0, 1.0):
                    first = once
    assert once == first > 0


def test_works_under_jit_and_vmap_of_the_settings():
    arch = Architecture(depth=2, activation="erf")

    @jax.jit
    def total(w_var):
        return matrices.gram(Z, dataclasses.replace(arch, w_var=w_var)).ntk.sum()

    w_vars = jnp.array([0.5, 1.0, 2.0])
    one_by_one = np.array([total(w_var) for w_var in np.asarray(w_vars)])
    assert_close(jax.vmap(total)(w_vars), one_by_one)
