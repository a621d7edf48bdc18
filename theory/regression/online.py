"""Regression on a stream of noisy rows, each of them seen once.

Kernel entries between rows are (scale)(phi W phi^T)(scale), phi = mean + noise with
features of one covariance Sigma. Where no row comes twice, its kernel with itself, the
base of `theory.regression.equivalent`, never meets a residual again: what is learned is
a flow of m weights, in closed form at any time. What remains of the noise is that of
stochastic gradients, `theory.regression.gradient_noise`. Nothing here knows of
networks.

Equations: docs/theory/online.md (O1)-(O3), (O6)-(O8).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.numerics.edges import matmul
from theory.records import record

# Directions of the rows slower than so many roundings of the fastest are none.
_ROUNDINGS = 64


@record(kw_only=True)
class Stream:
    """Rows that are seen with noise of their own each time.

    Their scales are random, exp(s) times a number, s Gaussian and correlated with the
    noise of the features; all that is needed of them are mean values.

    Attributes:
        once: mean of scale times features.
        mean: mean features where rows are weighted by the square of their scale.
        square: mean square of the scale.
        weight: W, symmetric, may be indefinite.
        noise: Sigma.
        shaken: the covariance of what noise and random scale together do to features.
        y: targets.
    """

    once: Float[Array, "n m"]
    mean: Float[Array, "n m"]
    square: Float[Array, " n"]
    weight: Float[Array, "m m"]
    noise: Float[Array, "m m"]
    shaken: Float[Array, "m m"]
    y: Float[Array, "n c"]


@record(kw_only=True)
class Flow:
    """How the weights of the features move, mode by mode.

    Attributes:
        rates: eigenvalues of L^T W L, with C = L L^T the second moments of the rows.
        back: L times their eigenvectors: test weights v = W phi have v back.
        onto: L^{-T} times them: sums over rows of features have onto^T (sum).
        targets: onto^T of the sum of features and targets.
        noise: onto^T shaken onto.
        spread: onto^T of the fourth powers' (sum of square^2 mean mean^T) onto.
    """

    rates: Float[Array, " k"]
    back: Float[Array, "m k"]
    onto: Float[Array, "m k"]
    targets: Float[Array, "k c"]
    noise: Float[Array, "k k"]
    spread: Float[Array, "k k"]


def _moments(stream: Stream, weights: Float[Array, " n"]) -> Float[Array, "m m"]:
    """Sum over rows of weights times second moments of their features, n m^2."""
    means = matmul((stream.mean * weights[:, None]).T, stream.mean)
    return means + weights.sum() * stream.noise


def flow(stream: Stream) -> Flow:
    """Returns the modes: 2 n m^2 multiply-adds and two decompositions of m x m."""
    # features in units in which their weights are alike: what is small is then slow
    size = jnp.abs(jnp.diagonal(stream.weight)) ** 0.5
    unit = jnp.where(size > 0, size, 1.0)
    second = unit[:, None] * _moments(stream, stream.square) * unit[None, :]
    values, vectors = jnp.linalg.eigh((second + second.T) / 2)
    kept = values > _ROUNDINGS * jnp.finfo(values.dtype).eps * values.max()
    root = jnp.sqrt(jnp.where(kept, values, 1.0))
    lower = vectors * jnp.where(kept, root, 0.0)[None, :] / unit[:, None]
    inverse = vectors * jnp.where(kept, 1 / root, 0.0)[None, :] * unit[:, None]
    system = matmul(lower.T, matmul(stream.weight, lower))
    rates, turned = jnp.linalg.eigh((system + system.T) / 2)
    onto = matmul(inverse, turned)
    fourth = stream.square[:, None] * stream.mean
    within = lambda part: matmul(onto.T, matmul(part, onto))
    return Flow(
        rates=rates,
        back=matmul(lower, turned),
        onto=onto,
        targets=matmul(onto.T, matmul(stream.once.T, stream.y)),
        noise=within(stream.shaken),
        spread=within(matmul(fourth.T, fourth)),
    )


def learned(rates: Array, time: Array) -> Array:
    """Returns (1 - e^{-rate time})/rate, of any sign of the rate."""
    exponent = rates * time
    small = jnp.abs(exponent) < jnp.sqrt(jnp.finfo(exponent.dtype).eps)
    ratio = -jnp.expm1(-exponent) / jnp.where(small, 1.0, rates)
    return jnp.where(small, time * (1 - exponent / 2), ratio)


def readout(flow: Flow, time: Array) -> Float[Array, "m c"]:
    """Returns what test weights v = W phi are multiplied by: outputs, (O3)."""
    return matmul(flow.back, learned(flow.rates, time)[:, None] * flow.targets)


@record(kw_only=True)
class Start:
    """The random function that a network starts as, seen by the rows, (O6).

    Attributes:
        rows: onto^T X, X the part of the kernel that its features and scales carry.
        square: onto^T (sum over pairs of features K features^T) onto.
        own: sum over rows of their own variance.
    """

    rows: Float[Array, "k m"]
    square: Float[Array, "k k"]
    own: Float[Array, ""]


def start(
    stream: Stream,
    flow: Flow,
    mean_slope: Float[Array, "n m"],
    weight_slope: Float[Array, "m m"],
    scale_slope: Float[Array, " n"],
    own: Float[Array, " n"],
) -> Start:
    """Returns what the flow makes of a random function of kernel K.

    Args:
        stream: the rows.
        flow: their modes.
        mean_slope: of d/ds mean at s = 0, where s K is added to the kernel.
        weight_slope: d/ds W.
        scale_slope: d/ds of the logarithm of the scale.
        own: K of every row with itself.
    """
    carried = _moments(stream, stream.square * scale_slope)
    weighted = stream.mean * stream.square[:, None]
    carried = carried + matmul(weighted.T, mean_slope)
    rows = matmul(flow.onto.T, carried)
    half = matmul(rows, matmul(stream.weight, flow.back))
    change = matmul(flow.back.T, matmul(weight_slope, flow.back))
    return Start(
        rows=rows,
        square=half + half.T + change,
        own=own.sum(),
    )


def start_left(
    flow: Flow,
    of: Start,
    time: Array,
    one: tuple[Float[Array, "t m"], Float[Array, "t m"]],
    two: tuple[Float[Array, "s m"], Float[Array, "s m"]] | None = None,
) -> Array:
    """Returns what the flow takes from the kernel K of test rows, (O7).

    Args:
        flow: the modes.
        of: the start.
        time: of the flow.
        one: test weights v, and d/ds of them.
        two: of others, for all pairs; None pairs each row with itself.
    """

    def parts(rows):
        v, slope = rows
        done = matmul(v, flow.back) * learned(flow.rates, time)[None, :]
        return done, matmul(v, of.rows.T) + matmul(slope, flow.back)

    done, sees = parts(one)
    if two is None:
        return (done * (matmul(done, of.square) - 2 * sees)).sum(axis=1)
    other, also = parts(two)
    cross = matmul(done, also.T) + matmul(sees, other.T)
    return matmul(matmul(done, of.square), other.T) - cross


def random_start_left(
    flow: Flow,
    of: Start,
    time: Array,
    cov: Float[Array, "m m"],
    slope: Float[Array, "m m"],
) -> Float[Array, ""]:
    """Mean of `start_left` of random test weights: their covariance, and d/ds of it."""
    done = flow.back * learned(flow.rates, time)[None, :]
    own = matmul(done.T, matmul(cov, done))
    seen = matmul(done.T, matmul(cov, of.rows.T))
    # the weights times their slope: half of that of their covariance
    moved = matmul(done.T, matmul(slope, flow.back)) / 2
    return (own * of.square).sum() - 2 * jnp.trace(seen + moved)
