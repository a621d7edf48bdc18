"""What a class-mean rule leaves out: linear algebra, where bounds are attained."""

import numpy as np
import pytest

from theory.routes.first_order import remainder
from theory.routes.first_order.remainder import Deviation, Reference

# the slack of the bounds, and of rounding where they are small
ATTAINED = 1e-5


def outputs(reference, train, test, y):
    """Of the kernel itself, by a dense solve."""
    n = len(train)
    kernel = reference.kap * np.eye(n) + reference.theta_o + train
    rows = reference.theta_test[:, None] + test
    return rows @ np.linalg.solve(kernel, y)


def gaps(f, decisions, rival):
    points = np.arange(len(f))
    return f[points, decisions] - f[points, rival]


def symmetric(rng, n, size):
    a = rng.normal(size=(n, n))
    return size * (a + a.T) / np.sqrt(8 * n)


@pytest.mark.parametrize("orders", [1, 4])
@pytest.mark.parametrize("size", [0.1, 0.6, 1.5])
def test_random_kernels_never_violate_the_bound(size, orders):
    rng = np.random.default_rng(int(100 * size) + orders)
    n, points, c = 12, 9, 3
    violated, best = 0, 0.0
    for _ in range(20):
        theta_o = rng.choice([0.0, 0.4, 3.0])
        reference = Reference(1.2, theta_o, rng.normal(size=points))
        y = np.eye(c)[rng.integers(0, c, n)]
        train, test = symmetric(rng, n, size), size * rng.normal(size=(points, n))
        rest = 0.02 * size * np.abs(symmetric(rng, n, 1.0))
        test_rest = 0.02 * size * np.abs(rng.normal(size=test.shape))
        decisions = rng.integers(0, c, points)
        found = remainder.of_draw(
            reference, Deviation(train, test, rest, test_rest), y, decisions, orders
        )
        sign = np.sign(symmetric(rng, n, 1.0))
        actual = outputs(
            reference,
            train + sign * rest,
            test + test_rest * rng.choice([-1, 1], test.shape),
            y,
        )
        exact = gaps(actual, decisions, found.rival)
        least = np.linalg.eigvalsh(
            reference.kap * np.eye(n) + theta_o + train + sign * rest
        )[0]
        if found.least > 0:
            assert least > 0
            change = np.abs(exact - found.gap)
            violated += (change > found.bound).sum()
            best = max(best, (change / found.bound).max())
            assert (exact[found.gap > found.bound] > 0).all()
        else:
            assert np.isinf(found.bound).all()
    assert violated == 0
    # not idle: some random kernel comes within a factor of ten
    assert best > 0.1 or size > 1


def test_the_inverse_attains_its_bound():
    # one direction v lowers the kernel, and carries row and weights: no constant of
    # |A^{-1/2} r| |A^{-1/2} Delta c|/least could be smaller
    n, down = 6, 0.4
    v = np.array([1, 1, 1, -1, -1, -1]) / np.sqrt(n)
    y = np.eye(2)[[0, 0, 0, 1, 1, 1]]
    reference = Reference(2.0, 0.7, np.array([0.5]))
    train, test = -down * np.outer(v, v), 0.3 * v[None]
    found = remainder.of_draw(
        reference, Deviation(train, test, None, None), y, np.array([0])
    )
    exact = gaps(outputs(reference, train, test, y), [0], found.rival)
    change = np.abs(exact - found.gap)
    np.testing.assert_allclose(change, found.bound, rtol=ATTAINED)
    np.testing.assert_allclose(found.least, 1 - down / 2, rtol=1e-12)
    np.testing.assert_allclose(found.ratio, down / 2, rtol=1e-12)


@pytest.mark.parametrize("orders", [2, 3, 4, 5])
def test_every_order_attains_its_own(orders):
    # the series in -down/kap, from its order on, is what the bound has
    n, down = 6, 0.4
    v = np.array([1, 1, 1, -1, -1, -1]) / np.sqrt(n)
    y = np.eye(2)[[0, 0, 0, 1, 1, 1]]
    reference = Reference(2.0, 0.7, np.array([0.5]))
    of = Deviation(-down * np.outer(v, v), 0.3 * v[None], None, None)
    found = remainder.of_draw(reference, of, y, np.array([0]), orders)
    exact = gaps(outputs(reference, of.train, of.test, y), [0], found.rival)
    np.testing.assert_allclose(np.abs(exact - found.gap), found.bound, rtol=ATTAINED)


def test_the_rest_of_a_row_attains_its_bound():
    n = 6
    y = np.eye(2)[[0, 0, 0, 1, 1, 1]]
    reference = Reference(2.0, 0.0, np.array([0.0]))
    none, rest = np.zeros((n, n)), np.full((1, n), 0.01)
    found = remainder.of_draw(
        reference, Deviation(none, none[:1], none, rest), y, np.array([0])
    )
    against = -rest * (y[:, 0] - y[:, 1])[None]
    exact = gaps(outputs(reference, none, against, y), [0], found.rival)
    np.testing.assert_allclose(np.abs(exact - found.gap), found.bound, rtol=ATTAINED)


def test_the_rest_of_the_kernel_comes_near_its_bound():
    # a rank-one rest against the known parts: all terms of the bound in one direction
    n = 6
    v = np.array([1, 1, 1, -1, -1, -1.0])
    y = np.eye(2)[[0, 0, 0, 1, 1, 1]]
    reference = Reference(2.0, 0.0, np.array([0.0]))
    rest, row = np.full((n, n), 0.05), 0.3 * v[None]
    of = Deviation(np.zeros((n, n)), row, rest, np.zeros((1, n)))
    found = remainder.of_draw(reference, of, y, np.array([0]))
    exact = gaps(outputs(reference, -0.05 * np.outer(v, v), row, y), [0], found.rival)
    np.testing.assert_allclose(np.abs(exact - found.gap), found.bound, rtol=ATTAINED)


def test_own_decisions_are_settled_where_gaps_exceed_bounds():
    rng = np.random.default_rng(3)
    n, points, c = 10, 200, 3
    reference = Reference(1.0, 0.2, np.full(points, 0.3))
    y = np.eye(c)[np.arange(n) % c]
    of = Deviation(symmetric(rng, n, 0.2), rng.normal(size=(points, n)), None, None)
    wrong = rng.integers(0, c, points)
    found = remainder.of_draw(reference, of, y, wrong)
    exact = outputs(reference, of.train, of.test, y).argmax(axis=1)
    assert 0.2 < found.settled.mean() < 1
    certified = found.gap > found.bound
    assert (exact[certified] == wrong[certified]).all()
    # what is certified is settled, and not the other way round
    assert (found.settled[certified]).all()
    assert found.settled.sum() > certified.sum()


def test_an_indefinite_kernel_certifies_nothing():
    reference = Reference(1.0, 0.0, np.array([0.0]))
    y, train = np.eye(2), -1.5 * np.eye(2)
    found = remainder.of_draw(
        reference, Deviation(train, np.ones((1, 2)), None, None), y, np.array([0])
    )
    assert np.isinf(found.bound).all()
    assert not found.settled.any()
    assert found.least < 0
