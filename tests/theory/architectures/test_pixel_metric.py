"""The metric of an architecture against differences and symmetries."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory
from theory import architectures
from theory.architectures import positions
from theory.errors import InputError
from theory.keys import stream

SHAPE = (4, 4, 1)
NOISE = theory.Replacement(p=0.7, noise=theory.Normal())
KEY = jax.random.key(0)
of_shape = functools.partial(
    architectures.convolutional, depth=2, shape=SHAPE, activation="erf"
)


@pytest.mark.parametrize(
    "pooling",
    [
        "local",
        pytest.param("none", marks=pytest.mark.slow),
        pytest.param("global", marks=pytest.mark.slow),
    ],
)
def test_against_differences_of_the_mean_kernel(pooling):
    stack, samples = of_shape(pooling=pooling), 30
    found = architectures.metric(stack, NOISE, key=KEY, samples=samples)
    np.testing.assert_allclose(np.trace(found.weight), 16, rtol=1e-12)
    # the same noise, and images of which only a little is there
    keys = jax.random.split(stream(KEY, "metric noise"), samples)
    pure = jnp.stack(
        [
            theory.Replacement(p=1.0, noise=NOISE.noise).apply(key, jnp.zeros((2, 16)))
            for key in keys
        ]
    )
    entry = jax.jit(
        jax.vmap(lambda one, two: positions.pair(one, two, stack).ntk),
    )
    rng, step = np.random.default_rng(0), 1e-3
    for _ in range(3):
        u, v = rng.normal(size=(2, 16))
        u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)

        def mean(a, b, u=u, v=v):
            moved = lambda one, two: entry(
                pure[:, 0] + a * one[None], pure[:, 1] + b * two[None]
            )
            # W is symmetric: of samples both orders
            return (moved(u, v) + moved(v, u)).mean() / 2

        mixed = mean(step, step) - mean(step, -step) - mean(-step, step)
        mixed = (mixed + mean(-step, -step)) / (4 * step**2)
        expected = u @ np.asarray(found.weight) @ v * found.scale / 16
        # squares of the step, and roundings over it
        np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-7)


def test_perceptrons_see_all_pixels_alike():
    stack = architectures.dense(depth=3, shape=SHAPE, activation="relu")
    found = architectures.metric(stack, NOISE, key=KEY, samples=200)
    beside = np.asarray(found.weight - jnp.diag(jnp.diag(found.weight)))
    np.testing.assert_allclose(np.diag(found.weight), 1, rtol=1e-12)
    # the constant image, of which noise of mean zero knows nothing
    assert np.abs(beside).max() < 4 * np.asarray(found.error)[0, 1]
    np.testing.assert_allclose(found.rank, 16, rtol=0.01)


def test_pooling_takes_pixels_together():
    rank = {}
    for pooling in ("none", "local", "global"):
        stack = of_shape(pooling=pooling)
        found = architectures.metric(stack, NOISE, key=KEY, samples=100)
        values, directions = found.spectrum()
        rebuilt = directions.T @ jnp.diag(values) @ directions
        np.testing.assert_allclose(rebuilt, found.weight, atol=1e-12)
        assert (np.diff(values) <= 0).all()
        rank[pooling] = float(found.rank)
    assert 14 < rank["none"] <= 16
    assert 4 < rank["local"] < 9
    assert 1 <= rank["global"] < 2


def test_the_rank_does_not_count_fluctuations():
    stack = of_shape(pooling="none")
    few, many = (
        architectures.metric(stack, NOISE, key=KEY, samples=samples)
        for samples in (4, 400)
    )
    share = lambda of: float(jnp.trace(of.weight) ** 2 / (of.weight**2).sum())
    assert share(few) < share(many) - 0.2
    assert abs(float(few.rank) - float(many.rank)) < 0.5


def test_around_all_pixels_are_alike():
    stack = of_shape(padding="circular")
    found = architectures.metric(stack, NOISE, key=KEY, samples=200)
    diagonal, error = np.diag(found.weight), np.diag(found.error)
    assert np.abs(diagonal - 1).max() < 4.5 * error.max()


def test_images_in_place_of_noise():
    stack = of_shape(pooling="local")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(20, 16)))
    all_noise = theory.Replacement(p=1.0, noise=NOISE.noise)
    one = architectures.metric(stack, all_noise, key=KEY, samples=5, x=x)
    other = architectures.metric(stack, NOISE, key=KEY, samples=5)
    np.testing.assert_allclose(one.weight, other.weight, rtol=1e-12)
    clean = architectures.metric(stack, NOISE, key=KEY, samples=5, x=x)
    assert np.abs(clean.weight - other.weight).max() > 0.05


def test_what_has_no_metric():
    with pytest.raises(InputError, match="is not all noise at any p"):
        architectures.metric(of_shape(), theory.ClippedAdditive(sigma=0.5), key=KEY)
    with pytest.raises(InputError, match="step has no NTK"):
        architectures.metric(of_shape(activation="step"), NOISE, key=KEY)
    with pytest.raises(InputError, match="rows of 16 numbers, got 15"):
        architectures.metric(of_shape(), NOISE, key=KEY, x=jnp.ones((2, 15)))
    with pytest.raises(InputError, match="`samples` must be an integer of at least 2"):
        architectures.metric(of_shape(), NOISE, key=KEY, samples=1)


def test_class_means_in_a_metric():
    rng, labels = np.random.default_rng(0), np.arange(30) % 3
    x = rng.normal(size=(40, 16))
    problem = theory.Problem(
        x_train=jnp.asarray(x[:30]),
        labels_train=jnp.asarray(labels),
        x_test=jnp.asarray(x[30:]),
        labels_test=jnp.asarray(labels[:10]),
        num_classes=3,
    )
    weight = jnp.diag(jnp.arange(16.0))
    found = theory.class_mean_scores(problem, weight)
    plain = theory.class_mean_scores(problem)
    identity = theory.class_mean_scores(problem, jnp.eye(16))
    np.testing.assert_allclose(identity, plain, rtol=1e-12)
    means = np.stack([x[:30][labels == c].mean(axis=0) for c in range(3)])
    expected = x[30:] @ np.asarray(weight) @ (means - means.mean(axis=0)).T / 16
    np.testing.assert_allclose(found, expected, rtol=1e-12)
