"""What the class-mean rule of one corruption draw leaves out, with explicit constants.

The outputs of a draw are a^T Theta^{-1} Y. To first order about a kernel that treats
all pairs of training images alike they are a class-mean rule; here the rest is bounded,
docs/theory/stability.md (R8)-(R12). NumPy in float64: a bound must outlive rounding.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

# What rounding may do, of a sum of products; beside it, to eigenvalues, n eps.
_ROUNDING = 1e-10
# Of the bounds, for rounding and quadrature.
_SLACK = 1e-6
# Test points at a time: their deviations from a class-mean rule, rows of n_train.
_BLOCK = 512


class Reference(NamedTuple):
    """The kernel kap 1 + theta_o 11^T of training images alike, theta_o >= 0.

    Attributes:
        kap: on the diagonal less off it, ridge included.
        theta_o: off the diagonal.
        theta_test: of every test point with training images.
    """

    kap: float
    theta_o: float
    theta_test: Float[np.ndarray, " n"]

    def inverse(self, rows: np.ndarray) -> np.ndarray:
        """A^{-1} times the columns of (n_train, m)."""
        n = len(rows)
        mean = rows.mean(axis=0, keepdims=True)
        return (rows - mean) / self.kap + mean / (self.kap + n * self.theta_o)

    def root(self, rows: np.ndarray) -> np.ndarray:
        """A^{-1/2} times the columns of (n_train, m)."""
        n = len(rows)
        mean = rows.mean(axis=0, keepdims=True)
        whole = np.sqrt(self.kap + n * self.theta_o)
        return (rows - mean) / np.sqrt(self.kap) + mean / whole


class Deviation(NamedTuple):
    """How a draw's kernel deviates from the reference: a known part and a bounded rest.

    Attributes:
        train: L, known, of training images, symmetric.
        test: l, known, of test points with training images.
        train_rest: bounds on what the entries have beside.
        test_rest: of test points.
    """

    train: Float[np.ndarray, "m m"]
    test: Float[np.ndarray, "n m"]
    train_rest: Float[np.ndarray, "m m"] | None
    test_rest: Float[np.ndarray, "n m"] | None


class Found(NamedTuple):
    """Of one draw: what is certain about the decisions.

    Attributes:
        rival: the class that comes nearest to the decision, bounds considered.
        gap: of the decision to it, to first order.
        bound: on what the rest does to that gap.
        settled: whether the rest cannot flip the draw's own first-order decision.
        ratio: |delta Theta|/kap in the metric of the reference, no less than it.
        least: least eigenvalue of the kernel in that metric, no more than it.
    """

    rival: Int[np.ndarray, " n"]
    gap: Float[np.ndarray, " n"]
    bound: Float[np.ndarray, " n"]
    settled: Bool[np.ndarray, " n"]
    ratio: float
    least: float


class _Trained(NamedTuple):
    """What all test points share."""

    weights: np.ndarray  # C = A^{-1} Y
    scaled: np.ndarray  # the kernel's known part in the metric of the reference
    powers: list[np.ndarray]  # of that, times A^{-1/2} L C
    rest_1: np.ndarray  # sums of the rest's rows
    rest_pairs: np.ndarray  # norms of |E||c_i - c_j| in the metric
    of_known: float
    least: float
    rest: float  # norm of the rest in the metric


def _pairs(weights: np.ndarray) -> np.ndarray:
    """|c_i - c_j|, (n_train, c, c)."""
    return np.abs(weights[:, :, None] - weights[:, None, :])


def _distances(columns: np.ndarray) -> np.ndarray:
    """Norms of differences of columns, (c, c)."""
    return np.sqrt((_pairs(columns) ** 2).sum(axis=0))


def _trained(reference: Reference, of: Deviation, y: np.ndarray, orders: int):
    weights = reference.inverse(y)
    n, c = y.shape
    scaled = reference.root(reference.root(of.train).T)
    scaled = (scaled + scaled.T) / 2
    values = np.linalg.eigvalsh(scaled)
    slack = 8 * n * np.finfo(float).eps * (1 + np.abs(values).max())
    powers = [reference.root(of.train @ weights)]
    for _ in range(orders - 1):
        powers.append(scaled @ powers[-1])
    rest_1, rest_pairs, rest = np.zeros(n), np.zeros((c, c)), 0.0
    if of.train_rest is not None:
        rest_1 = of.train_rest.sum(axis=1)
        flat = of.train_rest @ _pairs(weights).reshape(n, c * c)
        kap = reference.kap
        rest_pairs = np.sqrt((flat**2).sum(axis=0).reshape(c, c) / kap)
        rest = rest_1.max() / kap
    return _Trained(
        weights=weights,
        scaled=scaled,
        powers=powers,
        rest_1=rest_1,
        rest_pairs=rest_pairs,
        of_known=np.abs(values).max() + slack,
        least=1 + values[0] - slack,
        rest=rest,
    )


def _norms(rows: np.ndarray) -> np.ndarray:
    return np.sqrt((rows**2).sum(axis=1))


class _Points(NamedTuple):
    """Of a block of test points: first orders, and what bounds the others."""

    outputs: np.ndarray  # (n, c)
    by_rest: np.ndarray  # what the rest may change to first order, (n, c, c)
    size: np.ndarray  # of the known row in the metric
    rest: np.ndarray  # of its rest
    side: np.ndarray  # of the known row after half of the orders
    scale: np.ndarray  # of the row, for rounding


def _of_points(reference: Reference, of: Deviation, trained: _Trained, at: slice):
    theta, weights = reference.theta_test[at], trained.weights
    n, c = weights.shape
    beta = theta / (reference.kap + n * reference.theta_o)
    row = of.test[at] - beta[:, None] * of.train.sum(axis=1)[None]
    rest = np.abs(beta)[:, None] * trained.rest_1[None]
    if of.test_rest is not None:
        rest = rest + of.test_rest[at]
    known = reference.root(row.T).T
    outputs = theta[:, None] * weights.sum(axis=0)[None] + row @ weights
    # the series of the known part, but for the last order
    for order, power in enumerate(trained.powers[:-1]):
        outputs = outputs - (-1) ** order * (known @ power)
    side = known
    for _ in range((len(trained.powers) - 1) // 2):
        side = side @ trained.scaled
    return _Points(
        outputs=outputs,
        by_rest=(rest @ _pairs(weights).reshape(n, c * c)).reshape(-1, c, c),
        size=_norms(known),
        rest=_norms(rest) / np.sqrt(reference.kap),
        side=_norms(side),
        scale=np.abs(theta) * np.sqrt(n) + _norms(of.test[at]),
    )


def _bounds(points: _Points, trained: _Trained, decisions: np.ndarray):
    """Gaps of decisions to all classes, and bounds on what changes them, (n, c)."""
    chosen = np.take_along_axis(points.outputs, decisions[:, None], axis=1)
    least = trained.least - trained.rest
    if not least > 0:
        return chosen - points.outputs, np.full_like(points.outputs, np.inf)
    column = lambda part: part[:, None]
    one, tail = trained.powers[0], trained.powers[len(trained.powers) // 2]
    first, last = (_distances(part)[decisions] for part in (one, tail))
    pairs = trained.rest_pairs[decisions]
    bound = (
        np.take_along_axis(points.by_rest, decisions[:, None, None], axis=1)[:, 0]
        + column(points.side) * last / trained.least
        + column(points.rest) * (first + pairs) / least
        + column(points.size) * pairs / least
        + column(points.size) * trained.rest * first / (trained.least * least)
    )
    rounding = column(points.scale) * _distances(trained.weights)[decisions]
    return chosen - points.outputs, bound * (1 + _SLACK) + _ROUNDING * rounding


def _nearest(gap, bound, decisions):
    """The class that comes nearest to the decision, bounds considered; gap, bound."""
    margin = gap - bound if np.isfinite(bound).all() else gap.copy()
    np.put_along_axis(margin, decisions[:, None], np.inf, axis=1)
    rival = margin.argmin(axis=1)
    of_rival = lambda part: np.take_along_axis(part, rival[:, None], axis=1)[:, 0]
    return rival, of_rival(gap), of_rival(bound)


def of_draw(
    reference: Reference,
    of: Deviation,
    y: Float[np.ndarray, "m c"],
    decisions: Int[np.ndarray, " n"],
    orders: int = 1,
) -> Found:
    """Bounds what a class-mean rule leaves out of the gaps of decisions, (R8)-(R12).

    O(n_train^3) for the eigenvalues, n_train^2 (n_test + c^2) beside.

    Args:
        reference: about which is expanded.
        of: the draw's deviation from it.
        y: one-hot targets.
        decisions: class of every test point.
        orders: of the series in the known part that are summed and not bounded; 1 is
            the class-mean rule.
    """
    trained, found = _trained(reference, of, y, orders), []
    for start in range(0, len(decisions), _BLOCK):
        at = slice(start, start + _BLOCK)
        points = _of_points(reference, of, trained, at)
        own = points.outputs.argmax(axis=1)
        of_rule, of_own = (
            _nearest(*_bounds(points, trained, chosen), chosen)
            for chosen in (decisions[at], own)
        )
        found.append((*of_rule, of_own[1] > of_own[2]))
    rival, gap, bound, settled = (
        np.concatenate(part) for part in zip(*found, strict=True)
    )
    return Found(
        rival=rival,
        gap=gap,
        bound=bound,
        settled=settled,
        ratio=trained.of_known + trained.rest,
        least=trained.least - trained.rest,
    )
