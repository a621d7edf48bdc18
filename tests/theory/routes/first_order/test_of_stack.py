"""The class-mean law of stacks: closed form where it is linear, and exact kernels."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from first_order_cases import MOMENTS
from problems import prototypes

import theory
from theory import architectures
from theory.corruption.noises import CustomNoise
from theory.routes.first_order.noise_projections import pixel_polynomials

SHAPE = (4, 4, 1)
PIXELS = 16
KEY = jax.random.key(1)
SKEW = CustomNoise(
    sampler=lambda key, shape: jax.random.exponential(key, shape, jnp.float32) - 0.7,
    moments=MOMENTS["skew"],  # ty: ignore[invalid-argument-type]
)
REPLACED = theory.Replacement(p=0.9, noise=theory.Normal())
PROBLEM = prototypes((5, 2, 4), d=PIXELS)
BINARY = dataclasses.replace(
    PROBLEM,
    x_train=jnp.where(PROBLEM.x_train > 0, 1.0, 0.0),
    x_test=jnp.where(PROBLEM.x_test > 0, 1.0, 0.0),
)
CONVOLUTION = architectures.convolutional(depth=2, shape=SHAPE, activation="erf")


@pytest.mark.parametrize(
    ("corruption", "problem"),
    [
        (theory.Replacement(p=0.9, noise=SKEW), PROBLEM),
        (theory.Additive(p=0.8, noise=SKEW), PROBLEM),
        (theory.BinaryReplacement(p=0.7), BINARY),  # squares of pixels are no news
    ],
    ids=["replacement", "additive", "coins"],
)
def test_linear_networks_are_those_of_the_closed_form(corruption, problem):
    """One dense layer is linear in products of pixels: the projections are exact."""
    variances: dict[str, Any] = {"w_var": 1.3, "b_var": 0.2}
    stack = architectures.dense(depth=1, shape=SHAPE, activation="erf", **variances)
    arch = theory.Architecture(depth=1, activation="erf", **variances)
    options = {"copies": 2, "ridge": 0.1}
    found = theory.first_order(stack, corruption, problem, key=KEY, **options)
    law = theory.first_order(arch, corruption, problem, **options)
    # pseudo-inverses of some 60 x 33 numbers of order one
    close: dict[str, Any] = dict(rtol=1e-9, atol=1e-11)
    for name in ("mean", "cov", "gain", "offset", "noise_std"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(law, name), err_msg=name, **close
        )
    a, b = np.array([0, 3]), np.array([3, 5, 6])
    np.testing.assert_allclose(found.cross.cov(a, b), law.cross.cov(a, b), **close)
    np.testing.assert_allclose(found.metric, np.eye(PIXELS), atol=1e-9)
    assert found.diagnostics["linear_share"] > 1 - 1e-9


def exact_outputs(stack, corruption, problem, draws, ridge):
    outputs = []
    for draw in range(draws):
        x = theory.corrupt(corruption, KEY, draw, problem.x_train)
        kernel = np.asarray(architectures.gram(x, stack).ntk)
        row = np.asarray(architectures.nngp_ntk(problem.x_test, x, stack).ntk)
        kernel = kernel + ridge * np.eye(len(kernel))
        outputs.append(row @ np.linalg.solve(kernel, np.asarray(problem.y)))
    return np.stack(outputs)


@pytest.mark.parametrize(
    "pooling", ["none", pytest.param("local", marks=pytest.mark.slow)]
)
def test_against_exact_kernels_where_the_expansion_holds(pooling):
    """A ridge makes the noise of the images small: products of two are dropped."""
    stack = architectures.convolutional(
        depth=2, shape=SHAPE, activation="erf", pooling=pooling
    )
    ridge, draws = 10.0, 300
    corruption = theory.Replacement(p=0.8, noise=theory.Normal())
    law = theory.first_order(
        stack, corruption, PROBLEM, key=KEY, ridge=ridge, samples=600
    )
    assert law.diagnostics["valid"], law.diagnostics
    outputs = exact_outputs(stack, corruption, PROBLEM, draws, ridge)
    mean, cov = np.asarray(law.mean), np.asarray(law.cov)
    spread = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    # crowding and the errors of the projections, of the law itself
    slack = law.diagnostics["crowding"] + 0.05
    error = (outputs.mean(0) - mean) / (spread / np.sqrt(draws))
    signal = np.abs(mean).max() / (spread.mean() / np.sqrt(draws))
    assert np.sqrt((error**2).mean()) < 1.5 + slack * signal
    slope = (outputs.mean(0) * mean).sum() / (mean**2).sum()
    slope_error = np.sqrt((spread**2 * mean**2).sum() / draws) / (mean**2).sum()
    assert abs(slope - 1) < slack + 4 * slope_error
    # 300 draws, alike at all points at worst
    ratio = outputs.var(axis=0, ddof=1).mean() / (spread**2).mean()
    assert abs(ratio - 1) < 2 * slack + 4 * np.sqrt(2 / draws / 3)


def test_covariances_between_points_hold_those_of_each():
    law = theory.first_order(CONVOLUTION, REPLACED, PROBLEM, key=KEY)
    points = np.arange(len(law.mean))
    found = np.asarray(law.cross_cov(points, points))[points, points]
    np.testing.assert_allclose(found, law.cov, rtol=1e-12, atol=1e-15)
    assert (np.asarray(law.gain) > 0).all()
    assert 0 <= law.accuracy(PROBLEM.labels_test) <= 1
    assert theory.first_order(CONVOLUTION, REPLACED, PROBLEM).diagnostics["rank"] < 17


def test_many_images_are_doubted():
    many = prototypes((40, 40), d=PIXELS)
    law = theory.first_order(CONVOLUTION, REPLACED, many, key=KEY)
    assert not law.diagnostics["valid"]
    assert any("crowds" in text for text in law.diagnostics["doubts"])
    clean = dataclasses.replace(REPLACED, p=0.1)
    law = theory.first_order(CONVOLUTION, clean, many, key=KEY)
    assert any("p is too low" in text for text in law.diagnostics["doubts"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"isotropic": True}, "isotropic"),
        ({"test_corruption": REPLACED}, "test_corruption"),
        ({"samples": 50}, "samples"),
        ({"problem": prototypes((4, 4), d=9)}, "rows of 16 numbers, got 9"),
        ({"corruption": theory.ClippedAdditive(sigma=1.0)}, "must end in pure noise"),
        ({"arch": theory.Architecture(depth=2, activation="erf")}, "are of a Stack"),
    ],
)
def test_refuses(options, said):
    given: dict[str, Any] = {
        "arch": CONVOLUTION,
        "corruption": REPLACED,
        "problem": PROBLEM,
    }
    with raises(said):
        theory.first_order(**(given | {"key": KEY} | options))


def test_polynomials_of_noise_are_uncorrelated():
    found = pixel_polynomials(theory.Replacement(p=1.0, noise=SKEW), jnp.float64)
    x = SKEW.sample(KEY, (200_000, 1)).astype(jnp.float64)
    at = np.asarray(found.at(x))
    # errors of means of products: the fourth moment of a square over the samples
    np.testing.assert_allclose(at.T @ at / len(at), np.eye(2), atol=0.03)
    np.testing.assert_allclose(at.mean(0), 0, atol=5 / np.sqrt(len(at)))


def test_resummed_refuses_stacks_and_says_what_knows_them():
    with raises("use theory.first_order"):
        theory.resummed(CONVOLUTION, REPLACED, PROBLEM)
