"""The deterministic equivalent against its textbook form and against simulation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import check_sample, within
from noisy_features import changed, drawn, make

from theory.regression import derivative, determinant, equivalent, responses

EPS = np.finfo(float).eps
respond, covariance, cross_covariance, quadratic, bilinear = map(
    jax.jit,
    (
        responses.respond,
        responses.covariance,
        responses.cross_covariance,
        responses.quadratic,
        responses.bilinear,
    ),
)


def textbook(rows, g, w, steps=4000):
    """docs/theory/regression.md, with n x n matrices and damped iteration."""
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
    assert solution.residual < 1e4 * EPS
    # both are at most so far from the fixed point
    np.testing.assert_allclose(solution.tau, tau, rtol=1e-10)
    np.testing.assert_allclose(solution.omega, omega, rtol=1e-10)
    response = respond(solution, g, w)
    np.testing.assert_allclose(response.mean, mean, rtol=1e-9, atol=1e-10)
    cross = np.asarray(cross_covariance(solution, response, response))
    np.testing.assert_allclose(cross, cov, rtol=1e-8, atol=1e-10 * np.abs(cov).max())
    own = covariance(solution, response)
    points = np.arange(len(g))
    # 60 rows and 9 features of either sign
    rounding = 100 * EPS * np.abs(cross).max()
    np.testing.assert_allclose(own, cross[points, points], rtol=0, atol=rounding)
    both = bilinear(solution, (g, w), (g, w))
    np.testing.assert_allclose(both, norm, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(quadratic(solution, g, w), np.diagonal(norm), rtol=1e-9)


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
    rows = changed(rows, base=np.asarray(rows.base) + 2.0)
    solution = equivalent.solve(rows)
    response = respond(solution, g, w)
    cov = np.asarray(cross_covariance(solution, response, response))
    moments, each = np.asarray(responses.independent(solution)), float(solution.tau)
    own = np.einsum("ab,ij->abij", np.eye(len(g)), moments)
    if test_noise:
        # what is tested below: it decides the covariance
        assert test_noise * np.trace(moments) > 0.3 * np.einsum("aaii->a", cov).mean()
    rng, of_numpy = np.random.default_rng(0), jax.tree.map(np.asarray, (rows, g, w))
    sample, norms = [], []
    for _ in range(200):
        kernel, row = drawn(*of_numpy, rng, test_noise)
        solved = np.linalg.solve(kernel, np.hstack([rows.y, row.T]))
        sample.append(row @ solved[:, :3])
        norms.append((row * solved[:, 3:].T).sum(1))
    check_sample(np.stack(sample), response.mean, cov + test_noise * own)
    expected = np.asarray(quadratic(solution, g, w)) + test_noise * each
    within(np.stack(norms), expected, slack=expected.mean() / 64)


def test_white_features_have_the_marchenko_pastur_resolvent():
    # base kap, no mean, W Sigma = v/m: the equations are those of a Wishart matrix
    n, m, kap, v = 60, 9, 0.3, 1.0
    rows = changed(
        make()[0],
        base=np.full(n, kap),
        mean=np.zeros((n, m)),
        weight=np.eye(m) / m,
        noise=v * np.eye(m),
    )
    solution = equivalent.solve(rows)
    # t = tr Q/n solves t (kap + v/(1 + v n t/m)) = 1
    nu = n / m
    t = np.roots([kap * v * nu, kap + v - v * nu, -1.0]).max()
    np.testing.assert_allclose(float(solution.tau) / n, t, rtol=1e-10)
    # Pi_11 Pi_22 = 1 - chi, chi = 1 - nu m0^2/(lam + m0)^2 with m0 = omega/v
    lam, m0 = kap / v, float(solution.omega) / v
    ker = np.asarray(solution.kernel)
    pi_11 = n * t**2
    pi_22 = ker[0, 0] / ker[1, 1] * pi_11
    np.testing.assert_allclose(pi_11 * pi_22, nu * m0**2 / (lam + m0) ** 2, rtol=1e-9)


def test_without_noise_it_is_kernel_regression():
    rows, g, w = make(seed=5)
    rows = changed(rows, noise=np.zeros((9, 9)))
    mean, weight, y, row = (np.asarray(x) for x in (rows.mean, rows.weight, rows.y, g))
    kernel = np.diag(rows.base) + mean @ weight @ mean.T
    solution = equivalent.solve(rows)
    response = respond(solution, g, w)
    expected = row @ np.linalg.solve(kernel, y)
    np.testing.assert_allclose(response.mean, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(covariance(solution, response), 0, atol=1e-12)
    expected = (row * np.linalg.solve(kernel, row.T).T).sum(1)
    np.testing.assert_allclose(quadratic(solution, g, w), expected, rtol=1e-9)


def test_copies_are_rows_repeated():
    rows, g, w = make(seed=6)
    copies = 3
    mean, y, row = (np.asarray(x) for x in (rows.mean, rows.y, g))
    tiled = changed(
        rows,
        base=np.tile(rows.base, copies),
        mean=np.tile(mean, (copies, 1)),
        y=np.tile(y, (copies, 1)),
    )
    root = copies**0.5
    folded = changed(
        rows, mean=root * mean, y=root * y, idle=rows.base, idle_count=copies - 1.0
    )
    long, short = (equivalent.solve(part) for part in (tiled, folded))
    np.testing.assert_allclose(short.tau, long.tau, rtol=1e-10)
    g_short, g_long = jnp.asarray(root * row), jnp.asarray(np.tile(row, (1, copies)))
    np.testing.assert_allclose(
        quadratic(short, g_short, w), quadratic(long, g_long, w), rtol=1e-9
    )
    one, two = respond(short, g_short, w), respond(long, g_long, w)
    np.testing.assert_allclose(one.mean, two.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        covariance(short, one), covariance(long, two), rtol=1e-8, atol=1e-12
    )


def test_random_rows_are_the_mean_over_rows():
    rows, _, _ = make(seed=8)
    solution = equivalent.solve(rows)
    root = np.random.default_rng(1).normal(size=(9, 9))
    # all second moments of w by the columns of its root: the result is quadratic in w
    w = jnp.asarray(root.T)
    g = jnp.asarray(root.T @ np.asarray(rows.mean).T)
    response = respond(solution, g, w)
    mean = np.asarray(response.mean)
    expected = np.asarray(covariance(solution, response)).sum(0) + mean.T @ mean
    moments, norm = jax.jit(responses.random_rows)(solution, jnp.asarray(root @ root.T))
    np.testing.assert_allclose(moments, expected, rtol=1e-9)
    norms = np.asarray(quadratic(solution, g, w))
    np.testing.assert_allclose(norm, norms.sum(), rtol=1e-9)


def test_margin_is_the_smallest_relative_eigenvalue():
    for indefinite in (False, True):
        rows, _, _ = make(seed=9, indefinite=indefinite)
        solution = equivalent.solve(rows)
        mean, weight = np.asarray(rows.mean), np.asarray(rows.weight)
        k = np.asarray(rows.base) + float(solution.omega)
        kernel = np.diag(k) + mean @ weight @ np.asarray(solution.shrink).T @ mean.T
        relative = kernel / np.sqrt(np.outer(k, k))
        smallest = np.linalg.eigvalsh((relative + relative.T) / 2)[0]
        np.testing.assert_allclose(determinant.margin(solution), smallest, rtol=1e-6)
        assert (smallest > 0) == (not indefinite)


@pytest.mark.parametrize("entry_noise", [0.0, 0.005])
def test_log_determinant_of_simulated_kernels(entry_noise):
    # 200 rows, 64 features: what is left out is of relative order 1/64 of the sum that
    # noise adds, which is of the order of the features
    rows, g, w = make(n=200, m=64, tests=1, seed=4, entry_noise=entry_noise)
    rows = changed(rows, base=np.asarray(rows.base) + 2.0)
    solution = equivalent.solve(rows)
    rng = np.random.default_rng(1)
    sampled = [np.linalg.slogdet(drawn(rows, g, w, rng)[0])[1] for _ in range(200)]
    found = determinant.log_determinant(rows, solution.tau, solution.omega)
    within(np.array(sampled), found, slack=1.0)
    without = changed(rows, noise=np.zeros((64, 64)))
    bare = np.linalg.slogdet(drawn(without, g, w, rng)[0])[1]
    assert abs(bare - np.mean(sampled)) > 20  # what the noise adds


@pytest.mark.parametrize("copies", [1, 3])
def test_log_determinant_is_stationary_and_its_derivative_the_trace(copies):
    rows, _, _ = make(seed=6, entry_noise=0.001)
    root, base = copies**0.5, rows.base + 2.0
    rows = changed(
        rows,
        base=base,
        mean=root * rows.mean,
        idle=base,
        idle_count=float(copies - 1),
    )
    solution = equivalent.solve(rows)

    def logarithm(shift, tau, omega):
        moved = changed_base(rows, shift)
        return determinant.log_determinant(moved, tau, omega)

    at = (jnp.zeros(()), solution.tau, solution.omega)
    by_base, by_tau, by_omega = jax.grad(logarithm, argnums=(0, 1, 2))(*at)
    # of sums of sixty terms of order one, solved to 1e4 roundings
    assert abs(by_tau) < 1e6 * EPS * solution.omega
    assert abs(by_omega) < 1e6 * EPS * solution.tau
    np.testing.assert_allclose(by_base, solution.tau, rtol=1e6 * EPS)
    # one step in the scalars is seen in the second derivative alone
    step = 1e-3
    moved = logarithm(at[0], at[1] * (1 + step), at[2]) - logarithm(*at)
    assert abs(moved) < 0.1 * step * abs(float(solution.tau * solution.omega))


def changed_base(rows, shift):
    return dataclasses.replace(rows, base=rows.base + shift, idle=rows.idle + shift)


def test_derivative_along_a_change_of_the_rows():
    """Of solution and `quadratic`, against differences of both, entries noisy too."""
    rows, g, w = make(seed=9, entry_noise=1e-4)
    rows = changed(rows, idle=rows.base, idle_count=0.5)
    other, g_other, w_other = make(seed=10)
    change = jax.tree.map(lambda leaf: 0.1 * leaf, changed(other, entry_noise=1e-3))
    # targets move, too; a rank of W and of the noise are kept by none
    change = changed(change, idle=change.base, idle_count=0.2)
    g_slope, w_slope = 0.1 * g_other, 0.1 * w_other
    step = 1e-4

    def moved(part, by, sign):
        return jax.tree.map(lambda a, b: a + sign * step * b, part, by)

    start = equivalent.solve(rows)
    found = derivative.along(start, change)
    ends = [equivalent.solve(moved(rows, change, sign)) for sign in (-1, 1)]
    for name in (
        "tau",
        "omega",
        "shift",
        "lam",
        "second",
        "third",
        "shrink",
        "y_rows",
        "y_features",
        "y_pairs",
    ):
        below, above = (np.asarray(getattr(end, name)) for end in ends)
        expected = (above - below) / (2 * step)
        # of the square of the step, and 1e4 roundings over it
        np.testing.assert_allclose(
            getattr(found, name), expected, atol=1e-5 * np.abs(expected).max()
        )
        assert np.abs(expected).max() > 1e-3
    norms = [
        quadratic(end, moved(g, g_slope, sign), moved(w, w_slope, sign))
        for sign, end in zip((-1, 1), ends, strict=True)
    ]
    slope = jax.jit(responses.quadratic_slope)(
        start, found, respond(start, g, w), w, (g_slope, w_slope)
    )
    expected = np.asarray(norms[1] - norms[0]) / (2 * step)
    np.testing.assert_allclose(slope, expected, atol=1e-5 * np.abs(expected).max())


def test_rows_whose_linear_part_is_not_added_up():
    """Any part along the mean features may stay apart, and all but it be rounded."""
    rows, g, w = make(seed=0)
    solution, mean = equivalent.solve(rows), np.asarray(rows.mean)
    along = np.random.default_rng(5).standard_normal((len(g), mean.shape[1]))
    along = jnp.asarray(along)
    beyond = g - along @ mean.T
    whole = respond(solution, g, w)
    found = respond(solution, beyond, w, responses.Apart(along, rows.mean))
    for name in ("mean", "rows", "features", "reach"):
        one, other = (np.asarray(getattr(of, name)) for of in (found, whole))
        size = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=1e5 * EPS * size)
    # what the linear part is predicts the same however large it is
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (beyond, rows.mean))
    rough = respond(solution, single[0], w, responses.Apart(along, single[1]))
    assert rough.rows.dtype == jnp.float32
    assert rough.mean.dtype == rough.features.dtype == whole.mean.dtype
    np.testing.assert_allclose(rough.mean, whole.mean, rtol=0, atol=1e-4)
    cov, rounded = (covariance(solution, of) for of in (whole, rough))
    atol = 1e-4 * np.abs(np.asarray(cov)).max()
    np.testing.assert_allclose(rounded, cov, rtol=0, atol=atol)


def test_reach_is_of_the_rows():
    rows, g, w = make(seed=11)
    found = respond(equivalent.solve(rows), g, w)
    np.testing.assert_allclose(found.reach, found.rows @ rows.mean, atol=1e-12)
