"""Online regression: its flow by matrix exponentials, its noise by simulation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import check_sample
from scipy.linalg import expm

from theory.regression import gradient_noise, online

N, M, C, TESTS = 16, 4, 2, 3
flow_of = jax.jit(online.flow)


def stream_of(seed=0, *, n=N, m=M, mean=1.0, noise=0.5, rest=0.25, white=False):
    """Rows with features of noise that is neither white nor small."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n, m))
    factor = noise * (np.eye(m) if white else rng.normal(size=(m, m)))
    weight = np.diag(np.linspace(1.0, 0.8 if white else -0.05, m))  # may be indefinite
    scale = rng.uniform(0.7, 1.3, n)
    y = signal[:, :C] / 2 + rest * rng.normal(size=(n, C))
    mean = mean * signal
    noise = factor @ factor.T
    return online.Stream(
        once=jnp.asarray(scale[:, None] * mean),
        mean=jnp.asarray(mean),
        square=jnp.asarray(scale**2),
        weight=jnp.asarray(weight),
        noise=jnp.asarray(noise),
        shaken=jnp.asarray(noise),
        y=jnp.asarray(y),
    ), scale


def second_moments(stream):
    """C, as it is defined: by rows."""
    of_noise = np.asarray(stream.square).sum() * np.asarray(stream.noise)
    mean, square = np.asarray(stream.mean), np.asarray(stream.square)
    return of_noise + sum(
        s * np.outer(row, row) for s, row in zip(square, mean, strict=True)
    )


@pytest.mark.parametrize("time", [0.01, 0.3, 5.0])
def test_flow_is_that_of_the_weights(time):
    stream, _ = stream_of()
    weight, towards = np.asarray(stream.weight), np.asarray(stream.once.T @ stream.y)
    # b' = W (C_y - C b), joined with the constant C_y
    step = np.block(
        [
            [-weight @ second_moments(stream), weight],
            [np.zeros((M, 2 * M))],
        ]
    )
    b = (expm(step * time) @ np.concatenate([np.zeros((M, C)), towards]))[:M]
    found = weight @ online.readout(flow_of(stream), jnp.asarray(time))
    np.testing.assert_allclose(found, b, rtol=1e-10, atol=1e-12 * np.abs(b).max())


def test_what_is_left_of_the_start_is_that_of_the_flow():
    stream, _ = stream_of(1)
    flow, time = flow_of(stream), 0.2
    rng = np.random.default_rng(2)
    root = rng.normal(size=(M, M))
    change, phi = root @ root.T, rng.normal(size=(TESTS, M))
    none = jnp.zeros(N)
    start = online.start(
        stream, flow, jnp.zeros((N, M)), jnp.asarray(change), none, none
    )
    weight = np.asarray(stream.weight)
    v, slope = jnp.asarray(phi @ weight), jnp.asarray(phi @ change)
    # a start phi beta: b = -(1 - e^{-W C t}) beta
    decay = expm(-weight @ second_moments(stream) * time)
    expected = phi @ decay @ change @ decay.T @ phi.T
    left = online.start_left(flow, start, jnp.asarray(time), (v, slope), (v, slope))
    found = phi @ change @ phi.T + np.asarray(left)
    np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(change).max() * M)
    own = online.start_left(flow, start, jnp.asarray(time), (v, slope))
    np.testing.assert_allclose(own, np.diagonal(left), rtol=1e-10)
    cov, moved = v.T @ v, (v.T @ slope + slope.T @ v)
    of_all = online.random_start_left(flow, start, jnp.asarray(time), cov, moved)
    np.testing.assert_allclose(of_all, own.sum(), rtol=1e-10)


def test_slopes_of_features_and_scales_move_the_start():
    # K = d/ds of (scale)(phi W phi^T)(scale): by differences
    stream, scale = stream_of(3)
    flow, rng = flow_of(stream), np.random.default_rng(4)
    moved, grown = rng.normal(size=(N, M)), rng.normal(size=N)
    start = online.start(
        stream,
        flow,
        jnp.asarray(moved),
        jnp.zeros((M, M)),
        jnp.asarray(grown),
        jnp.ones(N),
    )
    mean, weight = np.asarray(stream.mean), np.asarray(stream.weight)
    noise, factor = np.asarray(stream.noise), np.asarray(flow.onto)

    def seen(s):
        """Sum over pairs of rows of (features at 0)(kernel at s)(features at 0)."""
        at = scale * np.exp(s * grown)
        half = sum(
            z * a * (np.outer(row, row + s * change) + noise)
            for z, a, row, change in zip(scale, at, mean, moved, strict=True)
        )
        return factor.T @ half @ weight @ half.T @ factor

    step = 1e-4
    expected = (seen(step) - seen(-step)) / (2 * step)
    np.testing.assert_allclose(
        start.square, expected, atol=1e-6 * np.abs(expected).max()
    )


