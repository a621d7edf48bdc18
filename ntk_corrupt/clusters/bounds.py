"""What clusters alone say of a Jacobian, before any is computed, and of a descent.

Bounds on alpha, beta and eps of `jacobian.extremes` from the centres, the radius and
the width; on the residual, the distance and the time of gradient flow from alpha, beta
and eps; on the distance that wrong labels cost. All are proved in
docs/theory/two_layer.md, (C5) to (C12), with every constant. They say what section 10
and theorems 2.2, 2.3, 4.1 and 9.2 of the reference are about, and are not its
statements: its constants differ.

Reference: Li, Soltanolkotabi & Oymak 2020, arXiv:1903.11680.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ntk_corrupt.clusters.jacobian import Extremes
from ntk_corrupt.networks.two_layer import LeakyRelu, TwoLayer
from theory.activations import registry
from theory.activations.registry import Activation
from theory.errors import InputError
from theory.numerics.signatures import checked
from theory.two_layer import clusters

# Slopes of an activation are looked at here, zero among them.
_GRID = np.linspace(-30.0, 30.0, 60_001)
# A second difference this many times that of the next coarser grid is one of a kink.
_KINK = 1.5
# -ln of the base in the lower Chernoff bound at one half: 1/2 - (ln 2)/2.
_CHERNOFF = 0.5 - math.log(2) / 2


class Slopes(NamedTuple):
    """How steep and how curved an activation is.

    Attributes:
        gamma: largest |phi'|, Gamma.
        curved: largest |phi''|; infinite if there is a kink.
    """

    gamma: float
    curved: float


class Clustered(NamedTuple):
    """What clusters say of the Jacobian at the start, (C5) to (C7).

    Attributes:
        alpha: below the least singular value on S+; 0 if nothing is said.
        beta: above the largest on S+, and above |J|.
        eps: above the largest on S-; infinite for a kink.
        shift: above |J - J0| to the Jacobian of the centres themselves; eps is no more.
        lipschitz: above |J(W) - J(W')|/|W - W'|, Frobenius below; infinite for a kink.
    """

    alpha: float
    beta: float
    eps: float
    shift: float
    lipschitz: float


class Phases(NamedTuple):
    """What alpha, beta and eps say of gradient flow up to a time, (C8) to (C10).

    Attributes:
        plus: above the norm of the residual on S+.
        drift: above how far the residual has moved on S-.
        distance: above |W - W0|.
    """

    plus: np.ndarray
    drift: np.ndarray
    distance: np.ndarray


@checked
def slopes(activation: str | Activation) -> Slopes:
    """Returns Gamma and the largest |phi''|, on a grid of [-30, 30] that holds 0."""
    gamma, fine, coarse = (float(part) for part in _slopes(registry.get(activation)))
    # halving the step doubles the quotient at a kink and leaves it elsewhere
    return Slopes(gamma, math.inf if fine > _KINK * coarse + 1e-6 else fine)


@functools.partial(jax.jit, static_argnames="activation")
def _slopes(activation: Activation) -> tuple[Array, Array, Array]:
    grid = jnp.asarray(_GRID)
    slope = jax.jvp(activation.fn, (grid,), (jnp.ones_like(grid),))[1]
    step = grid[1] - grid[0]
    fine, coarse = (jnp.abs(jnp.diff(slope[::k])).max() / (k * step) for k in (1, 2))
    return jnp.abs(slope).max(), fine, coarse


@checked
def of_clusters(
    network: TwoLayer,
    x: Float[Array, "n d"],
    centres: Float[Array, "k d"],
    cluster: Int[Array, " n"],
) -> Clustered:
    """Returns bounds on alpha, beta, eps of a network without biases. O(n d^2 + K^3).

    Exact: they hold for these very weights, with no probability left out.

    Args:
        network: at any weights; |a_j| = 1/sqrt(m).
        x: the points.
        centres: of unit norm.
        cluster: of each point, all K of them.

    Raises:
        InputError: for a leaky rectifier whose slope is traced.
    """
    if isinstance(network.activation, LeakyRelu):
        raise InputError("`network` must have an activation of `theory.activations`.")
    bend = slopes(network.activation)
    points, middles, w = (
        np.asarray(part, np.float64) for part in (x, centres, network.w)
    )
    of = np.asarray(cluster)
    sizes, off = np.bincount(of, minlength=len(middles)), points - middles[of]
    norm = lambda matrix: float(np.linalg.norm(matrix, ord=2))
    seen = np.asarray(network.jacobian_gram(centres, centres), np.float64)
    least = math.sqrt(max(float(np.linalg.eigvalsh(seen)[0]), 0.0) * sizes.min())
    scale = float(np.abs(np.asarray(network.a, np.float64)).max())
    shift = bend.gamma * norm(off)
    # of a kink, 0 times infinity is 0 where all points are centres
    if (spread := scale * norm(w) * float(np.linalg.norm(off))) > 0:
        shift += bend.curved * spread
    length = float(np.linalg.norm(points, axis=1).max())
    return Clustered(
        alpha=max(least - shift, 0.0),
        beta=bend.gamma * norm(points),
        eps=shift,
        shift=shift,
        lipschitz=bend.curved * scale * length * norm(points),
    )


@checked
def width_for_half(
    centres: Float[Array, "k d"], activation: str | Activation, *, failure: float = 0.01
) -> float:
    """Width beyond which alpha^2 keeps half of lambda(C), (C11); infinite if that is 0.

    With probability 1 - failure over the start, by the matrix Chernoff bound: the
    covariance of m units at the centres is a mean of m independent matrices between 0
    and Gamma^2 |C|^2. What the source asks of the width is of this kind, with higher
    powers for what training moves.

    Args:
        centres: of unit norm.
        activation: of the network.
        failure: probability that is left out.

    Raises:
        InputError: unless the probability is in (0, 1).
    """
    if not 0 < failure < 1:
        raise InputError(f"`failure` must be in (0, 1), got {failure}.")
    least = float(clusters.least_eigenvalue(centres, activation))
    if least <= 0:
        return math.inf
    most = (slopes(activation).gamma * np.linalg.norm(np.asarray(centres), ord=2)) ** 2
    return float(most / least * math.log(len(centres) / failure) / _CHERNOFF)


@checked
def phases(
    found: Extremes,
    missed: Float[np.ndarray, " n"],
    basis: Float[np.ndarray, "n k"],
    times: Float[np.ndarray, " step"],
) -> Phases:
    """Returns what alpha, beta and eps allow gradient flow to do until every time.

    (C8) to (C10). Of a network with the least alpha and the largest beta and eps on its
    path, of its linearisation with those of the start; of the latter's descent too, at
    steps of 1/|J|^2 at most. If alpha is 0 little is said.

    Args:
        found: alpha, beta and eps.
        missed: f - y at time 0.
        basis: of S+, orthonormal columns.
        times: of the flow on half the sum of squares, rate times iterations.
    """
    plus = float(np.linalg.norm(basis.T @ missed))
    whole, square = float(np.linalg.norm(missed)), found.alpha**2
    mixed = found.beta * found.eps
    # sums over steps of descent as well as integrals: 1/alpha^2 at most
    until = times if square == 0 else np.minimum(times, 1 / square)
    fed = mixed * whole * until
    on_plus = np.minimum(plus * np.exp(-square * times) + fed, whole)
    spent = np.minimum(plus * until + fed * times, whole * times)
    drift = mixed * spent + found.eps**2 * whole * times
    far = found.beta * spent + found.eps * whole * times
    # the loss pays for the way
    return Phases(on_plus, drift, np.minimum(far, whole * np.sqrt(times)))


@checked
def first_stage(
    found: Extremes, missed: Float[np.ndarray, " n"], basis: Float[np.ndarray, "n k"]
) -> float:
    """Time after which the residual on S+ is at most what S- feeds, ln(...)/alpha^2.

    From then on flow has learned what is constant on clusters, up to (C8)'s remainder;
    infinite if alpha or the remainder is 0.
    """
    plus, whole = np.linalg.norm(basis.T @ missed), np.linalg.norm(missed)
    fed = found.beta * found.eps * whole
    if not found.alpha or not fed:
        return math.inf
    return max(math.log(plus * found.alpha**2 / fed), 0.0) / found.alpha**2


@checked
def least_to_learn(
    found: Extremes,
    wanted: Float[np.ndarray, " n"],
    basis: Float[np.ndarray, "n k"],
) -> float:
    """Distance budget E+/beta: the least |W - W0| that learns S+, (C4) at the start.

    Args:
        found: alpha, beta and eps at the start.
        wanted: y - f at the start.
        basis: of S+.
    """
    return float(np.linalg.norm(basis.T @ wanted) / found.beta)


@checked
def pairs(
    cluster: Int[Array, " n"], flipped: np.ndarray
) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, " s"]]:
    """Returns wrong labels, each with a right one of its own of the same cluster."""
    of, found = np.asarray(cluster), []
    for number in np.unique(of):
        sides = (np.flatnonzero((of == number) & side) for side in (flipped, ~flipped))
        found += list(zip(*sides, strict=False))
    one, two = np.array(found, int).reshape(-1, 2).T
    return one, two


@checked
def cost_of_pairs(
    gram: Float[Array, "n n"] | np.ndarray,
    change: Float[np.ndarray, " n"],
    one: Int[np.ndarray, " s"],
    two: Int[np.ndarray, " s"],
) -> float:
    """Least |W - W0| that pulls pairs of points apart by what it did, (C12).

    What theorems 2.3 and 12.1 are about: two points of a cluster that are told apart.
    Exact, by the Jacobian averaged over the segment; 0 without pairs.

    Args:
        gram: `jacobian.segment_gram` from W0 to W.
        change: f(W) - f(W0).
        one: a point of every pair.
        two: the other.
    """
    if not len(one):
        return 0.0
    matrix = np.asarray(gram, np.float64)
    rows = matrix[one] - matrix[two]
    apart = rows[:, one] - rows[:, two]
    most = float(np.linalg.eigvalsh((apart + apart.T) / 2)[-1])
    gaps = float(np.linalg.norm(change[one] - change[two]))
    return gaps / math.sqrt(most) if most > 0 else 0.0
