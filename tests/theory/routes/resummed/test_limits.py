"""The resummed law where it is known: no corruption, pure noise, first order."""

import numpy as np
import pytest
from problems import erf_kernels, prototypes
from resummed_cases import DEEP, ERF, KEY, centred

import theory
from theory import Additive, Architecture, Replacement, exact, resummed


def test_without_corruption_it_is_the_exact_kernel(small):
    law = resummed(ERF, Replacement(p=0.0), small)
    draws = exact(ERF, Replacement(p=0.0), small, draws=1, key=KEY)
    np.testing.assert_allclose(law.mean, draws.outputs[0, 0], atol=1e-10)
    np.testing.assert_allclose(law.cov, 0, atol=1e-14)
    np.testing.assert_allclose(
        np.asarray(law.init_var), np.asarray(draws.init_var)[0], rtol=1e-4
    )
    assert law.diagnostics["level"] == "noiseless"


def test_copies_without_corruption_coincide(small):
    law = resummed(ERF, Replacement(p=0.0), small, copies=3, ridge=0.6)
    # the kernel of all rows, each three times
    x_train, x_test = np.tile(small.x_train, (3, 1)), np.asarray(small.x_test)
    nngp, ntk = erf_kernels(x_train, x_train, 2)
    test_nngp, test_ntk = erf_kernels(x_test, x_train, 2)
    smooth = np.linalg.solve(ntk + 0.6 * np.eye(180), test_ntk.T)
    # 180 images of a condition number of 100 or so
    mean = smooth.T @ np.tile(small.y, (3, 1))
    np.testing.assert_allclose(law.mean, mean, atol=1e-10)
    prior = np.diagonal(erf_kernels(x_test, x_test, 2)[0])
    init_var = prior + (smooth * (nngp @ smooth - 2 * test_nngp.T)).sum(axis=0)
    # of a difference in s, whose error is the square of a step of 7e-4
    np.testing.assert_allclose(np.asarray(law.init_var), init_var, rtol=1e-4)


def test_initial_covariances_without_corruption(small):
    law = resummed(ERF, Replacement(p=0.0), small, ridge=0.2)
    x_train, x_test = np.asarray(small.x_train), np.asarray(small.x_test)
    nngp, ntk = erf_kernels(x_train, x_train, 2)
    test_nngp, test_ntk = erf_kernels(x_test, x_train, 2)
    smooth = np.linalg.solve(ntk + 0.2 * np.eye(len(x_train)), test_ntk.T)
    crossed = test_nngp @ smooth
    expected = erf_kernels(x_test, x_test, 2)[0] - crossed - crossed.T
    expected += smooth.T @ nngp @ smooth
    points = np.arange(5)
    assert law.cross is not None
    found = np.asarray(law.cross.init_cov(points, np.arange(4, 9)))
    # 180 images of a condition number of a thousand or so
    np.testing.assert_allclose(found, expected[:5, 4:9], rtol=0, atol=1e-10)
    np.testing.assert_allclose(
        np.asarray(law.init_var), np.diagonal(expected), rtol=0, atol=1e-10
    )


@pytest.mark.slow
def test_pure_noise_tells_no_images_apart(small):
    for kind in (Replacement, Additive):
        law = resummed(ERF, kind(p=1.0), small)
        np.testing.assert_allclose(law.mean, law.mean[:1].repeat(30, 0), atol=1e-12)
        chance = law.accuracy(small.labels_test)
        np.testing.assert_allclose(chance, 1 / 3, atol=1e-3)


@pytest.mark.slow
def test_first_order_is_its_limit():
    # few images in many dimensions, little signal
    problem = prototypes((2, 2, 2), n_test=20, d=600, spread=1.0, seed=4)
    noise = Replacement(p=0.99)
    law, first = (
        resummed(DEEP, noise, problem),
        theory.first_order(DEEP, noise, problem),
    )
    gap = np.abs(centred(law.mean) - centred(first.mean)).max()
    # N/d and eps are .01
    assert gap < 0.01 * np.abs(centred(first.mean)).max()
    np.testing.assert_allclose(law.gap_variance(), first.gap_variance(), rtol=0.02)


@pytest.mark.slow
def test_fewer_landmarks_come_close():
    problem = prototypes((50,) * 4, n_test=60, d=200, spread=1.5, seed=5)
    arch = Architecture(depth=3, activation="relu")
    noise = Additive(p=0.5)
    full = resummed(arch, noise, problem, landmarks=200)
    scale = np.sqrt(full.gap_variance().mean())
    gaps = []
    for landmarks in (0, 120):
        law = resummed(arch, noise, problem, landmarks=landmarks)
        gaps.append(float(np.abs(law.mean - full.mean).mean() / scale))
    assert gaps[1] < min(0.05, gaps[0] / 2), gaps
