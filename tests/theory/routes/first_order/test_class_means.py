"""The rule of the nearest class mean: its scores, gains and offsets."""

import dataclasses
import functools

import numpy as np
import pytest
from first_order_cases import (
    MOMENTS,
    NOISES,
    POINTS,
    PROBLEMS,
    ROUNDING,
    entry,
    networks,
)

from theory.corruption.corruptions import Additive, Replacement
from theory.kernels.architecture import Architecture
from theory.routes.first_order.class_means import class_mean_scores, class_sums
from theory.routes.first_order.law import first_order


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
