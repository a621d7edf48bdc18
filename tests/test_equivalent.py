"""The deterministic equivalent against its textbook form and against simulation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import equivalent, responses
from theory.equivalent import Rows


def make(n=60, m=9, c=3, tests=5, seed=0, *, indefinite=True, entry_noise=0.0):
    """Rows with an indefinite W, correlated noise and unequal base, and test rows."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.5, 1.5, n)
    mean = rng.normal(size=(n, m)) / np.sqrt(m)
    mean[:, -1] = 1.0
    signs = np.ones(m)
    if indefinite:
        signs[1] = -0.2
    weight = np.diag(signs * rng.uniform(0.5, 1.5, m))
    weight[0, -1] = weight[-1, 0] = 0.3
    weight[-1, -1] = 2.0
    root = rng.normal(size=(m - 1, m - 1)) / np.sqrt(m)
    noise = np.zeros((m, m))
    noise[:-1, :-1] = (root @ root.T + 0.2 * np.eye(m - 1)) / m
    y = np.eye(c)[rng.integers(c, size=n)]
    g = mean @ weight @ rng.normal(size=(m, tests)) + rng.normal(size=(n, tests)) / 3
    w = rng.normal(size=(tests, m))
    w[:, -1] = 0.0
    rows = Rows(
        base=jnp.asarray(base),
        mean=jnp.asarray(mean),
        weight=jnp.asarray(weight),
        noise=jnp.asarray(noise),
        y=jnp.asarray(y),
        idle=jnp.zeros(0),
        idle_count=jnp.zeros(()),
        entry_noise=entry_noise,
    )
    return rows, jnp.asarray(g.T), jnp.asarray(w)


def textbook(rows, g, w, steps=4000):
    """theory/README.md, section 9, with n x n matrices and damped iteration."""
    base, mean, weight, noise, y = (
        np.asarray(getattr(rows, name))
        for name in ("base", "mean", "weight", "noise", "y")
    )
    m, v = weight.shape[0], rows.entry_noise
    tau, omega = float((1 / base).sum()), 0.5 * float(np.trace(weight @ noise))
    for _ in range(steps):
        gam = weight @ np.linalg.inv(np.eye(m) + tau * noise @ weight)
        diagonal = np.diag(base + omega - v * tau)
        q = np.linalg.inv(diagonal + mean @ gam @ mean.T)
        lam = gam - gam @ mean.T @ q @ mean @ gam
        new = np.trace(q), np.trace(noise @ lam)
        change = abs(new[0] / tau - 1) + abs(new[1] / omega - 1)
        tau, omega = (tau + new[0]) / 2, (omega + new[1]) / 2
        if change < 1e-14:
            break
    rho = q @ mean @ gam
    pi = np.array(
        [
            [(q**2).sum(), np.trace(rho @ noise @ rho.T)],
            [np.trace(rho @ noise @ rho.T), np.trace(noise @ lam @ noise @ lam)],
        ]
    )
    j = np.array([[v, 1.0], [1.0, 0.0]])
    ker = j @ np.linalg.inv(np.eye(2) - pi @ j)
    g, w = np.asarray(g).T, np.asarray(w).T
    g = g - tau * mean @ gam @ noise @ w
    y_n = q @ y
    y_f = gam @ mean.T @ y_n
    shrink = np.linalg.inv(np.eye(m) + tau * weight @ noise)
    u_n = q @ g
    u_f = gam @ mean.T @ u_n - shrink @ w
    pair = lambda a, b, f, h: np.stack([a.T @ b, f.T @ noise @ h])
    uu, uy, yy = (
        pair(u_n, u_n, u_f, u_f),
        pair(u_n, y_n, u_f, y_f),
        pair(y_n, y_n, y_f, y_f),
    )
    cov = np.einsum("pab,pq,qij->abij", uu, ker, yy)
    cov += np.einsum("paj,pq,qbi->abij", uy, ker, uy)
    norm = g.T @ q @ g + tau * w.T @ noise @ shrink @ w
    return tau, omega, g.T @ y_n, cov, norm