def runs(stream, scale, tests, time, epochs, count):
    """Outputs at test weights of runs of stochastic gradients, one row a step."""
    rng = np.random.default_rng(5)
    mean, weight = np.asarray(stream.mean), np.asarray(stream.weight)
    factor = np.linalg.cholesky(np.asarray(stream.noise))
    y, step = np.asarray(stream.y), time / epochs
    beta = np.zeros((count, mean.shape[1], C))
    for _ in range(epochs):
        for row in rng.permutation(len(y)):
            noise = rng.normal(size=(count, len(factor))) @ factor.T
            phi = scale[row] * (mean[row] + noise)
            left = y[row] - np.einsum("rm,rmc->rc", phi, beta)
            beta += step * np.einsum("rk,rc->rkc", phi @ weight, left)
    return np.einsum("tm,rmc->rtc", tests, beta)


def test_gradients_leave_what_simulated_ones_do():
    stream, scale = stream_of(6)
    time, epochs = 0.25, 120
    flow, span = flow_of(stream), jnp.asarray(time)
    history = gradient_noise.history(stream, flow, None, span, span / epochs)
    phi = np.random.default_rng(7).normal(size=(TESTS, len(stream.weight)))
    back = jnp.asarray(phi @ np.asarray(stream.weight)) @ flow.back
    cov, nothing = gradient_noise.of_pairs(flow, history, back, back)
    assert not np.asarray(nothing).any()
    cov = cov * time / epochs
    mean = phi @ np.asarray(stream.weight) @ online.readout(flow, span)
    # what is left out is of the relative order of what is learned in an epoch
    assert float(flow.rates.max()) * time / epochs < 0.1
    check_sample(runs(stream, scale, phi, time, epochs, 1000), mean, np.asarray(cov))
    own, _ = gradient_noise.own(flow, history, back)
    points = np.arange(TESTS)
    np.testing.assert_allclose(
        own * time / epochs, cov[points, points], rtol=1e-9, atol=1e-12
    )
    of_all, _ = gradient_noise.of_random(flow, history, back.T @ back)
    np.testing.assert_allclose(of_all, own.sum(axis=0), rtol=1e-9, atol=1e-12)


def test_residuals_are_of_noise_and_of_what_it_left_before():
    stream, scale = stream_of(n=5, m=40, mean=0.3, noise=1.0, white=True)
    flow, span, epochs = flow_of(stream), jnp.asarray(1.0), 240
    phi = np.random.default_rng(7).normal(size=(40, 40))
    back = jnp.asarray(phi @ np.asarray(stream.weight)) @ flow.back
    found = []
    for epoch in (0.0, 1 / epochs, 2 / epochs):
        history = gradient_noise.history(stream, flow, None, span, jnp.asarray(epoch))
        cov, _ = gradient_noise.own(flow, history, back)
        total = float(jnp.trace(cov, axis1=1, axis2=2).sum()) / epochs
        found.append((total, float(history.feedback)))
    (without, none), (total, feedback), (_, twice) = found
    assert none == 0.0
    assert twice == pytest.approx(2 * feedback)
    simulated = runs(stream, scale, phi, 1.0, epochs, 600).var(axis=0, ddof=1).sum()
    # error of the sample .7 %, what is left out of the order of the square of feedback
    assert total == pytest.approx(simulated, rel=0.035)
    assert without < 0.93 * simulated


def test_units_of_features_do_not_matter():
    # as between pixels and landmarks: what is small may have a large weight
    stream, _ = stream_of()
    unit = jnp.asarray([1.0, 1e-9, 1.0, 1e3])
    other = dataclasses.replace(
        stream,
        once=stream.once * unit[None, :],
        mean=stream.mean * unit[None, :],
        weight=stream.weight / unit[:, None] / unit[None, :],
        noise=stream.noise * unit[:, None] * unit[None, :],
        shaken=stream.shaken * unit[:, None] * unit[None, :],
    )
    time = jnp.asarray(0.3)
    expected = np.asarray(online.readout(flow_of(stream), time))
    found = np.asarray(online.readout(flow_of(other), time)) / np.asarray(unit)[:, None]
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


def test_of_directions_that_no_row_has_nothing_is_learned():
    stream, _ = stream_of()
    empty = dataclasses.replace(
        stream,
        once=stream.once.at[:, -1].set(0.0),
        mean=stream.mean.at[:, -1].set(0.0),
        noise=stream.noise.at[-1].set(0.0).at[:, -1].set(0.0),
    )
    found = online.readout(flow_of(empty), jnp.asarray(0.3))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[-1], 0.0, atol=1e-12)
