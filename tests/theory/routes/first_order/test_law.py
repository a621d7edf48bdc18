"""The nearest-class-mean law against the kernels that it expands.

Two oracles: the derivative of the mean kernel's prediction by finite differences, and
the linear response of the exact prediction to sampled noise by automatic
differentiation. Neither knows the formulas of `theory.first_order`.
"""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises, within
from problems import prototypes

from theory import exact
from theory.activations import closed_forms, registry
from theory.corruption import noises
from theory.corruption.corruptions import Additive, ClippedAdditive, Replacement
from theory.corruption.noises import CustomNoise
from theory.kernels import propagation
from theory.kernels.architecture import Architecture
from theory.routes.first_order.class_means import class_mean_scores, class_sums
from theory.routes.first_order.law import first_order


def never(key, shape):
    raise AssertionError("the law needs moments only")


POINTS = 98  # where accuracies are computed
# Sums of at most n d = 600 products, of numbers of order one.
ROUNDING = 600 * np.finfo(float).eps


# Raw moments. All noises are CustomNoise here, so that one compilation serves all.
MOMENTS = {
    "uniform": (0.0, 1.0, 0.0, 1.8),  # U(-sqrt 3, sqrt 3)
    "bernoulli": (0.5, 0.5, 0.5, 0.5),
    # an exponential variable less .7: E e^k = k!
    "skew": tuple(
        sum(math.comb(k, i) * math.factorial(i) * (-0.7) ** (k - i) for i in range(5))
        for k in range(1, 5)
    ),
}
NOISES = {
    name: CustomNoise(sampler=never, moments=moments)  # ty: ignore[invalid-argument-type]
    for name, moments in MOMENTS.items()
}
PROBLEMS = {
    "balanced": prototypes((5, 5, 5, 5), d=30),
    "unbalanced": prototypes((9, 2, 3, 6), d=30, seed=1, kind="raw"),
    "missing": prototypes((7, 0, 4, 9), d=30, seed=2, kind="unit"),
}


def at_level(kind, p, noise):
    # a Python number: one of NumPy would be another program
    return kind(p=float(p), noise=noise)


@jax.jit
def entry(q1, q2, k, arch):
    return propagation.propagate(q1, q2, k, arch).ntk


@jax.jit
def diag(q, arch):
    return propagation.propagate_diag(q, arch).ntk


# --- the mean ---------------------------------------------------------------------


@jax.jit
def predict(arch, problem, q, k, k_test):
    """Theta_* Theta^{-1} Y of the first-layer numbers of all training points."""
    theta = propagation.propagate(q[:, None], q[None, :], k, arch).ntk
    index = jnp.arange(q.shape[0])
    theta = theta.at[index, index].set(propagation.propagate_diag(q, arch).ntk)
    q_test = propagation.first_layer_variance(problem.x_test, arch)
    rows = propagation.propagate(q_test[:, None], q[None, :], k_test, arch).ntk
    return rows @ jnp.linalg.solve(theta, problem.y)


def mean_first_layer(arch, additive, mu, problem, eps):
    """q, k and k_test of the mean pixels M and their mean squares at level 1 - eps."""
    x, x_test = np.asarray(problem.x_train), np.asarray(problem.x_test)
    mean = eps * x + (1 - eps) * mu[0]
    if additive:
        square = (
            eps**2 * x**2 + 2 * eps * (1 - eps) * x * mu[0] + (1 - eps) ** 2 * mu[1]
        )
    else:
        square = eps * x**2 + (1 - eps) * mu[1]
    q, k, k_test = (
        arch.b_var + arch.w_var * part
        for part in (
            square.mean(axis=1),
            mean @ mean.T / x.shape[1],
            x_test @ mean.T / x.shape[1],
        )
    )
    return map(jnp.asarray, (q, k, k_test))


def finite_difference(arch, kind, mu, problem, h=5e-4):
    """Prediction of the mean kernel at eps = 0, and its derivative (error h^4)."""

    def at(eps):
        layer = mean_first_layer(arch, kind is Additive, mu, problem, eps)
        return np.asarray(predict(arch, problem, *layer))

    slope = 8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))
    return at(0.0), slope / (12 * h)