@pytest.mark.parametrize(("seed", "entry_noise"), [(0, 0.0), (1, 0.0), (2, 2e-3)])
def test_solution_is_the_textbook_one(seed, entry_noise):
    rows, g, w = make(seed=seed, entry_noise=entry_noise)
    tau, omega, mean, cov, norm = textbook(rows, g, w)
    solution = equivalent.solve(rows)
    assert solution.residual < 1e-11
    np.testing.assert_allclose(solution.tau, tau, rtol=1e-10)
    np.testing.assert_allclose(solution.omega, omega, rtol=1e-10)
    response = responses.respond(solution, g, w)
    np.testing.assert_allclose(response.mean, mean, rtol=1e-9, atol=1e-10)
    cross = responses.cross_covariance(solution, response, response)
    np.testing.assert_allclose(cross, cov, rtol=1e-8, atol=1e-10 * np.abs(cov).max())
    own = responses.covariance(solution, response)
    points = np.arange(len(g))
    np.testing.assert_allclose(own, np.asarray(cross)[points, points], rtol=1e-10)
    both = responses.bilinear(solution, (g, w), (g, w))
    np.testing.assert_allclose(both, norm, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(
        responses.quadratic(solution, g, w), np.diagonal(norm), rtol=1e-9
    )


def drawn(rows, g, w, key, test_noise=0.0):
    """A random kernel and its test rows."""
    n = rows.base.shape[0]
    root = jnp.linalg.cholesky(rows.noise + 1e-14 * jnp.eye(rows.noise.shape[0]))
    z = jax.random.normal(key, rows.mean.shape) @ root.T
    features = rows.mean + z
    kernel = jnp.diag(rows.base) + features @ rows.weight @ features.T
    row = g + w @ z.T
    # independent noise of the entries
    one, two = jax.random.split(jax.random.fold_in(key, 1))
    entries = jnp.triu(jax.random.normal(one, (n, n)), 1)
    kernel = kernel + rows.entry_noise**0.5 * (entries + entries.T)
    return kernel, row + test_noise**0.5 * jax.random.normal(two, row.shape)


@functools.partial(jax.jit, static_argnames="draws")
def simulate(rows, g, w, key, *, draws, test_noise=0.0):
    """Predictions and norms of `draws` random kernels."""

    def one(key):
        kernel, row = drawn(rows, g, w, key, test_noise)
        solved = jnp.linalg.solve(kernel, jnp.concatenate([rows.y, row.T], axis=1))
        c = rows.y.shape[1]
        return row @ solved[:, :c], (row * solved[:, c:].T).sum(1)

    return jax.lax.map(one, jax.random.split(key, draws))


@pytest.mark.parametrize(
    ("entry_noise", "test_noise"),
    [
        # the same with two terms less, hence weekly
        pytest.param(0.0, 0.0, marks=pytest.mark.slow),
        (6e-3, 0.3),
    ],
)
def test_mean_and_covariance_of_simulated_kernels(entry_noise, test_noise):
    # 200 rows, 64 features: what is left out is of relative order 1/64
    rows, g, w = make(n=200, m=64, tests=6, seed=4, entry_noise=entry_noise)
    rows = dataclasses.replace(rows, base=rows.base + 2.0)
    solution = equivalent.solve(rows)
    response = responses.respond(solution, g, w)
    draws = 500
    sample, norms = simulate(
        rows, g, w, jax.random.key(0), draws=draws, test_noise=test_noise
    )
    sample = np.asarray(sample)
    cov = np.asarray(responses.cross_covariance(solution, response, response))
    moments, each = responses.independent(solution), solution.tau
    own = np.einsum("ab,ij->abij", np.eye(len(g)), moments)
    if test_noise:
        # what is tested below: it decides the covariance
        assert test_noise * np.trace(moments) > 0.3 * np.einsum("aaii->a", cov).mean()
    cov = cov + test_noise * own
    sd = np.sqrt(np.einsum("aaii->ai", cov))
    z = (sample.mean(0) - np.asarray(response.mean)) / (sd / draws**0.5)
    assert np.sqrt((z**2).mean()) < 1.6
    deviation = sample - sample.mean(0)
    measured = np.einsum("kai,kbj->abij", deviation, deviation) / (draws - 1)
    slope = (measured * cov).sum() / (cov**2).sum()
    np.testing.assert_allclose(slope, 1, atol=0.1)
    assert np.corrcoef(measured.ravel(), cov.ravel())[0, 1] > 0.97
    norms = np.asarray(norms)
    expected = np.asarray(responses.quadratic(solution, g, w)) + test_noise * each
    np.testing.assert_allclose(norms.mean(0), expected, rtol=0.02)


def test_white_features_have_the_marchenko_pastur_resolvent():
    # base kap, no mean, W Sigma = v/m: the equations are those of a Wishart matrix
    n, m, kap, v = 50, 25, 0.3, 1.0
    rows = Rows(
        base=jnp.full(n, kap),
        mean=jnp.zeros((n, m)),
        weight=jnp.eye(m) / m,
        noise=v * jnp.eye(m),
        y=jnp.ones((n, 1)),
        idle=jnp.zeros(0),
        idle_count=jnp.zeros(()),
    )
    solution = equivalent.solve(rows)
    # t = tr Q/n solves t (kap + v/(1 + v n t/m)) = 1
    nu = n / m
    t = np.roots([kap * v * nu, kap + v - v * nu, -1.0]).max()
    np.testing.assert_allclose(solution.tau / n, t, rtol=1e-10)
    # Pi_11 Pi_22 = 1 - chi, chi = 1 - nu m0^2/(lam + m0)^2 with m0 = omega/v
    lam, m0 = kap / v, solution.omega / v
    ker = np.asarray(solution.kernel)
    pi_11 = n * t**2
    pi_22 = ker[0, 0] / ker[1, 1] * pi_11
    np.testing.assert_allclose(pi_11 * pi_22, nu * m0**2 / (lam + m0) ** 2, rtol=1e-9)


def test_without_noise_it_is_kernel_regression():
    rows, g, w = make(seed=5)
    rows = dataclasses.replace(rows, noise=jnp.zeros_like(rows.noise))
    kernel = jnp.diag(rows.base) + rows.mean @ rows.weight @ rows.mean.T
    solution = equivalent.solve(rows)
    response = responses.respond(solution, g, w)
    np.testing.assert_allclose(
        response.mean, g @ jnp.linalg.solve(kernel, rows.y), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(responses.covariance(solution, response), 0, atol=1e-12)
    expected = (g * jnp.linalg.solve(kernel, g.T).T).sum(1)
    np.testing.assert_allclose(responses.quadratic(solution, g, w), expected, rtol=1e-9)


def test_copies_are_rows_repeated():
    rows, g, w = make(n=30, seed=6)
    copies = 3
    tiled = dataclasses.replace(
        rows,
        base=jnp.tile(rows.base, copies),
        mean=jnp.tile(rows.mean, (copies, 1)),
        y=jnp.tile(rows.y, (copies, 1)),
    )
    root = copies**0.5
    folded = dataclasses.replace(
        rows,
        mean=root * rows.mean,
        y=root * rows.y,
        idle=rows.base,
        idle_count=jnp.asarray(copies - 1.0),
    )
    long, short = (equivalent.solve(part) for part in (tiled, folded))
    np.testing.assert_allclose(short.tau, long.tau, rtol=1e-10)
    for fn in (responses.quadratic, lambda *a: responses.respond(*a).mean):
        np.testing.assert_allclose(
            fn(short, root * g, w), fn(long, jnp.tile(g, (1, copies)), w), rtol=1e-9
        )
    cov = [
        responses.covariance(solution, responses.respond(solution, rows_g, w))
        for solution, rows_g in ((short, root * g), (long, jnp.tile(g, (1, copies))))
    ]
    np.testing.assert_allclose(*cov, rtol=1e-8, atol=1e-12)


def test_base_that_is_a_matrix():
    rows, g, w = make(n=40, seed=7)
    rng = np.random.default_rng(0)
    extra = rng.normal(size=(40, 4))
    base = np.diag(np.asarray(rows.base)) + extra @ extra.T
    rotated, rotation = equivalent.diagonalised(
        jnp.asarray(base), rows.mean, rows.weight, rows.noise, rows.y
    )
    # the same through features without noise
    features = dataclasses.replace(
        rows,
        mean=jnp.concatenate([rows.mean, jnp.asarray(extra)], axis=1),
        weight=jax.scipy.linalg.block_diag(rows.weight, jnp.eye(4)),
        noise=jnp.pad(rows.noise, ((0, 4), (0, 4))),
    )
    one, two = equivalent.solve(rotated), equivalent.solve(features)
    np.testing.assert_allclose(one.omega, two.omega, rtol=1e-9)
    first = responses.respond(one, g @ rotation, w)
    second = responses.respond(two, g, jnp.pad(w, ((0, 0), (0, 4))))
    np.testing.assert_allclose(first.mean, second.mean, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(
        responses.covariance(one, first),
        responses.covariance(two, second),
        rtol=1e-7,
        atol=1e-11,
    )


def test_random_rows_are_the_mean_over_rows():
    rows, _, _ = make(seed=8)
    solution = equivalent.solve(rows)
    rng = np.random.default_rng(1)
    root = rng.normal(size=(rows.weight.shape[0],) * 2)
    # all second moments of w by the columns of its root: the result is quadratic in w
    w = jnp.asarray(root.T)
    response = responses.respond(solution, w @ rows.mean.T, w)
    expected = responses.covariance(solution, response).sum(0)
    expected += jnp.einsum("ti,tj->ij", response.mean, response.mean)
    moments, norm = responses.random_rows(solution, jnp.asarray(root @ root.T))
    np.testing.assert_allclose(moments, expected, rtol=1e-9)
    norms = responses.quadratic(solution, w @ rows.mean.T, w)
    np.testing.assert_allclose(norm, norms.sum(), rtol=1e-9)


def test_margin_is_the_smallest_relative_eigenvalue():
    for indefinite in (False, True):
        rows, _, _ = make(seed=9, indefinite=indefinite)
        solution = equivalent.solve(rows)
        gam = rows.weight @ solution.shrink.T
        k = rows.base + solution.omega
        kernel = jnp.diag(k) + rows.mean @ gam @ rows.mean.T
        relative = kernel / jnp.sqrt(k[:, None] * k[None, :])
        smallest = jnp.linalg.eigvalsh((relative + relative.T) / 2)[0]
        np.testing.assert_allclose(equivalent.margin(solution), smallest, rtol=1e-6)
        assert (smallest > 0) == (not indefinite)
