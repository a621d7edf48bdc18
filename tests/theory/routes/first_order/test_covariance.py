"""The covariance of the law against linear responses of kernels to sampled noise."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises, within
from first_order_cases import (
    MOMENTS,
    NOISES,
    PROBLEMS,
    ROUNDING,
    diag,
    entry,
    mean_first_layer,
)
from problems import prototypes

from theory.corruption.corruptions import Additive, Replacement
from theory.kernels import propagation
from theory.kernels.architecture import Architecture
from theory.routes.first_order.law import first_order


def noise_sample(rng, name, shape):
    if name == "uniform":
        return rng.uniform(-(3**0.5), 3**0.5, size=shape)
    if name == "bernoulli":
        return rng.integers(2, size=shape).astype(float)
    return rng.exponential(size=shape) - 0.7


@jax.jit
def responses(q0, k0, q_test, k_test0, arch):
    """Kernel, test rows, and how their entries answer to the first layer."""

    def partials(fn, *args):
        units = jnp.eye(len(args))
        along = [
            [jnp.full_like(a, u) for a, u in zip(args, one, strict=True)]
            for one in units
        ]
        return [jax.jvp(fn, args, tuple(tangent))[1] for tangent in along]

    def kernel(q1, q2, k):
        return propagation.propagate(q1, q2, k, arch).ntk

    def diagonal(q):
        return propagation.propagate_diag(q, arch).ntk

    (n,), eye = q0.shape, jnp.eye(len(q0))
    train = (
        jnp.broadcast_to(q0[:, None], (n, n)),
        jnp.broadcast_to(q0[None, :], (n, n)),
        k0,
    )
    test = (
        jnp.broadcast_to(q_test[:, None], k_test0.shape),
        jnp.broadcast_to(q0[None, :], k_test0.shape),
        k_test0,
    )
    theta = (1 - eye) * kernel(*train) + eye * diagonal(q0)[:, None]
    return (
        theta,
        kernel(*test),
        partials(kernel, *train),
        partials(diagonal, q0),
        partials(kernel, *test),
    )


def linear_response(arch, name, problem, draws, seed=0):
    """Outputs (draws, n_test, c), to first order in the kernel's noise at eps = 0."""
    rng, (n, d) = np.random.default_rng(seed), problem.x_train.shape
    x_test, eye = np.asarray(problem.x_test), np.eye(n)
    q0, k0, k_test0 = mean_first_layer(arch, False, MOMENTS[name], problem, 0.0)
    q_test = arch.b_var + arch.w_var * (x_test**2).mean(axis=1)
    found = responses(q0, k0, jnp.asarray(q_test), k_test0, arch)
    theta, rows, (train_q, _, train_k), (diag_q,), (_, test_q, test_k) = jax.tree.map(
        np.asarray, found
    )
    weights = np.linalg.solve(theta, np.asarray(problem.y))
    smoothed = np.linalg.solve(theta, rows.T).T
    q0, k0, k_test0 = (np.asarray(part) for part in (q0, k0, k_test0))
    blocks = []
    for _ in range(draws // 1000):
        z = noise_sample(rng, name, (1000, n, d))
        q = arch.b_var + arch.w_var * (z**2).mean(axis=2) - q0
        k = arch.b_var + arch.w_var * z @ z.transpose(0, 2, 1) / d - k0
        k_test = arch.b_var + arch.w_var * x_test @ z.transpose(0, 2, 1) / d - k_test0
        off = train_q * q[:, :, None] + train_q.T * q[:, None, :] + train_k * k
        d_theta = (1 - eye) * off + eye * (diag_q * q)[:, :, None]
        d_rows = test_q * q[:, None, :] + test_k * k_test
        # d(R Theta^{-1} Y) = (dR - R Theta^{-1} dTheta) Theta^{-1} Y
        blocks.append(d_rows @ weights - smoothed @ (d_theta @ weights))
    return np.concatenate(blocks)


def z_scores(products, cov):
    """Of a mean of `products` (draws, ...), where they are not of a missing class."""
    stderr = products.std(axis=0) / len(products) ** 0.5
    difference = products.mean(axis=0) - cov
    seen = stderr > 1e-12 * stderr.max()
    assert (np.abs(difference[~seen]) <= ROUNDING * np.abs(cov).max()).all()
    return difference[seen] / stderr[seen]


def check_covariance(products, cov):
    """The mean over draws is `cov`: the worst entry, all of them, and their scale."""
    z = z_scores(products, cov)
    assert np.abs(z).max() < 6  # of at most a thousand entries
    # The mean square is one; how far off, correlated as entries are, parts show.
    of_parts = [(z_scores(p, cov) ** 2).mean() for p in np.split(products, 20)]
    assert abs((z**2).mean() - 1) < 5 * np.std(of_parts, ddof=1), np.mean(of_parts)
    within((products * cov).reshape(len(products), -1).sum(1) / (cov**2).sum(), 1.0)


def check_pairs(law, sample):
    """Covariances between test points, entry by entry."""
    n = sample.shape[1]
    index = np.arange(n)
    cross = np.asarray(law.cross.cov(index, index))
    rounding = ROUNDING * np.abs(cross).max()
    np.testing.assert_allclose(cross[index, index], law.cov, rtol=0, atol=rounding)
    np.testing.assert_allclose(
        cross, cross.transpose(1, 0, 3, 2), rtol=0, atol=rounding
    )
    part = np.asarray(law.cross.cov(np.array([4, 1]), np.array([0, 2, 1])))
    np.testing.assert_allclose(part, cross[[4, 1]][:, [0, 2, 1]], rtol=0, atol=rounding)
    with raises("this law does not know the covariance between points"):
        law.cross.init_cov(index[:2], index[:3])
    a, b = np.array(list(itertools.combinations(range(n), 2))).T
    check_covariance(sample[:, a, :, None] * sample[:, b, None, :], cross[a, b])


def check_points(law, sample):
    """Covariance of every test point, over its upper triangle."""
    i, j = np.triu_indices(sample.shape[-1])
    check_covariance(sample[:, :, i] * sample[:, :, j], np.asarray(law.cov)[:, i, j])


# Shapes and depths are those of other tests: their programs serve.
FREE = {"w_rates": (1.0, 1.0), "b_rates": (1.0, 1.0)}
RESPONSES = {
    "erf-uniform": ("erf", 3, {}, "uniform", "balanced"),
    "erf-skew": ("erf", 3, {"w_var": 1.3, "b_var": 0.2}, "skew", "unbalanced"),
    "relu-bernoulli": ("relu", 2, {"w_var": 1.6}, "bernoulli", "unbalanced"),
    "relu-skew": ("relu", 2, FREE, "skew", "missing"),
    "gelu-bernoulli": ("gelu", 2, {"b_var": 0.1}, "bernoulli", "balanced"),
}


@pytest.mark.parametrize("case", RESPONSES.values(), ids=RESPONSES)
def test_covariance_is_that_of_the_linear_response(case):
    activation, depth, settings, name, problem = case
    arch = Architecture(depth=depth, activation=activation, **settings)
    problem = PROBLEMS[problem]
    law = first_order(arch, Replacement(p=1.0, noise=NOISES[name]), problem)
    sample = linear_response(arch, name, problem, 4000)
    check_points(law, sample)
    check_pairs(law, sample)


def test_covariance_with_few_images():
    # Six images of four pixels: terms of relative order 1/N count. Bright test images
    # and dim noise: theta_o is small, and theta* is not.
    arch = Architecture(depth=2, activation="erf", w_var=1.4)
    problem = prototypes((3, 2, 1), n_test=5, d=4, seed=3, kind="raw")
    problem = dataclasses.replace(problem, x_test=problem.x_test + 1.5)
    law = first_order(arch, Replacement(p=1.0, noise=NOISES["skew"]), problem)
    check_points(law, linear_response(arch, "skew", problem, 100_000))


@pytest.mark.parametrize(("activation", "depth"), [("erf", 3), ("relu", 2)])
def test_the_level_does_not_enter_the_covariance(activation, depth):
    # leading order
    arch = Architecture(depth=depth, activation=activation, w_var=1.4, b_var=0.1)
    for problem, noise in itertools.product(PROBLEMS.values(), NOISES.values()):
        covs = [
            np.asarray(first_order(arch, kind(p=p, noise=noise), problem).cov)
            for kind, p in ((Replacement, 1.0), (Replacement, 0.8), (Additive, 0.9))
        ]
        rounding = ROUNDING * np.abs(covs[0]).max()
        np.testing.assert_allclose(covs[1], covs[0], rtol=0, atol=rounding)
        np.testing.assert_allclose(covs[2], covs[0], rtol=0, atol=rounding)


@pytest.mark.parametrize("name", MOMENTS)
def test_noise_of_decisions_written_out(name):
    # docs/theory/first_order.md (22) for balanced classes, with pixel vectors
    problem, num_classes = PROBLEMS["balanced"], 4
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    law = first_order(arch, Replacement(p=0.95, noise=NOISES[name]), problem)
    n, d = problem.x_train.shape
    mu1, mu2, mu3, mu4 = MOMENTS[name]
    q, k0 = arch.b_var + arch.w_var * mu2, arch.b_var + arch.w_var * mu1**2

    x = np.asarray(problem.x_test)
    # pure noise, and each test point with it
    at = np.array(
        [
            [q, q, k0],
            *([arch.b_var + arch.w_var * (one**2).mean(), q,
               arch.b_var + arch.w_var * mu1 * one.mean()] for one in x),
        ]
    ).T  # fmt: skip

    def slope(fn, args, i, h=1e-4):
        # error h^2, relative to which 1e-6 below is room
        step = h * np.eye(len(args))[i][:, None]
        return np.asarray(fn(*(args + step), arch) - fn(*(args - step), arch)) / (2 * h)

    theta = np.asarray(entry(*at, arch))
    theta_o, by_q, by_k = theta[0], slope(entry, at, 1), slope(entry, at, 2)
    kap = float(diag(at[0], arch)[0]) - theta_o
    psi = n / (kap + n * theta_o)
    s_d, s_q, s_k = slope(diag, at[:1], 0)[0], by_q[0], by_k[0]
    v_q = arch.w_var**2 * (mu4 - mu2**2) / d
    c_1 = arch.w_var * (mu3 - mu1 * mu2) / d
    sig2 = mu2 - mu1**2
    for a, one in enumerate(x):
        back = theta[1 + a] * psi / n
        alpha = by_q[1 + a] - back * (s_d + (n - 2) * s_q)
        w = arch.w_var / d * (by_k[1 + a] * one - back * (n - 2) * s_k * mu1)
        v_aa = alpha**2 * v_q + 2 * c_1 * alpha * w.sum() + sig2 * (w**2).sum()
        pairs = back**2 * (n - 2) * (s_k * arch.w_var * sig2) ** 2 / d
        square = n / num_classes / kap**2 * (v_aa + pairs)
        np.testing.assert_allclose(law.noise_std[a] ** 2, square, rtol=1e-6)
        cov = np.asarray(law.cov[a])
        i, j = np.tril_indices(num_classes, -1)
        np.testing.assert_allclose(cov[i, i] - cov[i, j], square, rtol=1e-6)
    np.testing.assert_allclose(law.diagnostics["kap"], kap, rtol=ROUNDING)
    np.testing.assert_allclose(
        law.diagnostics["theta_o"], theta_o, rtol=0, atol=ROUNDING
    )