def check_mean(arch, kind, name, problem):
    """Compares value and slope."""
    value, slope = finite_difference(arch, kind, MOMENTS[name], problem)
    pure, near = (
        first_order(arch, at_level(kind, p, NOISES[name]), problem) for p in (1.0, 0.75)
    )
    # a solve of targets of one: the condition is that of kap I + theta_o 1 1^T
    n = len(problem.labels_train)
    kap, theta_o = (float(pure.diagnostics[part]) for part in ("kap", "theta_o"))
    rounding = n * np.finfo(float).eps * (1 + n * theta_o / kap)
    np.testing.assert_allclose(pure.mean, value, rtol=0, atol=rounding)
    got = (np.asarray(near.mean) - pure.mean) / 0.25
    # h = 5e-4 to the fourth, of outputs that turn within a twentieth: 1e-8, far above
    # rounding over h
    np.testing.assert_allclose(got, slope, rtol=0, atol=1e-8 * np.abs(slope).max())


# Compilation: the law knows of activation and depth what test_perturbation.py tests for
# each of them.
QUICK = (("erf", 3), ("relu", 2), ("relu", 5), ("gelu", 2), ("tanh", 3))
networks = pytest.mark.parametrize(
    ("activation", "depth"),
    [
        pytest.param(a, depth, marks=[pytest.mark.slow] * ((a, depth) not in QUICK))
        for a in ("erf", "relu", "gelu", "tanh")
        for depth in (2, 3, 5, 8)
    ],
)


@networks
def test_mean_is_the_derivative_of_the_mean_kernel(activation, depth):
    for b_var in (0.0, 0.1):
        arch = Architecture(depth=depth, activation=activation, w_var=1.4, b_var=b_var)
        for name in MOMENTS:
            for problem in PROBLEMS.values():
                check_mean(arch, Replacement, name, problem)


def remainders(arch, kind, name, problem, steps):
    """Largest difference of the mean kernel's prediction from the law."""
    worst = []
    for eps in steps:
        layer = mean_first_layer(arch, kind is Additive, MOMENTS[name], problem, eps)
        law = first_order(arch, at_level(kind, 1 - eps, NOISES[name]), problem)
        worst.append(np.abs(predict(arch, problem, *layer) - law.mean).max())
    return np.array(worst)


def log_slope(steps, values):
    return np.polyfit(np.log(steps), np.log(values), 1)[0]


@pytest.mark.parametrize(("activation", "depth"), [("erf", 3), ("relu", 2)])
@pytest.mark.parametrize("kind", [Replacement, Additive])
def test_the_remainder_is_of_second_order(activation, depth, kind):
    arch = Architecture(depth=depth, activation=activation, w_var=1.4, b_var=0.1)
    steps = 2.0 ** -np.arange(4, 11)
    for name, problem in (("skew", "unbalanced"), ("bernoulli", "missing")):
        values = remainders(arch, kind, name, PROBLEMS[problem], steps)
        assert values[-1] > 1e-11  # above rounding
        assert abs(log_slope(steps, values) - 2) < 0.15, values


@pytest.mark.parametrize("activation", ["erf", "tanh"])
def test_the_second_order_vanishes_for_odd_activations(activation):
    # noise of mean 0 and variance 1, standardised images: outputs are odd in eps
    arch = Architecture(depth=3, activation=activation, w_var=1.4)
    steps = 2.0 ** -np.arange(3, 9)
    values = remainders(arch, Replacement, "uniform", PROBLEMS["balanced"], steps)
    assert values[-1] > 1e-11
    assert abs(log_slope(steps, values) - 3) < 0.15, values


@pytest.mark.parametrize(("activation", "depth"), [("erf", 3), ("relu", 2)])
def test_mean_with_additive_noise(activation, depth):
    for b_var in (0.0, 0.1):
        arch = Architecture(depth=depth, activation=activation, w_var=1.4, b_var=b_var)
        for name in MOMENTS:
            for problem in PROBLEMS.values():
                check_mean(arch, Additive, name, problem)


