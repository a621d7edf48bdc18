"""What clusters alone say of a Jacobian, against the Jacobian; of a flow, the flow."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

from ntk_corrupt.clusters import bounds, jacobian, points
from ntk_corrupt.clusters.jacobian import Extremes
from ntk_corrupt.clusters.sets import ClusterModel
from ntk_corrupt.networks import two_layer
from theory.activations import registry
from theory.two_layer import clusters

N, D, WIDTH, KEY = 24, 5, 40, jax.random.key(2)
MODEL = ClusterModel(n=N, d=D, eps0=0.2, classes=(0, 1, 1), balance=(0.5, 1.5))
ROUNDING = 1e-9  # of roots of eigenvalues of Grams of 24 points of size one


def drawn(eps0):
    data = points.draw(dataclasses.replace(MODEL, eps0=eps0), key=KEY,
                       dtype=jnp.float64)  # fmt: skip
    phi = registry.get("tanh")
    return data, two_layer.signed(phi, D, WIDTH, key=KEY, dtype=jnp.float64)


def dense(net, x):
    """The Jacobian written out, (n, m d): a_j phi'(w_j x) x."""
    w, a, x = (np.asarray(part) for part in (net.w, net.a, x))
    slope = a / np.cosh(x @ w.T) ** 2
    return (slope[:, :, None] * x[:, None, :]).reshape(len(x), -1)


@pytest.mark.parametrize(
    ("name", "gamma", "curved"),
    [
        ("tanh", 1.0, 4 / 27**0.5),  # 2 tanh/cosh^2 at tanh^2 = 1/3
        ("erf", 2 / math.pi**0.5, (8 / math.pi / math.e) ** 0.5),
        ("relu", 1.0, math.inf),
        ("identity", 1.0, 0.0),
    ],
)
def test_slopes_and_their_slopes(name, gamma, curved):
    found = bounds.slopes(name)
    # the grid is .001 wide, and a quotient misses a largest value by its square
    assert found.gamma == pytest.approx(gamma, rel=1e-6)
    assert found.curved == pytest.approx(curved, rel=1e-6, abs=1e-9)


def test_clusters_bound_the_jacobian():
    data, net = drawn(0.2)
    said = bounds.of_clusters(net, data.x, data.centres, data.cluster)
    j = dense(net, data.x)
    basis = jacobian.cluster_basis(data.cluster, 3)
    found = jacobian.extremes(jnp.asarray(j @ j.T), basis)
    assert 0 <= said.alpha <= found.alpha
    assert found.beta <= np.linalg.norm(j, ord=2) <= said.beta
    assert found.eps <= said.eps
    middles = dense(net, np.asarray(data.centres)[np.asarray(data.cluster)])
    assert np.linalg.norm(j - middles, ord=2) <= said.shift
    other = net.moved(net.w + 0.3 * jnp.cos(jnp.arange(WIDTH * D)).reshape(WIDTH, D),
                      None)  # fmt: skip
    apart = np.linalg.norm(dense(other, data.x) - j, ord=2)
    assert apart <= said.lipschitz * np.linalg.norm(np.asarray(other.w - net.w))


def test_bounds_are_met_where_points_are_their_centres():
    data, net = drawn(0.0)
    said = bounds.of_clusters(net, data.x, data.centres, data.cluster)
    j = dense(net, data.x)
    found = jacobian.extremes(
        jnp.asarray(j @ j.T), jacobian.cluster_basis(data.cluster, 3)
    )
    assert said.eps == said.shift == 0
    assert found.eps < 1e-6  # the root of rounding
    # the least cluster bounds the least singular value: met if all are as large
    sizes = np.bincount(np.asarray(data.cluster))
    assert found.alpha >= said.alpha * (1 - ROUNDING)
    assert found.alpha <= said.alpha * (sizes.max() / sizes.min()) ** 0.5
    relu = two_layer.signed(registry.get("relu"), D, WIDTH, key=KEY, dtype=jnp.float64)
    assert bounds.of_clusters(relu, data.x, data.centres, data.cluster).eps == 0


def test_bounds_of_a_linear_network_are_met():
    data, _ = drawn(0.2)
    phi = registry.get("identity")
    net = two_layer.signed(phi, D, WIDTH, key=KEY, dtype=jnp.float64)
    said = bounds.of_clusters(net, data.x, data.centres, data.cluster)
    # J = a x and |a| = 1: singular values are those of the points
    x = np.asarray(data.x)
    off = x - np.asarray(data.centres)[np.asarray(data.cluster)]
    assert said.shift == pytest.approx(np.linalg.norm(off, ord=2), rel=1e-9)
    assert said.beta == pytest.approx(np.linalg.norm(x, ord=2), rel=1e-9)
    assert said.lipschitz == pytest.approx(0, abs=1e-6)


