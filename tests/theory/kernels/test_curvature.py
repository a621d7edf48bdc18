"""Bounds on second derivatives of kernel entries, against dense sampling."""

import numpy as np
import pytest
from closeness import raises

from theory.activations import majorants, registry
from theory.activations.majorants import Interval
from theory.kernels.architecture import Architecture
from theory.kernels.curvature import diag_curvature, pair_curvature
from theory.kernels.slopes import transfer, transfer_diag

STEP = 1e-4
# central differences of first derivatives: STEP^2/6 of fourth ones, a few units
SAMPLED = 1e-6
ACTIVATIONS = [
    "erf",
    "relu",
    *(pytest.param(n, marks=pytest.mark.slow) for n in ("tanh", "gelu", "leaky_relu")),
]
BOXES = {
    "odd about zero": (Interval(0.9, 1.1), Interval(0.85, 1.2), 0.2),
    "lengths apart": (Interval(0.2, 0.3), Interval(1.4, 1.6), 0.35),
}


def sampled_hessian(arch, one, two, cov):
    """Largest second derivatives on a grid of the box, ends included."""
    axes = [np.linspace(*one, 6), np.linspace(*two, 6), np.linspace(-cov, cov, 18)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    columns = []
    for axis in range(3):
        ends = []
        for sign in (1, -1):
            at = transfer(*(grid + sign * STEP * np.eye(3)[axis][None]).T, arch)
            ends.append(np.stack([at.by_q1, at.by_q2, at.by_cov], axis=-1))
        columns.append((ends[0] - ends[1]) / (2 * STEP))
    return np.abs(np.stack(columns, axis=-1)).max(axis=0)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_no_sample_exceeds_the_bound_and_some_come_near(name, box):
    arch = Architecture(depth=3, activation=name, w_var=1.3, b_var=0.05)
    one, two, cov = BOXES[box]
    bound, found = (
        pair_curvature(arch, one, two, cov),
        sampled_hessian(arch, *BOXES[box]),
    )
    assert (found <= bound + SAMPLED).all()
    # no constant can be much smaller: at most 4 times the largest sample in k twice,
    # and 40 in lengths, where ranges of deeper layers count
    assert bound[2, 2] < 4 * found[2, 2]
    assert (bound < 60 * found).all()
    np.testing.assert_allclose(bound, bound.T, rtol=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_diagonal_too(name):
    arch = Architecture(depth=3, activation=name, w_var=1.3, b_var=0.05)
    q = np.linspace(0.85, 1.2, 60)
    ends = [np.asarray(transfer_diag(q + step, arch).by_q) for step in (STEP, -STEP)]
    found = np.abs((ends[0] - ends[1]) / (2 * STEP)).max()
    bound = diag_curvature(arch, Interval(0.85, 1.2))
    assert found - SAMPLED <= bound <= 5 * found + SAMPLED


def test_two_layers_of_erf_by_hand():
    # H = F + k F_c; at q1 = q2 = q, k -> 0 the only second derivatives that are left
    # are H_1k = F_1c + F_1c = 2 F_1c with F_c = (4/pi)/(1 + 2q): -8/pi/(1 + 2q)^2 ...
    arch = Architecture(depth=2, activation="erf")
    q = Interval(1.0, 1.0)
    bound = pair_curvature(arch, q, q, 1e-9)
    by_hand = 2 * (4 / np.pi) / 3 / 3  # of F_c = (4/pi)((1+2q1)(1+2q2))^(-1/2)
    exact = np.array([[0, 0, by_hand], [0, 0, by_hand], [by_hand, by_hand, 0]])
    # the bound of an odd part is that of its root mean square: 1.2 times as large here
    assert (bound >= exact - 1e-12).all()
    assert (bound <= 1.5 * exact + 1e-8).all()


def test_rectifiers_have_none_at_correlation_one():
    arch = Architecture(depth=2, activation="relu")
    assert np.isinf(pair_curvature(arch, Interval(1, 1), Interval(1, 1), 1.0)).all()


@pytest.mark.slow  # one of them is refused in test_certificate.py too
@pytest.mark.parametrize("fn", [abs, lambda u: u * abs(u), lambda u: abs(u + 0.5)])
def test_kinks_are_refused(fn):
    kinked = registry.custom(fn, name="kinked")
    with raises("`activation` must be smooth"):
        majorants.check(kinked)


@pytest.mark.parametrize(
    "name",
    [
        "erf",
        "relu",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("gelu", "tanh")),
    ],
)
def test_smooth_ones_are_taken(name):
    majorants.check(registry.get(name))
