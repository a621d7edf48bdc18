"""The nearest-class-mean law against the kernels that it expands.

Two oracles: the derivative of the mean kernel's prediction by finite differences, and
the linear response of the exact prediction to sampled noise by automatic
differentiation. Neither knows the formulas of `theory.first_order`.
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import prototypes, raises

from theory import activations, duals, exact, noises, propagation
from theory.corruption import Additive, ClippedAdditive, Replacement
from theory.first_order import class_mean_scores, class_sums, first_order
from theory.noises import CustomNoise
from theory.problem import Architecture


def never(key, shape):
    raise AssertionError("the law needs moments only")


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
    return kind(p=p, noise=noise)


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
    pure = first_order(arch, at_level(kind, 1.0, NOISES[name]), problem).mean
    near = first_order(arch, at_level(kind, 0.75, NOISES[name]), problem).mean
    np.testing.assert_allclose(pure, value, rtol=0, atol=1e-13)
    got = (near - pure) / 0.25
    # of the largest output: what differences of kernels resolve (measured 1e-9)
    np.testing.assert_allclose(got, slope, rtol=0, atol=1e-8 * np.abs(slope).max())


networks = pytest.mark.parametrize(
    ("activation", "depth"),
    [
        *((name, depth) for name in ("erf", "relu") for depth in (2, 3, 5)),
        *((name, depth) for name in ("gelu", "tanh") for depth in (2, 3)),
        # 5 s of compilation and more
        *(pytest.param(a, 5, marks=pytest.mark.slow) for a in ("gelu", "tanh")),
        *(
            pytest.param(a, 8, marks=pytest.mark.slow)
            for a in ("erf", "relu", "gelu", "tanh")
        ),
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


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_mean_with_training_rates(activation):
    for w_rates, b_rates in (
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),  # biases from zero
        ((0.5, 2.0, 1.5), (0.3, 0.0, 0.7)),
        ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)),  # last layer alone
    ):
        arch = Architecture(
            depth=3, activation=activation, w_rates=w_rates, b_rates=b_rates
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


def partials(fn, *args):
    """Derivatives of elementwise `fn` in each of its arguments."""
    units = np.eye(len(args))
    return [
        jax.jvp(
            fn,
            args,
            tuple(jnp.full_like(arg, u) for arg, u in zip(args, unit, strict=True)),
        )[1]
        for unit in units
    ]


def linear_response(arch, name, problem, draws, seed=0):
    """Outputs (draws, n_test, c), to first order in the kernel's noise at eps = 0."""
    rng, (n, d) = np.random.default_rng(seed), problem.x_train.shape
    x_test = np.asarray(problem.x_test)
    q0, k0, k_test0 = mean_first_layer(arch, False, MOMENTS[name], problem, 0.0)
    q_test = propagation.first_layer_variance(problem.x_test, arch)

    def entry(q1, q2, k):
        return propagation.propagate(q1, q2, k, arch).ntk

    def diag(q):
        return propagation.propagate_diag(q, arch).ntk

    full = jnp.ones((n, n))
    train = (full * q0[:, None], full * q0[None, :], k0)
    test = (
        jnp.ones_like(k_test0) * q_test[:, None],
        full[: len(x_test)] * q0[None, :],
        k_test0,
    )
    eye = jnp.eye(n)
    theta = (1 - eye) * entry(*train) + eye * diag(q0)[:, None]
    rows = entry(*test)
    train_q, _, train_k = partials(entry, *train)
    (diag_q,), (_, test_q, test_k) = partials(diag, q0), partials(entry, *test)

    @jax.jit
    @jax.vmap
    def response(q, k, k_test):
        off = train_q * q[:, None] + train_q.T * q[None, :] + train_k * k
        d_theta = (1 - eye) * off + eye * (diag_q * q)[:, None]
        d_rows = test_q * q[None, :] + test_k * k_test

        def outputs(theta, rows):
            return rows @ jnp.linalg.solve(theta, problem.y)

        return jax.jvp(outputs, (theta, rows), (d_theta, d_rows))[1]

    blocks = []
    for _ in range(draws // 1000):
        z = noise_sample(rng, name, (1000, n, d))
        q = arch.b_var + arch.w_var * (z**2).mean(axis=2)
        k = arch.b_var + arch.w_var * z @ z.transpose(0, 2, 1) / d
        k_test = arch.b_var + arch.w_var * x_test @ z.transpose(0, 2, 1) / d
        layer = (q - np.asarray(q0), k - np.asarray(k0), k_test - np.asarray(k_test0))
        blocks.append(response(*layer))
    return np.concatenate(blocks)


def z_scores(sample, cov):
    """Of the covariance of mean-zero samples, entry by entry (upper triangle)."""
    i, j = np.triu_indices(cov.shape[-1])
    products = sample[:, :, i] * sample[:, :, j]
    stderr = products.std(axis=0) / len(sample) ** 0.5
    difference = products.mean(axis=0) - cov[:, i, j]
    noiseless = stderr < 1e-12 * stderr.max()  # a class that is missing
    np.testing.assert_allclose(difference[noiseless], 0, atol=1e-15)
    return difference[~noiseless] / stderr[~noiseless]


def check_pairs(law, sample):
    """Covariances between test points, entry by entry."""
    n = sample.shape[1]
    index = jnp.arange(n)
    cross = np.asarray(law.cross.cov(index, index))
    same = cross[np.arange(n), np.arange(n)]
    np.testing.assert_allclose(same, law.cov, rtol=1e-10, atol=1e-15 * same.max())
    np.testing.assert_allclose(cross, cross.transpose(1, 0, 3, 2), atol=1e-15)
    part = np.asarray(law.cross.cov(jnp.array([4, 1]), jnp.array([0, 2, 1])))
    np.testing.assert_allclose(part, cross[[4, 1]][:, [0, 2, 1]], rtol=1e-12)
    assert np.isnan(law.cross.init_cov(index[:2], index[:3])).all()
    assert law.cross.init_cov(index[:2], index[:3]).shape == (2, 3)
    off, on = [], []
    for a, b in itertools.combinations(range(n), 2):
        products = sample[:, a, :, None] * sample[:, b, None, :]
        stderr = products.std(axis=0) / len(sample) ** 0.5
        difference = products.mean(axis=0) - cross[a, b]
        seen = stderr > 1e-12 * stderr.max()  # not of a missing class
        off.append((difference[seen] / stderr[seen]).ravel())
        on.append((products.mean(axis=0).ravel(), cross[a, b].ravel()))
    z = np.concatenate(off)
    assert 0.7 < np.sqrt((z**2).mean()) < 1.3, np.sqrt((z**2).mean())
    assert np.abs(z).max() < 6  # of a thousand correlated entries
    measured, predicted = np.concatenate(on, axis=1)
    slope = (measured * predicted).sum() / (predicted**2).sum()
    np.testing.assert_allclose(slope, 1, atol=0.05)


RESPONSES = {
    "erf-uniform": ("erf", 3, 1.0, 0.0, None, "uniform", (10, 10, 10, 10)),
    "erf-skew": ("erf", 4, 1.3, 0.2, None, "skew", (10, 10, 10, 10)),
    "relu-bernoulli": ("relu", 2, 1.6, 0.1, None, "bernoulli", (18, 5, 7, 10)),
    "relu-skew": ("relu", 3, 1.0, 0.0, (1.0, 1.0, 1.0), "skew", (20, 0, 8, 12)),
    "gelu-bernoulli": ("gelu", 2, 1.4, 0.1, None, "bernoulli", (10, 10, 10, 10)),
}


@pytest.mark.parametrize(
    "case",
    [
        # the others weekly: of another activation, or noise, and the same code
        pytest.param(case, marks=[pytest.mark.slow] * (name[:4] == "gelu"), id=name)
        for name, case in RESPONSES.items()
    ],
)
def test_covariance_is_that_of_the_linear_response(case):
    activation, depth, w_var, b_var, b_rates, name, counts = case
    arch = Architecture(
        depth=depth,
        activation=activation,
        w_var=w_var,
        b_var=b_var,
        b_rates=b_rates,
    )
    problem = prototypes(counts, n_test=12, d=40, seed=3, kind="raw")
    law = first_order(arch, Replacement(p=1.0, noise=NOISES[name]), problem)
    sample = linear_response(arch, name, problem, 4000)
    cov = np.asarray(law.cov)
    z = z_scores(sample, cov)
    assert 0.7 < np.sqrt((z**2).mean()) < 1.3, np.sqrt((z**2).mean())
    assert np.abs(z).max() < 5
    estimate = np.einsum("kni,knj->nij", sample, sample) / len(sample)
    slope = (estimate * cov).sum() / (cov**2).sum()
    np.testing.assert_allclose(slope, 1, atol=0.05)
    check_pairs(law, sample)
    # the level does not enter: leading order
    again = first_order(arch, Additive(p=0.9, noise=NOISES[name]), problem)
    np.testing.assert_allclose(again.cov, cov, rtol=1e-12, atol=1e-15 * cov.max())


def test_covariance_with_few_images():
    # Six images of four pixels: terms of relative order 1/N count. Bright test images
    # and dim noise: theta_o is small, and theta* is not.
    arch = Architecture(depth=2, activation="erf", w_var=1.4)
    problem = prototypes((3, 2, 1), n_test=5, d=4, seed=3, kind="raw")
    problem = dataclasses.replace(problem, x_test=problem.x_test + 1.5)
    law = first_order(arch, Replacement(p=1.0, noise=NOISES["skew"]), problem)
    sample = linear_response(arch, "skew", problem, 100_000)
    z = z_scores(sample, np.asarray(law.cov))
    assert np.sqrt((z**2).mean()) < 1.6
    assert np.abs(z).max() < 5


@pytest.mark.parametrize("name", MOMENTS)
def test_noise_of_decisions_written_out(name):
    # theory/README.md (22) for balanced classes, with pixel vectors
    problem, num_classes = PROBLEMS["balanced"], 4
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    law = first_order(arch, Replacement(p=0.95, noise=NOISES[name]), problem)
    n, d = problem.x_train.shape
    mu1, mu2, mu3, mu4 = MOMENTS[name]
    q, k0 = arch.b_var + arch.w_var * mu2, arch.b_var + arch.w_var * mu1**2

    def entry(q1, q2, k):
        return float(propagation.propagate(*map(jnp.asarray, (q1, q2, k)), arch).ntk)

    def slope(fn, at, i, h=1e-4):
        steps = [np.array(at) + step * h * np.eye(len(at))[i] for step in (1, -1)]
        return (fn(*steps[0]) - fn(*steps[1])) / (2 * h)

    def diag(q):
        return float(propagation.propagate_diag(jnp.asarray(q), arch).ntk)

    theta_o = entry(q, q, k0)
    kap = diag(q) - theta_o
    psi = n / (kap + n * theta_o)
    s_q, s_k = slope(entry, (q, q, k0), 0), slope(entry, (q, q, k0), 2)
    v_q = arch.w_var**2 * (mu4 - mu2**2) / d
    c_1 = arch.w_var * (mu3 - mu1 * mu2) / d
    sig2 = mu2 - mu1**2
    for a, x in enumerate(np.asarray(problem.x_test)):
        at = (
            arch.b_var + arch.w_var * (x**2).mean(),
            q,
            arch.b_var + arch.w_var * mu1 * x.mean(),
        )
        back = entry(*at) * psi / n
        alpha = slope(entry, at, 1) - back * (slope(diag, (q,), 0) + (n - 2) * s_q)
        w = arch.w_var / d * (slope(entry, at, 2) * x - back * (n - 2) * s_k * mu1)
        v_aa = alpha**2 * v_q + 2 * c_1 * alpha * w.sum() + sig2 * (w**2).sum()
        pairs = back**2 * (n - 2) * (s_k * arch.w_var * sig2) ** 2 / d
        square = n / num_classes / kap**2 * (v_aa + pairs)
        np.testing.assert_allclose(law.noise_std[a] ** 2, square, rtol=1e-6)
        cov = np.asarray(law.cov[a])
        for i in range(num_classes):
            for j in range(i):
                np.testing.assert_allclose(cov[i, i] - cov[i, j], square, rtol=1e-6)
    np.testing.assert_allclose(law.diagnostics["kap"], kap, rtol=1e-9)
    np.testing.assert_allclose(law.diagnostics["theta_o"], theta_o, atol=1e-12)


# --- the parts of the rule --------------------------------------------------------


def test_class_mean_scores_by_hand():
    for problem in PROBLEMS.values():
        x, labels = np.asarray(problem.x_train), np.asarray(problem.labels_train)
        means = np.zeros((4, x.shape[1]))
        for label in set(labels.tolist()):
            means[label] = x[labels == label].mean(axis=0)
        expected = np.asarray(problem.x_test) @ (means - means.mean(0)).T / x.shape[1]
        np.testing.assert_allclose(class_mean_scores(problem), expected, atol=1e-14)
        sums = means * np.bincount(labels, minlength=4)[:, None]
        np.testing.assert_allclose(class_sums(problem), sums, atol=1e-13)


@pytest.mark.parametrize("kind", [Replacement, Additive])
@pytest.mark.parametrize("p", [0.6, 0.97])
def test_mean_is_gain_times_score_plus_offset(kind, p):
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    problem = PROBLEMS["unbalanced"]
    law = first_order(arch, kind(p=p, noise=NOISES["skew"]), problem)
    scores = class_mean_scores(problem)
    np.testing.assert_allclose(
        law.mean, law.gain * (1 - p) * scores + law.offset, rtol=1e-12
    )
    # gain by (18): C_w n_i T*/kap with T* by differences
    mu1, mu2, *_ = MOMENTS["skew"]
    x, h = problem.x_test, 1e-4
    q_test = propagation.first_layer_variance(x, arch)
    q = jnp.full_like(q_test, arch.b_var + arch.w_var * mu2)
    k = arch.b_var + arch.w_var * mu1 * x.mean(axis=1)
    up, down = (propagation.propagate(q_test, q, k + s, arch).ntk for s in (h, -h))
    n_i = np.asarray(problem.class_counts)
    slope = np.asarray(up - down) / (2 * h)
    expected = arch.w_var * n_i[None, :] / law.diagnostics["kap"] * slope[:, None]
    np.testing.assert_allclose(law.gain, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [Replacement, Additive])
def test_offset_is_common_to_all_classes_for_odd_activations(kind):
    # standardised images, noise of mean 0 and variance 1, balanced classes
    problem = PROBLEMS["balanced"]
    arch = Architecture(depth=3, activation="erf", w_var=1.4)
    law = first_order(arch, kind(p=0.9, noise=NOISES["uniform"]), problem)
    assert np.abs(law.mean).max() > 0.01
    common = law.offset[:, :1] * np.ones((1, 4))
    np.testing.assert_allclose(law.offset, common, atol=1e-14)
    # decisions are those of the nearest class mean
    best = class_mean_scores(problem).argmax(axis=1)
    np.testing.assert_array_equal(law.decisions(), best)


@pytest.mark.parametrize("kind", [Replacement, Additive])
@pytest.mark.parametrize("name", MOMENTS)
def test_pure_noise_knows_no_class(kind, name):
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    problem = PROBLEMS["balanced"]
    law = first_order(arch, kind(p=1.0, noise=NOISES[name]), problem)
    np.testing.assert_allclose(law.mean, law.mean[:, :1] * np.ones((1, 4)), atol=1e-15)
    np.testing.assert_allclose(law.per_point(problem.labels_test), 0.25, atol=1e-4)
    # nor the images: other ones of the same labels
    other = dataclasses.replace(problem, x_train=-3 * problem.x_train)
    again = first_order(arch, kind(p=1.0, noise=NOISES[name]), other)
    np.testing.assert_allclose(again.mean, law.mean, rtol=1e-12)
    np.testing.assert_array_equal(again.cov, law.cov)


def test_a_missing_class_has_no_gain_and_a_finite_law():
    arch = Architecture(depth=3, activation="relu", w_var=1.4, b_var=0.1)
    law = first_order(
        arch, Replacement(p=0.9, noise=NOISES["bernoulli"]), PROBLEMS["missing"]
    )
    assert all(np.isfinite(part).all() for part in (law.mean, law.cov, law.noise_std))
    np.testing.assert_array_equal(law.gain[:, 1], 0)
    np.testing.assert_allclose(law.mean[:, 1], 0, atol=1e-14)


def test_a_class_without_images_changes_nothing_for_the_others():
    arch = Architecture(depth=3, activation="relu", w_var=1.4, b_var=0.1)
    noise = Replacement(p=0.9, noise=NOISES["bernoulli"])
    problem = PROBLEMS["balanced"]
    base = first_order(arch, noise, problem)
    wider = first_order(arch, noise, dataclasses.replace(problem, num_classes=5))
    np.testing.assert_allclose(wider.mean[:, :4], base.mean, rtol=1e-12)
    np.testing.assert_allclose(wider.cov[:, :4, :4], base.cov, rtol=1e-12)


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
    np.testing.assert_allclose(law.gain, 0, atol=1e-14)


# --- against draws ----------------------------------------------------------------


def test_accuracy_where_the_law_holds():
    # N << d and eps -> 0: 40 draws of the exact kernel
    problem = prototypes((15, 15, 15, 15), n_test=150, d=2000, spread=2.0, seed=5)
    arch = Architecture(depth=3, activation="erf")
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
        np.testing.assert_allclose(one, two, atol=1e-3 * scale)


def test_a_sweep_of_the_level_compiles_once():
    calls = []

    def counting(fn):
        return lambda *args: (calls.append(fn), fn(*args))[1]

    erf = activations.get("erf")
    dual = duals.ClosedForm(counting(erf.dual.pair), counting(erf.dual.diag))
    arch = Architecture(depth=2, activation=activations.Activation("e", erf.fn, dual))
    means, traced = [], []
    for p in (0.9, 0.95, 1.0):
        noise = Replacement(p=p, noise=NOISES["skew"])
        means.append(first_order(arch, noise, PROBLEMS["balanced"]).mean)
        traced.append(len(calls))
    assert traced[0] > 0
    assert traced == traced[:1] * 3
    np.testing.assert_allclose(means[1], (means[0] + means[2]) / 2, rtol=1e-10)


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