@pytest.mark.parametrize(("activation", "depth"), [("erf", 3), ("relu", 2)])
def test_mean_with_training_rates(activation, depth):
    for w_rates, b_rates in (
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),  # biases from zero
        ((0.5, 2.0, 1.5), (0.3, 0.0, 0.7)),
        ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)),  # last layer alone
    ):
        arch = Architecture(
            depth=depth,
            activation=activation,
            w_rates=w_rates[-depth:],
            b_rates=b_rates[-depth:],
        )
        check_mean(arch, Replacement, "skew", PROBLEMS["unbalanced"])


@pytest.mark.parametrize("kind", [Replacement, Additive])
def test_mean_of_a_linear_model(kind):
    arch = Architecture(depth=1, activation="erf", w_var=1.4, b_var=0.1)
    check_mean(arch, kind, "skew", PROBLEMS["unbalanced"])


# --- the covariance ---------------------------------------------------------------


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
    nothing = law.cross.init_cov(index[:2], index[:3])
    assert nothing.shape == (2, 3)
    assert np.isnan(nothing).all()
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


# --- the parts of the rule --------------------------------------------------------


def test_class_mean_scores_by_hand():
    for problem in PROBLEMS.values():
        x, labels = np.asarray(problem.x_train), np.asarray(problem.labels_train)
        means = np.zeros((4, x.shape[1]))
        for label in set(labels.tolist()):
            means[label] = x[labels == label].mean(axis=0)
        expected = np.asarray(problem.x_test) @ (means - means.mean(0)).T / x.shape[1]
        close = functools.partial(np.testing.assert_allclose, rtol=0, atol=ROUNDING)
        close(class_mean_scores(problem), expected)
        sums = means * np.bincount(labels, minlength=4)[:, None]
        close(class_sums(problem), sums)


@pytest.mark.parametrize("kind", [Replacement, Additive])
@pytest.mark.parametrize("p", [0.6, 0.97])
def test_mean_is_gain_times_score_plus_offset(kind, p):
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    problem = PROBLEMS["unbalanced"]
    law = first_order(arch, kind(p=p, noise=NOISES["skew"]), problem)
    rule = np.asarray(law.gain) * (1 - p) * np.asarray(class_mean_scores(problem))
    np.testing.assert_allclose(
        law.mean, rule + law.offset, rtol=0, atol=ROUNDING * np.abs(rule).max()
    )
    # gain by (18): C_w n_i T*/kap with T* by differences
    mu1, mu2, *_ = MOMENTS["skew"]
    x, h = np.asarray(problem.x_test), 1e-4
    q_test = arch.b_var + arch.w_var * (x**2).mean(axis=1)
    q = np.full_like(q_test, arch.b_var + arch.w_var * mu2)
    k = arch.b_var + arch.w_var * mu1 * x.mean(axis=1)
    up, down = (np.asarray(entry(q_test, q, k + s, arch)) for s in (h, -h))
    n_i = np.bincount(np.asarray(problem.labels_train), minlength=4)
    slope = (up - down) / (2 * h)  # error h^2
    expected = arch.w_var * n_i[None, :] / law.diagnostics["kap"] * slope[:, None]
    np.testing.assert_allclose(law.gain, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [Replacement, Additive])
def test_offset_is_common_to_all_classes_for_odd_activations(kind):
    # standardised images, noise of mean 0 and variance 1, balanced classes
    problem = PROBLEMS["balanced"]
    arch = Architecture(depth=3, activation="erf", w_var=1.4)
    law = first_order(arch, kind(p=0.9, noise=NOISES["uniform"]), problem)
    assert np.abs(law.mean).max() > 0.01
    offset = np.asarray(law.offset)
    rounding = ROUNDING * np.abs(law.gain).max()
    np.testing.assert_allclose(offset - offset[:, :1], 0, rtol=0, atol=rounding)
    # decisions are those of the nearest class mean
    best = class_mean_scores(problem).argmax(axis=1)
    np.testing.assert_array_equal(law.decisions(), best)