def test_width_that_keeps_half():
    # of unit covariance: ln(K/p)/(1/2 - ln(2)/2)
    asked = bounds.width_for_half(jnp.eye(3), "identity", failure=0.03)
    assert asked == pytest.approx(math.log(100) / (0.5 - math.log(2) / 2), rel=1e-6)
    assert bounds.width_for_half(jnp.ones((2, 1)), "identity") > 1e6
    given = drawn(0.2)[0].centres
    width = math.ceil(bounds.width_for_half(given, "tanh"))
    least, centres = (
        float(clusters.least_eigenvalue(given, "tanh")),
        np.asarray(given),
    )
    rng = np.random.default_rng(0)
    for _ in range(20):  # one failure in a hundred is allowed, and is far from met
        slope = 1 / np.cosh(rng.standard_normal((width, D)) @ centres.T) ** 2
        sigma = (centres @ centres.T) * (slope.T @ slope) / width
        assert np.linalg.eigvalsh(sigma)[0] >= least / 2
    with raises("`failure` must be in (0, 1), got 1.0"):
        bounds.width_for_half(given, "tanh", failure=1.0)


def test_phases_of_a_flow():
    rng = np.random.default_rng(1)
    basis = jacobian.cluster_basis(jnp.arange(N) % 3, 3)
    j = 0.05 * rng.standard_normal((N, 60)) + basis @ rng.standard_normal((3, 60))
    gram = j @ j.T
    found = jacobian.extremes(jnp.asarray(gram), basis)
    missed = rng.standard_normal(N)
    times = np.geomspace(0.1, 100, 20) / found.beta**2
    allowed = bounds.phases(found, missed, basis, times)
    values, vectors = np.linalg.eigh(gram)
    still = (vectors * np.exp(-values * times[:, None])[:, None]) @ vectors.T @ missed
    moved = -np.expm1(-values * times[:, None]) / values
    way = ((vectors * moved[:, None]) @ vectors.T @ missed) @ j
    off = still - missed - ((still - missed) @ basis) @ basis.T
    for ours, most in (
        (np.linalg.norm(still @ basis, axis=1), allowed.plus),
        (np.linalg.norm(off, axis=1), allowed.drift),
        (np.linalg.norm(way, axis=1), allowed.distance),
    ):
        assert (ours <= most).all()
    # and descent, at the largest step that is allowed
    rate, residual, w = 1 / np.linalg.norm(gram, ord=2), missed, 0.0
    steps = rate * np.arange(1, 40)
    allowed = bounds.phases(found, missed, basis, steps)
    for k in range(len(steps)):
        w = w - rate * j.T @ residual
        residual = missed + j @ w
        assert np.linalg.norm(basis.T @ residual) <= allowed.plus[k]
        assert np.linalg.norm(w) <= allowed.distance[k]


def test_phases_without_a_rest():
    basis = jacobian.cluster_basis(jnp.arange(N) % 3, 3)
    missed = np.arange(N, dtype=float)
    times = np.array([0.0, 0.1, 1.0])
    plus, whole = np.linalg.norm(basis.T @ missed), np.linalg.norm(missed)
    found = bounds.phases(Extremes(2.0, 2.0, 0.0), missed, basis, times)
    np.testing.assert_allclose(found.plus, plus * np.exp(-4 * times), rtol=1e-12)
    np.testing.assert_array_equal(found.drift, 0)
    by_rate = 2 * plus * np.minimum(times, 0.25)
    np.testing.assert_allclose(
        found.distance, np.minimum(by_rate, whole * np.sqrt(times)), rtol=1e-12
    )
    assert bounds.first_stage(Extremes(2.0, 2.0, 0.0), missed, basis) == math.inf
    found = bounds.first_stage(Extremes(2.0, 3.0, 0.1), missed, basis)
    assert found == pytest.approx(math.log(plus * 4 / (0.3 * whole)) / 4)
    least = bounds.least_to_learn(Extremes(2.0, 3.0, 0.1), missed, basis)
    assert least == pytest.approx(plus / 3)


def test_what_pairs_cost():
    data, net = drawn(0.2)
    flipped = np.isin(np.arange(N), [0, 5, 20])
    one, two = bounds.pairs(data.cluster, flipped)
    assert sorted(one) == [0, 5, 20]
    cluster = np.asarray(data.cluster)
    np.testing.assert_array_equal(cluster[one], cluster[two])
    assert not flipped[two].any()
    assert len(set(two)) == 3
    j = dense(net, data.x)
    rng = np.random.default_rng(0)
    change = rng.standard_normal(N)
    apart = j[one] - j[two]
    expected = np.linalg.norm(change[one] - change[two]) / np.linalg.norm(apart, ord=2)
    found = bounds.cost_of_pairs(j @ j.T, change, one, two)
    assert found == pytest.approx(expected, rel=1e-9)
    # any weights that do it go at least so far
    w = np.linalg.lstsq(apart, change[one] - change[two])[0]
    assert np.linalg.norm(w) >= found
    none = bounds.pairs(data.cluster, np.zeros(N, bool))
    assert bounds.cost_of_pairs(j @ j.T, change, *none) == 0
