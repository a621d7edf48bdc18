"""Which decisions of the class mean no higher order can flip.

For a given draw of the corrupted training images the outputs are known to first order,
a class-mean rule, and what is left is bounded: docs/theory/stability.md (R1)-(R12).
Where the gap of a decision exceeds the bound, the network that is trained on that draw
to the end, averaged over initialisations at infinite width, decides as the class mean:
a theorem, not an estimate. Beside it stands the probability of a flip.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from theory.activations import majorants
from theory.activations.majorants import Interval
from theory.corruption.base import Corruption
from theory.corruption.corruptions import Additive, Replacement
from theory.errors import InputError, check_count
from theory.kernels import curvature, matrices, propagation
from theory.kernels.architecture import Architecture
from theory.kernels.slopes import transfer
from theory.kernels.truncation import check_points
from theory.numerics.signatures import checked
from theory.outputs.calibration import lower_bound
from theory.outputs.flips import flip_probability
from theory.outputs.law import OutputLaw
from theory.problem import Problem
from theory.routes.exact.draw_loop import CorruptionDraws
from theory.routes.first_order import remainder
from theory.routes.first_order.class_means import class_mean_scores
from theory.routes.first_order.law import check_ends_in_noise, first_order
from theory.routes.first_order.pure_noise import PureNoise, pure_noise
from theory.routes.first_order.remainder import Deviation, Reference
from theory.routes.first_order.trained import raw_moments

# Ranges are a little wider than what they hold, for rounding.
_WIDER = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
    """What is certain about the decisions of the class mean, draw by draw.

    Attributes:
        decisions: of the class mean, one for every test point.
        rival: the class that comes nearest to the decision, bounds considered.
        gap: of the draw's first-order outputs, of the decision to the rival.
        bound: on what all higher orders together do to that gap; infinite where the
            kernel of the draw is not certain to be positive definite.
        settled: whether higher orders cannot flip what the draw's first order decides,
            be it the class mean's decision or another.
        flip: probability of another decision, of a law: an estimate.
        ratio: of every draw, |Theta - Theta_0|/kap, no less than it: the series of the
            inverse converges below 1, the bound holds beyond.
        least: of every draw, a lower bound on the least eigenvalue of the kernel, in
            units of those of Theta_0.
    """

    decisions: Int[np.ndarray, " n"]
    rival: Int[np.ndarray, "draw n"]
    gap: Float[np.ndarray, "draw n"]
    bound: Float[np.ndarray, "draw n"]
    settled: Bool[np.ndarray, "draw n"]
    flip: Float[np.ndarray, " n"]
    ratio: Float[np.ndarray, " draw"]
    least: Float[np.ndarray, " draw"]

    @property
    def certified(self) -> Bool[np.ndarray, "draw n"]:
        """Where the exact kernel of the draw decides as the class mean, for certain."""
        return self.gap > self.bound

    def probability(self, confidence: float = 0.95) -> Float[np.ndarray, " n"]:
        """Returns lower bounds on the probability that a draw keeps the decision.

        Of Clopper and Pearson, from the number of certified draws: with probability
        `confidence` over the draws at hand the bound of a point holds. k draws that are
        all certified give (1 - confidence)^(1/k).

        Raises:
            InputError: for a confidence that is none.
        """
        return lower_bound(self.certified.sum(axis=0), len(self.gap), confidence)


def _numpy(*parts) -> list[np.ndarray]:
    return [np.asarray(part, float) for part in parts]


def _interval(*parts) -> Interval:
    """The range of all numbers at hand."""
    low, high = (fn([fn(part) for part in parts]) for fn in (np.min, np.max))
    return Interval(float(low) * (1 - _WIDER), float(high) * (1 + _WIDER))


def _quadratic(hess: np.ndarray, *sizes: np.ndarray) -> np.ndarray:
    """Half of the largest quadratic form for changes of these sizes; broadcasts."""
    total = sum(
        hess[i, j] * one * two
        for i, one in enumerate(sizes)
        for j, two in enumerate(sizes)
    )
    return np.asarray(total) / 2


def _about_noise(
    arch: Architecture, pure: PureNoise, mean: float, seen: Problem, ridge: float
) -> tuple[Reference, Deviation]:
    """The kernel of a draw about that of pure noise: (R6)-(R8)."""
    x, x_test = seen.x_train, seen.x_test
    q_test = propagation.first_layer_variance(x_test, arch)
    k_test = arch.b_var + arch.w_var * mean * x_test.mean(axis=1)
    at_test = transfer(q_test, pure.q, k_test, arch)
    q, cov, rows, q_test, k_test = _numpy(
        propagation.first_layer_variance(x, arch),
        propagation.first_layer_covariance(x, x, arch),
        propagation.first_layer_covariance(x_test, x, arch),
        q_test,
        k_test,
    )
    q_0, k_0, slope_d, slope_q, slope_k = map(
        float, (pure.q, pure.cov, pure.slope_d, pure.slope_q, pure.slope_k)
    )
    off = ~np.eye(len(q), dtype=bool)
    widest = lambda *parts: max(np.abs(p).max() for p in parts) * (1 + _WIDER)
    of_q = _interval(q, q_0)
    hess = curvature.pair_curvature(arch, of_q, of_q, widest(cov[off], [k_0]))
    hess_test = curvature.pair_curvature(
        arch, _interval(q_test), of_q, widest(rows, k_test)
    )
    d_q, d_k, d_rows = q - q_0, cov - k_0, rows - k_test[:, None]
    train = slope_q * (d_q[:, None] + d_q[None, :]) + slope_k * d_k
    sizes = np.abs(d_q)
    rest = _quadratic(hess, sizes[:, None], sizes[None, :], np.abs(d_k))
    np.fill_diagonal(train, slope_d * d_q)
    np.fill_diagonal(rest, curvature.diag_curvature(arch, of_q) * d_q**2 / 2)
    by_q, by_k, ntk = _numpy(at_test.by_q2, at_test.by_cov, at_test.ntk)
    reference = Reference(float(pure.kap) + ridge, max(float(pure.theta_o), 0.0), ntk)
    return reference, Deviation(
        train=train,
        test=by_q[:, None] * d_q[None] + by_k[:, None] * d_rows,
        train_rest=rest,
        test_rest=_quadratic(hess_test[1:, 1:], sizes[None, :], np.abs(d_rows)),
    )


def _measured(
    arch: Architecture, seen: Problem, ridge: float
) -> tuple[Reference, Deviation]:
    """The kernel of a draw about the mean of its own entries."""
    kernel, rows = _numpy(
        matrices.ntk_gram(seen.x_train, arch),
        matrices.ntk(seen.x_test, seen.x_train, arch),
    )
    n = len(kernel)
    diag = np.diagonal(kernel)
    theta_o = max((kernel.sum() - diag.sum()) / max(n * (n - 1), 1), 0.0)
    kap = diag.mean() - theta_o
    train = kernel - theta_o - kap * np.eye(n)
    theta_test = rows.mean(axis=1)
    return (
        Reference(kap + ridge, theta_o, theta_test),
        Deviation(train, rows - theta_test[:, None], None, None),
    )


@checked
def certificate(
    arch: Architecture,
    corruption: Corruption,
    problem: Problem,
    *,
    draws: int,
    key: Array,
    first_draw: int = 0,
    copies: int = 1,
    ridge: float = 0.0,
    orders: int = 1,
    measured: bool = False,
    law: OutputLaw | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Certificate:
    """Certifies decisions of the class mean, for the draws of `theory.exact`.

    A point is certified at a draw where the gap that the draw has to first order, of
    the class mean's decision to any other class, exceeds a bound on all that is left:
    the curvature of the kernel function over the range of lengths and overlaps that the
    draw and the test points occupy, and the inverse. The bound holds for every draw; it
    takes no more of it than the products of its images.

    O(draws n_train^3), as `theory.exact`, beside n_train^2 (n_test + c^2); host,
    float64. How tight: docs/theory/stability.md.

    Args:
        arch: the architecture; activations that are smooth, relu and leaky relu.
        corruption: `Replacement` or `Additive`, as in `theory.first_order`; any
            corruption where `measured`.
        problem: the data, in float64.
        draws: number of draws.
        key: of the draws: those of `theory.exact` with this key.
        first_draw: number of the first.
        copies: corrupted copies of each training image.
        ridge: added to the diagonal of the kernel, in its units.
        orders: of the series of the inverse that are summed instead of bounded: what
            orders decide? 1 is the class-mean rule.
        measured: takes the kernel itself in place of its linearisation, and its own
            mean entries as reference: the curvature is then known, and the inverse
            alone is bounded. As costly as solving; it tells where the bound loses.
        law: of the outputs, whose probability of a flip stands beside; the first
            order's by default.
        progress: called after every draw with (draws done, draws).

    Raises:
        InputError: bad arguments; an activation whose derivatives have no bounds.
        NumericalError: a kernel whose quadrature is truncated.
    """
    found = CorruptionDraws(
        corruption=corruption,
        problem=problem,
        key=key,
        draws=draws,
        first_draw=first_draw,
        copies=copies,
        test_corruption=None,
    )
    found.check(arch, ridge)
    found.check_memory(matrices=6)
    check_count("orders", orders)
    if problem.x_train.dtype != jnp.float64:
        raise InputError(
            "`problem` must be in float64, for a bound must outlive rounding, got "
            f"{problem.x_train.dtype}: enable jax_enable_x64."
        )
    decisions = np.asarray(class_mean_scores(problem).argmax(axis=1))
    if not measured:
        check_ends_in_noise(corruption)
        majorants.check(arch.phi)
        assert isinstance(corruption, Replacement | Additive)
        mean, square, *_ = map(float, raw_moments(corruption, problem.x_train.dtype))
        pure = pure_noise(arch, jnp.asarray(mean), jnp.asarray(square))
    if law is None:
        law = first_order(arch, corruption, problem, copies=copies, ridge=ridge)
    results = []
    for draw in range(first_draw, first_draw + draws):
        seen = found.seen(draw)
        check_points(arch, seen.x_train, seen.x_test)
        of = (
            _measured(arch, seen, ridge)
            if measured
            else _about_noise(arch, pure, mean, seen, ridge)
        )
        results.append(
            remainder.of_draw(*of, np.asarray(seen.y, float), decisions, orders)
        )
        if progress is not None:
            progress(len(results), draws)
    stacked = {
        name: np.stack([getattr(each, name) for each in results])
        for name in remainder.Found._fields
    }
    return Certificate(
        decisions=decisions,
        flip=np.asarray(flip_probability(law, decisions)),
        **stacked,
    )
