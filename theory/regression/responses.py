"""Mean and covariance of predictions, from the deterministic equivalent.

A test point has kernel entries g + w.noise_a with the training rows a. Everything is
exact to leading order in the number of rows and features, and nothing is sampled.

Equations: docs/theory/regression.md (E5)-(E10), (E14).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.numerics.edges import matmul
from theory.records import record
from theory.regression.equivalent import Equivalent


@record(kw_only=True)
class Responses:
    """What predictions at some test points need: their duals over rows and features.

    Attributes:
        mean: mean predictions.
        rows: u_N, mean resolvent applied to the test rows.
        features: u_F.
        reach: mean^T u_N, what the rows add to the features.
    """

    mean: Float[Array, "t c"]
    rows: Float[Array, "t n"]
    features: Float[Array, "t m"]
    reach: Float[Array, "t m"]


class Apart(NamedTuple):
    """What of test rows is linear in the mean features: along mean^T, not added up.

    Attributes:
        along: weights of the mean features.
        mean: these features, in the precision of what the rows have beside.
    """

    along: Float[Array, "t m"]
    mean: Float[Array, "n m"]


def respond(
    solution: Equivalent,
    g: Float[Array, "t n"],
    w: Float[Array, "t m"],
    apart: Apart | None = None,
) -> Responses:
    """Returns mean and duals at test points: 2 t n m multiply-adds.

    Args:
        solution: of `solve`.
        g: mean kernel entries of the test points with the rows.
        w: weights of the rows' noise in them.
        apart: the part of these entries that is not in g, None for none. Sums over rows
            are then taken in the precision of g, in which `rows` is returned.
    """
    rows, kept = solution.rows, matmul(w, solution.shrink.T)
    lost = w - kept
    if apart is None:
        known, mean, rounded = -lost, rows.mean, lambda part: part
    else:
        known, mean = apart.along - lost, apart.mean
        rounded = lambda part: part.astype(g.dtype)
    k = rounded(rows.base + solution.shift)
    reach = matmul(g / k[None, :], mean) + matmul(known, solution.second)
    features = matmul(reach, solution.lam)
    return Responses(
        mean=matmul(g, rounded(solution.y_rows))
        + matmul(known, matmul(rows.mean.T, solution.y_rows)),
        rows=(g + matmul(rounded(known - features), mean.T)) / k[None, :],
        features=features - kept,
        reach=reach - matmul(features, solution.second),
    )


def _pairs_with_targets(solution: Equivalent, of: Responses) -> Float[Array, "2 t c"]:
    return jnp.stack(
        [
            matmul(of.rows, solution.y_rows.astype(of.rows.dtype)),
            matmul(of.features, matmul(solution.rows.noise, solution.y_features)),
        ]
    )


def covariance(solution: Equivalent, of: Responses) -> Float[Array, "t c c"]:
    """Returns the covariance of the predictions of each test point."""
    noisy = matmul(of.features, solution.rows.noise)
    squares = (of.rows**2).sum(axis=1, dtype=noisy.dtype)
    own = jnp.stack([squares, (noisy * of.features).sum(1)])
    mixed = _pairs_with_targets(solution, of)
    ker = solution.kernel
    return jnp.einsum("pt,pq,qij->tij", own, ker, solution.y_pairs) + jnp.einsum(
        "ptj,pq,qti->tij", mixed, ker, mixed
    )


def cross_covariance(
    solution: Equivalent, first: Responses, second: Responses
) -> Float[Array, "t1 t2 c c"]:
    """Returns Cov(f_i(first), f_j(second)) for all pairs of test points."""
    noise, ker = solution.rows.noise, solution.kernel
    own = jnp.stack(
        [
            matmul(first.rows, second.rows.T),
            matmul(matmul(first.features, noise), second.features.T),
        ]
    )
    one, two = (_pairs_with_targets(solution, of) for of in (first, second))
    return jnp.einsum("pab,pq,qij->abij", own, ker, solution.y_pairs) + jnp.einsum(
        "paj,pq,qbi->abij", one, ker, two
    )


def _reach(solution: Equivalent, g, w):
    """What `quadratic` needs of test rows: g/k, weights lost and kept, their reach."""
    rows = solution.rows
    weighted = g / (rows.base + solution.shift)[None, :]
    kept = matmul(w, solution.shrink.T)
    lost = w - kept
    return weighted, kept, lost, matmul(weighted, rows.mean)


def quadratic(
    solution: Equivalent, g: Float[Array, "t n"], w: Float[Array, "t m"]
) -> Float[Array, " t"]:
    """Returns the mean of (row) kernel^{-1} (row)^T of each test point, t n m (E8)."""
    weighted, kept, lost, reach = _reach(solution, g, w)
    moved = matmul(lost, solution.second)
    squares = (g * weighted).sum(1) + (lost * (moved - 2 * reach)).sum(1)
    reach = reach - moved
    explained = (matmul(reach, solution.lam) * reach).sum(1)
    noise = solution.tau * (matmul(w, solution.rows.noise) * kept).sum(1)
    return squares - explained + noise


def quadratic_slope(
    solution: Equivalent,
    along: Equivalent,
    of: Responses,
    w: Float[Array, "t m"],
    row_slope: tuple[Float[Array, "t n"], Float[Array, "t m"]],
    *,
    still: int = 0,
) -> Float[Array, " t"]:
    """Returns the derivative of `quadratic` as everything changes, (E14).

    It is stationary in the duals, which need none of theirs: t n (m - still).

    Args:
        solution: of `equivalent.solve`.
        along: of `derivative.along`.
        of: of `respond`.
        w: weights of the noise in the test rows.
        row_slope: derivatives of the test rows g and of w.
        still: how many of the first features do not change.
    """
    (g_slope, w_slope), tau, noise = row_slope, solution.tau, solution.rows.noise
    low = of.rows.dtype
    kept = matmul(w, solution.shrink.T)
    kept_slope = matmul(w_slope, solution.shrink.T) + matmul(w, along.shrink.T)
    lost, lost_slope = w - kept, w_slope - kept_slope
    by_mean = matmul(of.rows, along.rows.mean[:, still:].astype(low))
    by_mean = jnp.pad(by_mean, ((0, 0), (still, 0)))
    bases = (along.rows.base + along.shift).astype(low)[None, :]
    rows = (of.rows * (2 * g_slope - of.rows * bases)).sum(axis=1, dtype=tau.dtype)
    lost_too = lost + matmul(of.reach, solution.bare)
    features = 2 * (lost_slope * of.reach + lost_too * by_mean).sum(axis=1)
    features += (matmul(of.reach, along.bare) * of.reach).sum(axis=1)
    noisy = matmul(w, noise)
    moved = along.tau * noisy + tau * matmul(w, along.rows.noise)
    own = (moved * kept).sum(axis=1)
    own += tau * (matmul(w_slope, noise) * kept + noisy * kept_slope).sum(axis=1)
    return rows - features + own


def bilinear(
    solution: Equivalent,
    first: tuple[Float[Array, "t1 n"], Float[Array, "t1 m"]],
    second: tuple[Float[Array, "t2 n"], Float[Array, "t2 m"]],
) -> Float[Array, "t1 t2"]:
    """Returns `quadratic` for the rows (g, w) of pairs of test points."""
    g1, w1 = first
    _, _, lost1, reach1 = _reach(solution, *first)
    weighted2, kept2, lost2, reach2 = _reach(solution, *second)
    moved1, moved2 = (matmul(lost, solution.second) for lost in (lost1, lost2))
    squares = (
        matmul(g1, weighted2.T)
        + matmul(lost1, (moved2 - reach2).T)
        - matmul(reach1, lost2.T)
    )
    explained = matmul(matmul(reach1 - moved1, solution.lam), (reach2 - moved2).T)
    noise = solution.tau * matmul(matmul(w1, solution.rows.noise), kept2.T)
    return squares - explained + noise


def independent(solution: Equivalent) -> Float[Array, "c c"]:
    """Returns what noise of unit variance, independent in all entries of a row, adds.

    The second moments of its predictions (E10); to `quadratic` it adds tau.
    """
    return jnp.tensordot(solution.kernel[1], solution.y_pairs, 1)


def random_rows(
    solution: Equivalent, weight_cov: Float[Array, "m m"]
) -> tuple[Float[Array, "c c"], Float[Array, ""]]:
    """Returns what a random test row w.phi_a, w of mean zero, has on average (E9).

    The row is linear in the features: g = mean w. For noise of the test point itself.

    Args:
        solution: of `equivalent.solve`.
        weight_cov: covariance of w.

    Returns:
        The second moments of its predictions, and the mean of `quadratic`.
    """
    rows, lam, second = solution.rows, solution.lam, solution.second
    k = rows.base + solution.shift
    kept = matmul(matmul(solution.shrink, weight_cov), solution.shrink.T)
    # u_F = -left w, u_N = (base + omega)^{-1} mean left w
    left = jnp.eye(lam.shape[0], dtype=lam.dtype) - matmul(lam, second)
    spread = matmul(matmul(left, kept), left.T)
    own = jnp.stack([(spread * solution.third).sum(), (spread * rows.noise).sum()])
    on_targets = jnp.stack(
        [
            matmul(left.T, matmul(rows.mean.T, solution.y_rows / k[:, None])),
            -matmul(left.T, matmul(rows.noise, solution.y_features)),
        ]
    )
    mixed = jnp.einsum("pmi,mn,qnj->pqij", on_targets, kept, on_targets)
    ker, predicted = solution.kernel, matmul(rows.mean.T, solution.y_rows)
    moments = (
        jnp.einsum("mi,mn,nj->ij", predicted, kept, predicted)
        + jnp.einsum("p,pq,qij->ij", own, ker, solution.y_pairs)
        + jnp.einsum("pq,pqij->ij", ker, mixed)
    )
    norm = (kept * (second - matmul(second, matmul(lam, second)))).sum()
    noise = matmul(solution.shrink, weight_cov)
    return moments, norm + solution.tau * (rows.noise * noise).sum()