@pytest.mark.parametrize("kind", [Replacement, Additive])
@pytest.mark.parametrize("name", MOMENTS)
def test_pure_noise_knows_no_class(kind, name):
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    problem = PROBLEMS["balanced"]
    law = first_order(arch, kind(p=1.0, noise=NOISES[name]), problem)
    mean = np.asarray(law.mean)
    np.testing.assert_allclose(mean - mean[:, :1], 0, rtol=0, atol=ROUNDING)
    # nearly independent noise: what `law.per_point` states for it
    # of as many points as in the test of the accuracy: one program
    many = dataclasses.replace(
        law,
        mean=np.tile(mean, (POINTS // 7, 1)),
        cov=np.tile(law.cov, (POINTS // 7, 1, 1)),
    )
    right = many.per_point(np.tile(problem.labels_test, POINTS // 7))
    np.testing.assert_allclose(right, 0.25, atol=1e-4)
    # nor the images: other ones of the same labels
    other = dataclasses.replace(problem, x_train=-3 * problem.x_train)
    again = first_order(arch, kind(p=1.0, noise=NOISES[name]), other)
    np.testing.assert_allclose(again.mean, mean, rtol=0, atol=ROUNDING)
    # one program, and the images do not enter
    np.testing.assert_array_equal(again.cov, law.cov)


def test_a_missing_class_has_no_gain_and_a_finite_law():
    arch = Architecture(depth=2, activation="relu", w_var=1.4, b_var=0.1)
    law = first_order(
        arch, Replacement(p=0.9, noise=NOISES["bernoulli"]), PROBLEMS["missing"]
    )
    assert all(np.isfinite(part).all() for part in (law.mean, law.cov, law.noise_std))
    np.testing.assert_array_equal(law.gain[:, 1], 0)
    np.testing.assert_allclose(law.mean[:, 1], 0, rtol=0, atol=ROUNDING)


def test_a_class_without_images_changes_nothing_for_the_others():
    arch = Architecture(depth=2, activation="relu", w_var=1.4, b_var=0.1)
    noise = Replacement(p=0.9, noise=NOISES["bernoulli"])
    problem = PROBLEMS["balanced"]
    base = first_order(arch, noise, problem)
    wider = first_order(arch, noise, dataclasses.replace(problem, num_classes=5))
    for one, two in ((wider.mean[:, :4], base.mean), (wider.cov[:, :4, :4], base.cov)):
        rounding = ROUNDING * np.abs(two).max()
        np.testing.assert_allclose(one, two, rtol=0, atol=rounding)


@networks
def test_gain_is_positive(activation, depth):
    for b_var in (0.0, 0.1):
        arch = Architecture(depth=depth, activation=activation, w_var=1.4, b_var=b_var)
        for name, problem in (("uniform", "unbalanced"), ("bernoulli", "missing")):
            law = first_order(
                arch, Replacement(p=0.75, noise=NOISES[name]), PROBLEMS[problem]
            )
            present = np.asarray(PROBLEMS[problem].class_counts) > 0
            assert (law.gain[:, present] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize(
    "activation", ["sigmoid", "softplus", "silu", "elu", "leaky_relu", "sin", "exp"]
)
def test_gain_of_other_activations_is_positive(activation, depth):
    arch = Architecture(depth=depth, activation=activation, w_var=0.5)
    law = first_order(
        arch, Replacement(p=0.75, noise=NOISES["uniform"]), PROBLEMS["balanced"]
    )
    assert (law.gain > 0).all()


def test_even_activations_follow_no_class_mean():
    arch = Architecture(depth=2, activation="cos")
    law = first_order(
        arch, Replacement(p=0.75, noise=NOISES["uniform"]), PROBLEMS["balanced"]
    )
    np.testing.assert_allclose(law.gain, 0, rtol=0, atol=ROUNDING)


# --- against draws ----------------------------------------------------------------


def test_accuracy_where_the_law_holds():
    # N << d and eps -> 0: 40 draws of the exact kernel
    problem = prototypes((15, 15, 15, 15), n_test=POINTS, d=2000, spread=2.0, seed=5)
    arch = Architecture(depth=2, activation="erf")
    noise = Replacement(p=0.96)
    law = first_order(arch, noise, problem)
    draws = exact(
        arch,
        noise,
        problem,
        draws=40,
        key=jax.random.key(0),
        with_init_var=False,
    )
    accuracy, stderr = (
        fn(problem.labels_test) for fn in (draws.accuracy, draws.stderr)
    )
    assert 0.5 < accuracy < 0.9
    # .01: N/d = .03 and eps = .04 are small, not zero
    assert abs(law.accuracy(problem.labels_test) - accuracy) < 5 * stderr + 0.01
    # the spread of what decisions see, and the mean
    measured = draws.law()
    ratio = np.sqrt(measured.gap_variance().mean() / law.gap_variance().mean())
    # 5 standard errors of 40 draws of 98 points, were these independent: .04
    np.testing.assert_allclose(ratio, 1, atol=0.05)
    centred = [m - m.mean(axis=1, keepdims=True) for m in (law.mean, measured.mean)]
    slope = (centred[0] * centred[1]).sum() / (centred[0] ** 2).sum()
    np.testing.assert_allclose(slope, 1, atol=0.15)


# --- the entry --------------------------------------------------------------------


def test_single_networks_are_not_known():
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    law = first_order(
        arch, Replacement(p=0.9, noise=NOISES["uniform"]), PROBLEMS["balanced"]
    )
    assert np.isnan(law.init_var).all()
    with raises("`averaged` needs `init_var`"):
        law.averaged(10)


def test_float32_stays_float32():
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    noise, problem = Replacement(p=0.9, noise=NOISES["skew"]), PROBLEMS["unbalanced"]
    single = first_order(arch, noise, problem.astype(np.float32))
    double = first_order(arch, noise, problem)
    for name in ("mean", "cov", "gain", "offset", "noise_std", "init_var"):
        one, two = getattr(single, name), getattr(double, name)
        assert one.dtype == np.float32, name
        scale = np.nanmax(np.abs(two)) if name != "init_var" else 1.0
        # 600 terms in float32, of which half may be left: 1.4e-4
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-3 * scale)


def test_a_sweep_of_the_level_compiles_once():
    calls = []

    def counting(fn):
        return lambda *args: (calls.append(fn), fn(*args))[1]

    erf = registry.get("erf")
    dual = closed_forms.ClosedForm(counting(erf.dual.pair), counting(erf.dual.diag))
    arch = Architecture(depth=2, activation=registry.Activation("e", erf.fn, dual))
    means, traced = [], []
    for p in (0.9, 0.95, 1.0):
        noise = Replacement(p=p, noise=NOISES["skew"])
        means.append(first_order(arch, noise, PROBLEMS["balanced"]).mean)
        traced.append(len(calls))
    assert traced[0] > 0
    assert traced == traced[:1] * 3
    middle = (np.asarray(means[0]) + means[2]) / 2
    np.testing.assert_allclose(means[1], middle, rtol=0, atol=ROUNDING)


def test_what_has_no_level_is_refused():
    arch = Architecture(depth=3, activation="erf")
    text = (
        "first_order expands in eps = 1 - p, ClippedAdditive has no `p`: "
        "use Replacement, Additive or BinaryReplacement, or the exact route"
    )
    with raises(text):
        first_order(arch, ClippedAdditive(sigma=0.3), PROBLEMS["missing"])


def test_bad_arguments_are_refused():
    good, noise = PROBLEMS["balanced"], Replacement(p=0.9)
    with raises("`p` must be a corruption level in [0, 1], got 1.5"):
        first_order(Architecture(depth=3, activation="erf"), Replacement(p=1.5), good)
    with raises("`depth` must be at least 1 (a linear model), got 0"):
        first_order(Architecture(depth=0, activation="erf"), noise, good)
    with raises("step has no NTK"):
        first_order(Architecture(depth=2, activation="step"), noise, good)
    bad = dataclasses.replace(good, labels_test=good.labels_test + 1)
    with raises("`labels_test` must lie in 0 ... 3 (`num_classes` is 4), got 4"):
        first_order(Architecture(depth=2, activation="erf"), noise, bad)
    with raises("`prob` of Bernoulli must be in [0, 1], got 2.0"):
        first_order(
            Architecture(depth=2, activation="erf"),
            Replacement(p=0.9, noise=noises.Bernoulli(2.0)),
            good,
        )
