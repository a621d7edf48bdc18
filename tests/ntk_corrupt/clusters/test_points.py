"""Clustered points: where they lie, how many there are, which labels are wrong."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

from ntk_corrupt.clusters import points
from ntk_corrupt.clusters.points import corrupt, draw
from ntk_corrupt.clusters.sets import MODES, ClusterModel

KEY = jax.random.key(3)
SIX = ClusterModel(
    n=300,
    d=5,
    eps0=0.3,
    classes=(0, 1, 1, 2, 0, 2),
    alphas=(-1.0, 0.5, 1.0),
    balance=(0.5, 1.5),
)
ROUNDING = 64 * np.finfo(float).eps  # of norms in a few dimensions, of vectors of one


def between(one, two):
    """All distances, entry by entry."""
    one, two = np.asarray(one, float), np.asarray(two, float)
    return np.sqrt(((one[:, None] - two[None]) ** 2).sum(axis=-1))


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_where_points_lie(mode, unit):
    model = dataclasses.replace(SIX, mode=mode, unit=unit)
    data = draw(model, key=KEY, dtype=jnp.float64)
    x, centres = np.asarray(data.x), np.asarray(data.centres)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, rtol=ROUNDING)
    far = np.linalg.norm(x - centres[np.asarray(data.cluster)], axis=1)
    if unit:
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=ROUNDING)
        if mode != "gauss":
            assert far.max() <= 2 * np.sin(np.arcsin(0.3) / 2) + ROUNDING
    elif mode == "sphere":
        np.testing.assert_allclose(far, 0.3, rtol=0, atol=ROUNDING)
    elif mode == "ball":
        assert far.max() <= 0.3 + ROUNDING
        # (r/eps0)^d is uniform
        share = (far / 0.3) ** 5
        assert abs(share.mean() - 0.5) < 5 / (12 * len(x)) ** 0.5
    else:
        square = far**2
        assert abs(square.mean() - 0.09) < 5 * square.std() / len(x) ** 0.5
    # the class of the nearest centre, counted entry by entry
    labels, distances = np.asarray(data.labels), between(x, centres)
    same = labels[:, None] == np.asarray(data.classes)
    nearest = distances.min(axis=1, where=same, initial=np.inf)
    assert (nearest <= distances.min(axis=1) + ROUNDING).all()
    own = np.asarray(data.classes)[np.asarray(data.cluster)]
    if mode != "gauss":  # balls of different classes do not meet
        np.testing.assert_array_equal(labels, own)
    np.testing.assert_array_equal(data.y, np.array(model.alphas)[labels])
    assert float(data.delta) == 0.5


def test_centres_of_different_classes_are_apart():
    close = 0
    for seed in range(20):
        data = draw(dataclasses.replace(SIX, eps0=0.45), key=jax.random.key(seed))
        classes, far = np.asarray(data.classes), between(data.centres, data.centres)
        foes = classes[:, None] != classes[None]
        assert far[foes].min() >= 0.9 - 8 * np.finfo(np.float32).eps
        close += (far[~foes & ~np.eye(6, dtype=bool)] < 0.9).any()
    assert close  # those of one class need not be


def test_centres_are_uniform():
    model = ClusterModel(n=900, d=3, classes=(0,) * 900, alphas=(1.0,))
    many = np.asarray(draw(model, key=KEY).centres, float)
    # mean 0 and covariance 1/3 of a uniform direction in three dimensions
    assert np.abs(many.mean(axis=0)).max() < 5 / (3 * 900) ** 0.5
    second = many.T @ many / 900
    assert np.abs(second - np.eye(3) / 3).max() < 5 * (4 / 45 / 900) ** 0.5


def test_sizes_of_clusters():
    equal = draw(ClusterModel(n=401, classes=(0, 1), eps0=0.1), key=KEY)
    assert sorted(np.bincount(equal.cluster)) == [200, 201]
    found = set()
    for seed in range(5):
        sizes = np.bincount(draw(SIX, key=jax.random.key(seed)).cluster)
        assert sizes.sum() == 300
        assert sizes.min() >= 25
        assert sizes.max() <= 75
        found.add(tuple(sizes))
    assert len(found) == 5


def test_the_key_decides():
    one, same = (draw(SIX, key=KEY) for _ in range(2))
    np.testing.assert_array_equal(one.x, same.x)
    other = draw(SIX, key=jax.random.key(4))
    assert np.abs(np.asarray(one.x) - np.asarray(other.x)).max() > 0.1
    double = draw(SIX, key=KEY, dtype=jnp.float64)
    assert (double.x.dtype, one.x.dtype) == (jnp.float64, jnp.float32)
    # one rounding of numbers of size one
    eps = float(np.finfo(np.float32).eps)
    np.testing.assert_allclose(one.x, double.x, rtol=0, atol=4 * eps)


def test_no_radius_makes_duplicates():
    data = draw(dataclasses.replace(SIX, eps0=0.0), key=KEY)
    centres = np.asarray(data.centres)[np.asarray(data.cluster)]
    np.testing.assert_array_equal(data.x, centres)


def test_other_points_of_the_same_centres():
    train = draw(SIX, key=KEY)
    test = draw(SIX, key=jax.random.key(9), centres=train.centres)
    np.testing.assert_array_equal(train.centres, test.centres)
    assert not np.isin(np.asarray(test.x), np.asarray(train.x)).any()
    np.testing.assert_array_equal(train.truth(test.x), test.labels)


def test_four_centres_no_line_tells_apart():
    model = ClusterModel(
        n=40, d=3, eps0=0.2, classes=points.XOR_CLASSES, alphas=(-1.0, 1.0)
    )
    data = draw(model, key=KEY, centres=points.xor_centres(3))
    x, y = np.asarray(data.x), np.asarray(data.y)
    by_rule = np.where(np.abs(x[:, 1]) > np.abs(x[:, 0]), 1, -1)
    np.testing.assert_array_equal(y, by_rule)


@pytest.mark.parametrize("mode", ["flip", "uniform"])
def test_which_labels_are_wrong(mode):
    data = draw(SIX, key=KEY)
    noisy = corrupt(data, 0.3, mode=mode, key=KEY)
    labels, truth = np.asarray(noisy.labels), np.asarray(data.labels)
    np.testing.assert_array_equal(noisy.flipped, labels != truth)
    np.testing.assert_array_equal(noisy.y, np.array(SIX.alphas)[labels])
    for cluster in range(6):
        inside = np.asarray(data.cluster) == cluster
        wrong, most = (labels != truth)[inside].sum(), np.floor(0.3 * inside.sum())
        assert wrong == most if mode == "flip" else wrong <= most
        assert float(noisy.shares[cluster]) == pytest.approx(wrong / inside.sum())
    if mode == "uniform":  # one of three classes is the right one
        wrong, of = (labels != truth).sum(), np.floor(0.3 * 300)
        assert abs(wrong - of * 2 / 3) < 5 * (of * 2 / 9) ** 0.5
    more = corrupt(data, 0.6, mode=mode, key=KEY)
    assert np.asarray(more.flipped)[np.asarray(noisy.flipped)].all()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mode": "cube"}, "unknown mode 'cube'"),
        ({"d": 0}, "`d` must be at least 1, got 0"),
        ({"eps0": 1.0}, "`eps0` must be in [0, 1), got 1.0"),
        ({"eps0": -0.1}, "`eps0` must be in [0, 1)"),
        ({"n": 5}, "`n` must be at least one point for each of 6 clusters, got 5"),
        ({"classes": (0, 3)}, "`classes` must lie in 0 ... 2"),
        ({"alphas": (0.0, 0.5, 1.5)}, "`alphas` must be different and in [-1, 1]"),
        ({"alphas": (0.0, 0.5, 0.5)}, "`alphas` must be different and in"),
        ({"balance": (1.1, 2.0)}, "`balance` must be c_low <= 1 <= c_up"),
        ({"d": 1, "eps0": 0.3}, "`eps0` must leave room for 6 clusters in 1"),
    ],
)
def test_bad_laws(settings, text):
    with raises(text):
        draw(dataclasses.replace(SIX, **settings), key=KEY)


def test_bad_centres():
    model = ClusterModel(n=4, d=2, eps0=0.5)
    for centres, text in (
        (np.eye(3)[:2], "`centres` must have shape (2, 2), got (2, 3)"),
        (2 * np.eye(2), "`centres` must have norm 1"),
        (
            np.array([[1, 0], [np.cos(0.9), np.sin(0.9)]]),
            "must be 2 eps0 = 1 apart, got 0.87",
        ),
    ):
        with raises(text):
            draw(model, key=KEY, centres=centres)
    with raises("`d` must be an integer of at least 2, got 1"):
        points.xor_centres(1)
