"""Covariances of hidden layers, how kernels follow them, and samples of units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory
from theory.kernels import hidden_layers

X = jnp.asarray(np.random.default_rng(0).standard_normal((9, 6)))
RATES = {"w_rates": (1.0, 0.7, 1.3, 0.9), "b_rates": (0.1, 0.2, 0.3, 0.4)}


def architecture(name, depth):
    cut = {kind: rates[:depth] for kind, rates in RATES.items()}
    return theory.Architecture(
        depth=depth, activation=name, w_var=1.4, b_var=0.2, **cut
    )


def recursion(arch, shift):
    """Covariances of hidden layers and tangent kernel, with shifts of the former.

    `shift` is added to every covariance between two points of a layer, by its number.
    """
    dual, n = arch.phi.dual, len(X)
    off = jnp.asarray(1 - np.eye(n))
    k = arch.b_var + arch.w_var * X @ X.T / X.shape[1]
    ntk = arch.w_rates[0] * (k - arch.b_var) + arch.b_rates[0]
    hidden = []
    for at in range(1, arch.depth):
        q = jnp.diagonal(k)
        pair, own = dual.pair(q[:, None], q[None, :], k), dual.diag(q)
        value, slope = (
            off * part + jnp.diag(of_own)
            for part, of_own in zip(pair, own, strict=True)
        )
        c = arch.w_var * value + shift.get(at, 0.0) * off
        ntk = arch.w_rates[at] * c + arch.b_rates[at] + arch.w_var * slope * ntk
        hidden.append(c)
        k = arch.b_var + c
    return hidden, ntk


def off_diagonal_mean(matrix):
    matrix, n = np.asarray(matrix), len(X)
    return (matrix.sum() - np.trace(matrix)) / (n * (n - 1))


def known(name, depth):
    arch = architecture(name, depth)
    both = jax.jit(hidden_layers.of_points)(X, arch)
    own = jax.jit(hidden_layers.diagonal)(X, arch)
    return arch, both, own


@pytest.mark.parametrize("name", ["erf", pytest.param("relu", marks=pytest.mark.slow)])
def test_kernels_layer_by_layer(name):
    arch, both, own = known(name, 4)
    hidden, ntk = recursion(arch, {})
    for ours, theirs in zip(both.hidden(arch), hidden, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    np.testing.assert_allclose(both.whole.ntk, ntk, rtol=1e-12)
    np.testing.assert_allclose(own.whole.ntk, jnp.diagonal(ntk), rtol=1e-12)
    across = jax.jit(hidden_layers.between)(X[:4], X[4:], arch)
    np.testing.assert_allclose(across.whole.ntk, ntk[:4, 4:], rtol=1e-12)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("name", ["erf", "relu"])
def test_couplings_are_derivatives_of_the_kernel(name, depth):
    arch, both, own = known(name, depth)
    direct, passed = jax.jit(hidden_layers.couplings)(arch, own, both)
    assert direct.shape == passed.shape == (depth - 1,)
    step = 1e-6

    def slope(at):
        """Of hidden covariances and kernel, entry by entry, in one of the former."""
        up, down = recursion(arch, {at: step}), recursion(arch, {at: -step})
        return jax.tree.map(lambda a, b: np.asarray(a - b) / (2 * step), up, down)

    for at in range(1, depth):
        hidden, ntk = slope(at)
        if at < depth - 1:
            assert passed[at] == pytest.approx(off_diagonal_mean(hidden[at]), rel=1e-6)
        # what goes by covariances of later layers is taken away again, entry by entry
        through, later = np.zeros_like(ntk), range(at + 1, depth)
        held = {}
        for other in reversed(later):
            held[other] = slope(other)[1] - sum(
                slope(other)[0][more - 1] * held[more]
                for more in range(other + 1, depth)
            )
            through = through + hidden[other - 1] * held[other]
        expected = off_diagonal_mean(ntk - through)
        assert direct[at - 1] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["erf", "relu"])
def test_samples_have_the_covariances_of_the_layers(name):
    arch, both, _ = known(name, 3)
    count = 20_000
    found = np.asarray(
        jax.jit(hidden_layers.samples, static_argnums=2)(arch, both, count)
    )
    for units, c in zip(found, both.hidden(arch), strict=True):
        products = arch.w_var * units[:, None] * units[None]
        error = products.std(axis=-1) / count**0.5
        assert (np.abs(products.mean(axis=-1) - np.asarray(c)) < 5 * error).all()


def test_points_on_a_line_have_samples():
    # covariances of rank two at the first layer
    x = jnp.linspace(0.0, 1.0, 8)[:, None]
    arch = theory.Architecture(depth=3, activation="relu", w_var=2.0, b_var=0.1)
    both = hidden_layers.of_points(x, arch)
    assert np.isfinite(np.asarray(hidden_layers.samples(arch, both, 10))).all()
