"""Sigma(C): closed forms, quadrature, Monte Carlo, finite networks; its eigenvalues."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from activation_cases import CASES, gaussian_means, ids
from closeness import within

from ntk_corrupt.networks import two_layer
from theory.activations import registry
from theory.kernels import matrices
from theory.two_layer.clusters import (
    cluster_covariance,
    fixed_output,
    least_eigenvalue,
    relu_bound,
    separation,
)


def unit_rows(k, d, seed=0):
    x = np.random.default_rng(seed).normal(size=(k, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


C = unit_rows(4, 3)
sigma = jax.jit(cluster_covariance, static_argnums=1)
least = jax.jit(least_eigenvalue, static_argnums=1)
bound, apart = jax.jit(relu_bound), jax.jit(separation)
# What the root of some eps does to entries of closed forms with kinks, at cosine +-1.
KINKED = 1e-7
FORMULAS = {
    "relu": lambda r: r * (np.pi - np.arccos(r)) / (2 * np.pi),
    "leaky_relu": lambda r: r * (0.01 + 0.99**2 * (np.pi - np.arccos(r)) / (2 * np.pi)),
    "erf": lambda r: r * 4 / np.pi / np.sqrt(9 - 4 * r**2),
    "identity": lambda r: r,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_of_unit_centres(name):
    r = np.clip(C @ C.T, -1, 1)
    found = np.asarray(sigma(C, name))
    np.testing.assert_allclose(found, FORMULAS[name](r), rtol=0, atol=KINKED)
    off = ~np.eye(4, dtype=bool)  # arccos of one is the root of rounding
    np.testing.assert_allclose(found[off], FORMULAS[name](r)[off], rtol=1e-12)


# closed forms, kinks, quadrature; test_duals.py has the others
SOME = tuple(
    case
    for case in CASES
    if case.name in ("identity", "erf", "relu", "leaky_relu", "gelu", "tanh", "elu")
)


@pytest.mark.parametrize("case", SOME, ids=ids(SOME))
def test_against_quadrature(case):
    r = np.clip(C @ C.T, -1, 1)
    np.fill_diagonal(r, 1.0)
    mean = np.array([[gaussian_means(case, 1.0, 1.0, float(c))[1] for c in row]
                     for row in r])  # fmt: skip
    # a Hermite series near a jump of the slope's slope (elu) converges slowly
    atol = 1e-6 if case.name == "elu" else 1e-8
    scale = max(1.0, float(np.abs(mean).max()))
    found = sigma(C, case.name)
    np.testing.assert_allclose(found, r * mean, rtol=0, atol=atol * scale)


@pytest.mark.parametrize("name", ["softplus", "erf"])
def test_against_a_product_of_gauss_hermite_rules(name):
    case = next(case for case in CASES if case.name == name)
    node, weight = np.polynomial.hermite_e.hermegauss(64)
    weight = weight / weight.sum()
    r = np.clip(C @ C.T, -1, 1)
    other = (
        r[..., None, None] * node[:, None]
        + np.sqrt(1 - r**2)[..., None, None] * node[None, :]
    )
    both = case.slope(node)[:, None] * case.slope(other)
    mean = np.einsum("abij,i,j->ab", both, weight, weight)
    np.testing.assert_allclose(sigma(C, name), r * mean, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_against_monte_carlo_and_finite_networks(name):
    case = next(case for case in CASES if case.name == name)
    g = np.random.default_rng(1).normal(size=(20, 2000, 3)) @ C.T
    slopes = case.slope(g)
    sample = np.einsum("bsi,bsj->bij", slopes, slopes) / 2000
    expected = sigma(C, name)
    within(sample * (C @ C.T), expected)

    def gram(seed):
        net = two_layer.signed(
            registry.get(name), 3, 200, key=jax.random.key(seed), dtype=jnp.float64
        )
        return net.jacobian_gram(C, C)

    within(jax.jit(jax.vmap(gram))(np.arange(30)), expected)


def test_it_is_the_kernel_of_all_pairs():
    # norms other than one: pre-activations of variance |x|^2
    x = 1.5 * C[:2] * np.array([1.0, 0.5])[:, None]
    case = next(case for case in CASES if case.name == "relu")
    found = np.asarray(
        matrices.ntk(jnp.asarray(x), jnp.asarray(C), fixed_output("relu", 3))
    )
    for i in range(2):
        for j in range(4):
            q, cov = float(x[i] @ x[i]), float(x[i] @ C[j])
            slope = gaussian_means(case, q, 1.0, min(cov / q**0.5, 1.0))[1]
            assert found[i, j] == pytest.approx(cov * slope, rel=0, abs=KINKED)


def test_least_eigenvalue():
    by_hand = np.linalg.eigvalsh(np.asarray(cluster_covariance(jnp.asarray(C), "erf")))[
        0
    ]
    assert float(least(C, "erf")) == pytest.approx(by_hand, rel=1e-9)
    twins = np.concatenate([C[:1], C])
    # closed forms of kinks see coinciding centres with half of the digits
    assert abs(float(least(twins, "relu"))) < KINKED
    assert abs(float(least(twins, "erf"))) < 1e-12
    # orthonormal centres: E phi'^2
    assert float(least(np.eye(3), "relu")) == pytest.approx(0.5, rel=1e-9)


def test_bound_of_rectifiers():
    assert float(apart(np.eye(2))) == pytest.approx(2**0.5, rel=1e-9)
    assert float(apart(np.array([[1.0, 0], [-1, 0]]))) == 0
    assert float(apart(C[:1])) == np.inf
    for power in range(8):
        centres = unit_rows(5, 3, power)
        near = centres[0] + 10.0 ** (-power / 2) * centres[1]
        centres[4] = near / np.linalg.norm(near)
        assert float(least(centres, "relu")) >= float(bound(centres))
    assert float(bound(np.eye(2))) == pytest.approx(2**0.5 / 400, rel=1e-9)


def test_opposite_centres_leave_a_rectifier_nothing():
    # odd labels of three opposite pairs in a plane: only linear functions are odd
    angles = np.array([0.0, 1.0, 2.0])
    half = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    centres = np.concatenate([half, -half])
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    assert distance[~np.eye(6, dtype=bool)].min() > 0.9
    assert abs(float(least(centres, "relu"))) < KINKED
    assert float(bound(centres)) == 0  # c and -c, exactly
