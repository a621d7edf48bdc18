"""Where the class-mean law trusts itself: its small parameters, and what it says."""

import jax
import numpy as np
import pytest
from problems import prototypes

from theory.corruption.corruptions import Replacement
from theory.kernels.architecture import Architecture
from theory.kernels.slopes import transfer, transfer_diag
from theory.routes.first_order import validity
from theory.routes.first_order.law import first_order

ARCH = Architecture(depth=3, activation="erf", w_var=1.2, b_var=0.1)
POINTS = 30  # and shapes: as in test_certificate.py


def problem(seed=0):
    return prototypes((6, 6, 6), n_test=POINTS, d=2000, spread=1.5, seed=seed)


def by_hand(p):
    """(F13) and (F14) from dense matrices."""
    data = problem()
    x, x_test, y = (np.asarray(v) for v in (data.x_train, data.x_test, data.y))
    (n, d), q, k0 = x.shape, 0.1 + 1.2, 0.1
    at, on = transfer(q, q, k0, ARCH), transfer_diag(q, ARCH)
    theta_o = float(at.ntk)
    slope = float(at.by_cov) * 1.2
    kap = float(on.ntk) - theta_o
    inverse = np.linalg.inv(kap * np.eye(n) + theta_o)
    weights = inverse @ y
    first = x_test @ x.T @ weights
    kernel = (1 - p) ** 2 * slope * x @ x.T / d
    second = x_test @ x.T @ inverse @ kernel @ weights
    first, second = (s - s.mean(axis=1, keepdims=True) for s in (first, second))
    return (first * second).sum() / (first**2).sum(), n / d * (slope / kap) ** 2


def test_small_parameters_by_dense_matrices():
    found = first_order(ARCH, Replacement(p=0.7), problem()).diagnostics
    images, crowding = by_hand(0.7)
    np.testing.assert_allclose(found["images"], images, rtol=1e-9)
    np.testing.assert_allclose(found["crowding"], crowding, rtol=1e-9)


def test_it_says_which_is_large():
    law = lambda p: first_order(ARCH, Replacement(p=p), problem())
    fine, images = law(0.9), law(0.0)
    assert fine.diagnostics["valid"]
    assert fine.diagnostics["doubts"] == ()
    assert "NOT VALID" not in repr(fine)
    # of images that are close to their class means
    assert images.diagnostics["images"] > 0.5
    assert images.diagnostics["doubts"] == (validity.MORE_THAN_MEANS,)
    assert "NOT VALID" in repr(images)


@pytest.mark.parametrize("large", ["images", "crowding"])
def test_what_is_not_a_number_is_not_valid(large):
    fine = {"images": np.float64(0.1), "crowding": np.float64(0.1)}
    for value in (9.0, np.nan):
        found = validity.judged({**fine, large: np.float64(value)})
        assert not found["valid"]
        assert len(found["doubts"]) == 1
    assert validity.judged(fine)["valid"]


def test_traced_ones_have_numbers_alone():
    def images(p):
        found = first_order(ARCH, Replacement(p=p), problem()).diagnostics
        assert "valid" not in found
        return found["images"]

    plain = first_order(ARCH, Replacement(p=0.7), problem()).diagnostics["images"]
    np.testing.assert_allclose(jax.jit(images)(0.7), plain, rtol=1e-9)


@pytest.mark.slow
def test_many_images_in_few_pixels_are_crowded():
    few = prototypes((30, 30, 30), n_test=POINTS, d=20, seed=1)
    plain = first_order(ARCH, Replacement(p=0.99), few).diagnostics
    kept = first_order(ARCH, Replacement(p=0.99), few, isotropic=True).diagnostics
    assert validity.CROWDED in plain["doubts"]
    assert validity.CROWDED not in kept["doubts"]
