"""The law of online learning against stochastic gradients in exact kernels."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from problems import prototypes

from theory.corruption.copies import corrupt, corrupt_test
from theory.corruption.corruptions import Additive, Replacement
from theory.corruption.noises import Uniform
from theory.errors import InputError
from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.outputs.law import OutputLaw
from theory.routes.exact.direct import exact
from theory.routes.online.law import online, online_at

ARCH = Architecture(depth=2, activation="erf", b_var=0.05)
NOISE = Uniform(-(3**0.5), 3**0.5)
TIME, EPOCHS, DRAWS, BATCH = 0.4, 40, 24, 3


@functools.cache
def problem():
    return prototypes((7, 7, 7), n_test=12, d=200, spread=1.5, seed=1)


def descended(arch, corruption, seen, draw, *, start, test_corruption=None):
    """Outputs at test points of stochastic gradients in the exact kernel of a draw."""
    key, n = jax.random.key(8), len(seen.x_train)
    key = jax.random.fold_in(key, draw)
    x = [corrupt(corruption, key, epoch, seen.x_train) for epoch in range(EPOCHS)]
    points = corrupt_test(test_corruption, key, 0, seen.x_test)
    pair = matrices.gram(jnp.concatenate([*x, points]), arch)
    kernel, prior = np.asarray(pair.ntk), np.asarray(pair.nngp)
    rng = np.random.default_rng(draw)
    f = np.zeros((len(kernel), seen.y.shape[1]))
    if start:
        root = np.linalg.cholesky(prior + 1e-9 * np.eye(len(prior)))
        f = root @ rng.normal(size=f.shape)
    y = np.tile(seen.y, (EPOCHS, 1))
    for epoch in range(EPOCHS):
        for rows in np.split(epoch * n + rng.permutation(n), n // BATCH):
            f += TIME / EPOCHS * kernel[:, rows] @ (y[rows] - f[rows])
    return f[EPOCHS * n :]


# weekly: 20 seconds; test_online.py simulates the same without kernels
@pytest.mark.slow
@pytest.mark.parametrize("p_test", [None, 0.5])
@pytest.mark.parametrize("p", [0.5, 0.9])
def test_mean_and_variances_of_exact_kernels(p, p_test):
    seen, corruption = problem(), Replacement(p=p, noise=NOISE)
    test = None if p_test is None else Replacement(p=p_test, noise=NOISE)
    law = online(ARCH, corruption, seen, time=TIME, epochs=EPOCHS, test_corruption=test)
    assert law.diagnostics["valid"], law.diagnostics
    run = functools.partial(descended, ARCH, corruption, seen, test_corruption=test)
    of_means = np.stack([run(draw, start=False) for draw in range(DRAWS)])
    of_one = np.stack([run(draw, start=True) for draw in range(DRAWS)])
    sd = np.sqrt(np.einsum("aii->ai", law.cov))
    # means within their errors and what is of higher order: a few hundredths of spread
    gap = np.abs(of_means.mean(axis=0) - law.mean)
    error = 5 * sd / DRAWS**0.5 + 0.05 * np.asarray(law.mean).std()
    assert (gap < error).all(), (gap / error).max()
    found = of_means.var(axis=0, ddof=1).mean()
    # outputs of a draw go together: as if a few were independent
    assert found == pytest.approx(float((sd**2).mean()), rel=5 * (2 / DRAWS / 6) ** 0.5)
    added = ((of_one - of_means) ** 2).mean()
    assert law.init_var is not None
    expected = float(law.init_var.mean())
    assert added == pytest.approx(expected, rel=5 * (2 / DRAWS / 9) ** 0.5)


@pytest.mark.slow
def test_without_noise_of_gradients_it_is_the_limit_of_copies():
    seen, corruption = problem(), Additive(p=0.4, noise=NOISE)
    law = online(ARCH, corruption, seen, time=TIME)
    assert not np.asarray(law.cov).any()
    off = []
    for copies in (2, 8, 32):
        draws = exact(
            ARCH, corruption, seen, draws=8, key=jax.random.key(2), copies=copies,
            time=TIME / copies,
        )  # fmt: skip
        gap = np.asarray(draws.outputs)[:, 0].mean(axis=0) - np.asarray(law.mean)
        off.append(np.sqrt((gap**2).mean()) / np.asarray(law.mean).std())
    # as one over the root of copies, the average of 8 draws, or faster
    assert off[1] < 0.7 * off[0]
    assert off[2] < 0.7 * off[1]
    assert off[2] < 0.03


@pytest.mark.slow
def test_the_law_at_other_points_is_that_of_these_points():
    seen, corruption = problem(), Additive(p=0.4, noise=NOISE)
    law = online(ARCH, corruption, seen, time=TIME, epochs=EPOCHS)
    test = Additive(p=0.2, noise=NOISE)
    whole = online(
        ARCH, corruption, seen, time=TIME, epochs=EPOCHS, test_corruption=test
    )
    moved = online_at(law, seen.x_test, test)
    for name in ("mean", "cov", "init_var"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(whole, name))
    points = np.arange(5)
    for each in (law, whole):
        cov = np.asarray(each.cross_cov(points, points))
        np.testing.assert_allclose(
            cov[points, points], each.cov[:5], rtol=0, atol=1e-5 * np.abs(cov).max()
        )
        assert each.cross is not None
        assert each.init_var is not None
        left = np.asarray(each.cross.init_cov(points, points))
        np.testing.assert_allclose(
            np.diagonal(left), each.init_var[:5], rtol=0, atol=1e-4 * np.abs(left).max()
        )
        assert (np.linalg.eigvalsh(left) > -1e-4 * np.abs(left).max()).all()
    assert online_at(law.averaged(2), seen.x_test).inits == 2


def test_what_makes_no_sense_is_refused():
    seen, corruption = problem(), Replacement(p=0.5, noise=NOISE)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"time": 0.0}, "`time` must be positive and finite, got 0.0"),
        ({"time": math.inf}, "`time` must be positive and finite, got inf"),
        ({"time": 1.0, "epochs": 0.5}, "`epochs` must be at least 1, got 0.5"),
        ({"time": 1.0, "epochs": math.nan}, "`epochs` must be a number, got nan"),
        ({"time": 1.0, "landmarks": 30}, "`landmarks` must be between 0 and n_train"),
    ]
    for options, text in refused:
        with raises(text):
            online(ARCH, corruption, seen, **options)
    with raises("without noise use theory.exact"):
        online(ARCH, Replacement(p=0.0, noise=NOISE), seen, time=1.0)
    with pytest.raises(InputError, match="theory.online cannot be traced"):
        jax.jit(
            lambda p: online(ARCH, Replacement(p=p, noise=NOISE), seen, time=1.0).mean
        )(0.5)
    other = OutputLaw(mean=jnp.zeros((2, 3)), cov=jnp.zeros((2, 3, 3)))
    with raises("`law` must be one that theory.online returned"):
        online_at(other, seen.x_test)
