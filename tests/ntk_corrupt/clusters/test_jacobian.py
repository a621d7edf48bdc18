"""Jacobians through Grams, against Jacobians; the theorems' bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

from ntk_corrupt.clusters import jacobian, points, theorems
from ntk_corrupt.clusters.descent import descend, step_size
from ntk_corrupt.networks import two_layer
from theory.activations import registry

N, D, WIDTH, KEY = 24, 5, 30, jax.random.key(1)
MODEL = points.ClusterModel(n=N, d=D, eps0=0.3, balance=(0.5, 1.5))
DATA = points.draw(MODEL, key=KEY, dtype=jnp.float64)
BASIS = jacobian.cluster_basis(DATA.cluster, 2)
ROUNDING = 64 * np.finfo(float).eps  # of sums of some 30 numbers of size one


def network(name="tanh", key=KEY):
    phi = registry.get(name)
    return two_layer.signed(phi, D, WIDTH, key=key, dtype=jnp.float64)


@jax.jit
def by_weights(net, x):
    return jax.jacobian(lambda w: net.moved(w, None)(x))(net.w)


def dense(net, x=DATA.x):
    """The Jacobian by automatic differentiation, (n, m d)."""
    return np.asarray(by_weights(net, x)).reshape(len(x), -1)


@jax.jit
def gram_of(net):
    return net.jacobian_gram(DATA.x, DATA.x)


def change_between(start, end):
    return np.asarray(outputs(end, DATA.x)) - np.asarray(outputs(start, DATA.x))


outputs = jax.jit(lambda net, x: net(x))


@pytest.fixture(scope="module", params=["relu", "tanh"])
def pair(request):
    """A network before and after training, and its Jacobian before."""
    net = network(request.param)
    path = descend(
        net, DATA.x, 1 - DATA.y, DATA.x, steps=(300,), rate=step_size(net, DATA.x)
    )
    return net, net.moved(path.w[-1], None), dense(net)


def test_singular_values_and_vectors(pair):
    net, _, full = pair
    found = jacobian.left_singular(gram_of(net))
    left, values, _ = np.linalg.svd(full, full_matrices=False)
    # a Gram knows squares, to a rounding of the largest
    rounding = ROUNDING * values[0] ** 2
    np.testing.assert_allclose(found.values**2, values**2, rtol=0, atol=rounding)
    for count in (1, 2, 7):
        one, two = (part[:, :count] for part in (found.vectors, left))
        apart = values[count - 1] ** 2 - values[count] ** 2
        np.testing.assert_allclose(one @ one.T, two @ two.T, atol=rounding / apart)
        gap = values[count - 1] / values[count]
        rtol = rounding / values[count] ** 2
        assert found.gap(count) == pytest.approx(gap, rel=rtol)
    for share in (0.1, 0.3):
        assert found.above(share) == (values > share * values[0]).sum()
    assert -ROUNDING < found.negative <= 0
    e = np.random.default_rng(0).normal(size=N)
    assert found.energy(e, 2) == pytest.approx(
        ((left[:, :2].T @ e) ** 2).sum() / (e @ e)
    )
    assert np.isnan(found.energy(0 * e, 2))


def test_spaces_of_clusters(pair):
    net, _, full = pair
    np.testing.assert_allclose(BASIS.T @ BASIS, np.eye(2), atol=ROUNDING)
    sizes = np.bincount(DATA.cluster)
    assert sizes[0] != sizes[1]
    v = np.random.default_rng(0).normal(size=N)
    means = [v[np.asarray(DATA.cluster) == k].mean() for k in range(2)]
    projected = BASIS @ (BASIS.T @ v)
    np.testing.assert_allclose(projected, np.array(means)[np.asarray(DATA.cluster)])
    found = jacobian.extremes(gram_of(net), BASIS)
    on_plus = np.linalg.svd(BASIS.T @ full, compute_uv=False)
    off = np.linalg.norm(full - BASIS @ (BASIS.T @ full), ord=2)
    expected = np.array([on_plus[-1], on_plus[0], off])
    rounding = ROUNDING * on_plus[0] ** 2  # of squares
    np.testing.assert_allclose(np.square(found), expected**2, rtol=0, atol=rounding)
    assert found.alpha > 2 * found.eps  # two clusters: bimodal


def test_mean_jacobian_of_a_segment(pair):
    start, end, _ = pair
    found = jacobian.segment_gram(start, end, DATA.x)
    one, two = np.asarray(start.w), np.asarray(end.w)
    if start.activation.name == "relu":
        # each unit is switched on for a part of the segment: a fine grid sees it
        nodes = (np.arange(4000) + 0.5) / 4000
        h = np.asarray(DATA.x) @ one.T, np.asarray(DATA.x) @ two.T
        on = np.mean([((1 - t) * h[0] + t * h[1]) > 0 for t in nodes], axis=0)
        rows = on * np.asarray(start.a)
        mean = (rows[:, :, None] * np.asarray(DATA.x)[:, None]).reshape(N, -1)
        atol = 1e-3  # a unit of weight 1/WIDTH is off by up to 1/8000
    else:
        nodes, weights = np.polynomial.legendre.leggauss(16)
        at = [start.moved(jnp.asarray(one + (1 + t) / 2 * (two - one)), None)
              for t in nodes]  # fmt: skip
        parts = zip(weights, at, strict=True)
        mean = sum(w / 2 * dense(net) for w, net in parts)
        # differences of outputs are divided by those of inputs, above 1e-5
        atol = 1e5 * ROUNDING
    np.testing.assert_allclose(found, mean @ mean.T, atol=atol)
    # no remainder
    change = change_between(start, end)
    np.testing.assert_allclose(mean @ (two - one).ravel(), change, atol=atol)


def test_a_segment_without_length(pair):
    start, end, _ = pair
    for net in (start, end):
        found, expected = jacobian.segment_gram(net, net, DATA.x), gram_of(net)
        np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)
    one, two = np.asarray(start.w), np.asarray(end.w)
    near = start.moved(jnp.asarray(one + 1e-9 * (two - one)), None)
    found = jacobian.segment_gram(start, near, DATA.x)
    # slopes change by a few 1e-9
    np.testing.assert_allclose(found, gram_of(start), rtol=1e-6, atol=1e-8)


def test_least_distance(pair):
    start, end, _ = pair
    gram = jacobian.segment_gram(start, end, DATA.x)
    change = change_between(start, end)
    found = theorems.distance_bound(gram, BASIS, change)
    moved = float(np.linalg.norm(np.asarray(end.w) - np.asarray(start.w)))
    assert 0.1 * moved < found <= moved
    of = jacobian.extremes(gram, BASIS)
    plus = np.linalg.norm(BASIS.T @ change) / of.beta
    minus = np.linalg.norm(change - BASIS @ (BASIS.T @ change)) / of.eps
    assert found == pytest.approx(max(plus, minus))
    assert theorems.distance_bound(gram, BASIS, 2 * change) == pytest.approx(2 * found)
    # duplicates: S- is out of reach, and nothing there changes
    twins = jnp.asarray(np.kron(np.diag([4.0, 9.0]), np.ones((2, 2))))
    basis = jacobian.cluster_basis(jnp.asarray(np.array([0, 0, 1, 1])), 2)
    e = np.array([1.0, 1.0, 0, 0])
    assert theorems.distance_bound(twins, basis, e) == pytest.approx(1 / 3)


def test_weights_that_tell_pairs_apart(pair):
    _, end, _ = pair
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0):
        x = rng.normal(size=(4, D))
        other = x + scale * rng.normal(size=(4, D))
        both = (np.asarray(outputs(end, jnp.asarray(points))) for points in (x, other))
        gaps = np.subtract(*both)
        gamma = theorems.lipschitz(end.activation)
        bound = theorems.pair_bound(x - other, gaps, gamma)
        size = np.linalg.norm(x - other, ord=2)
        assert bound == pytest.approx(np.linalg.norm(gaps) / gamma / size)
        assert bound <= float(np.linalg.norm(np.asarray(end.w)))
    # attained by one linear unit along the difference
    e = np.eye(3)[:1]
    bound = theorems.pair_bound(e, np.array([2.0]), 1.0)
    assert bound == pytest.approx(2.0, rel=ROUNDING)


def test_largest_slopes():
    for name, gamma in (("relu", 1), ("tanh", 1), ("softplus", 1), ("identity", 1)):
        assert theorems.lipschitz(name) == pytest.approx(gamma, abs=1e-12)
    assert theorems.lipschitz("erf") == pytest.approx(2 / np.pi**0.5)


def test_few_wrong_labels_move_no_mean_far():
    rng = np.random.default_rng(0)
    cluster = np.repeat([0, 1, 2], [4, 10, 6])
    basis = jacobian.cluster_basis(jnp.asarray(cluster), 3)
    for wrong in (1, 5, 20):
        e = np.zeros(20)
        e[rng.permutation(20)[:wrong]] = rng.normal(size=wrong)
        largest = np.abs(basis @ (basis.T @ e)).max()
        bound = theorems.diffuse_bound(jnp.asarray(cluster), 3, e)
        assert largest <= bound * (1 + ROUNDING)  # attained by one wrong label
        assert bound == pytest.approx(20 / 4 * wrong**0.5 / 20 * np.linalg.norm(e))


def test_stopping_time():
    centres = jnp.asarray(np.eye(4)[:2])
    found = theorems.stopping(centres, 100, 60, "relu")
    assert (found.norm, found.least) == pytest.approx((1.0, 0.5), rel=ROUNDING)
    # K/(2 c_up n) is half of one over the largest cluster
    assert found.rate == pytest.approx(1 / 120)
    assert found.iterations == pytest.approx(2.0)
    assert found.time == pytest.approx(1 / 60)
    twins = jnp.asarray(np.ones((2, 4)) / 2)
    assert theorems.stopping(twins, 100, 60, "erf").iterations > 1e8


def test_bad_input():
    with raises("`cluster` must hold each of 3 clusters, got none of 2"):
        jacobian.cluster_basis(jnp.asarray(np.array([0, 1, 1])), 3)
    biased = two_layer.gaussian(registry.get("relu"), D, 4, key=KEY)
    with raises("`start` must have no biases"):
        jacobian.segment_gram(biased, biased, DATA.x.astype(jnp.float32))
