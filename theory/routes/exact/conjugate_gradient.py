"""Preconditioned conjugate gradients for kernels too large to factor.

Hestenes & Stiefel 1952; one recursion per right-hand side, all of them in one product.
The preconditioner is noise I + F F^T with few features F, inverted by Woodbury's
identity: for corrupted inputs, the part of the kernel that is linear in the inputs.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from theory.errors import NumericalError
from theory.kernels import propagation, slopes
from theory.kernels.architecture import Architecture
from theory.numerics.edges import matmul
from theory.records import record

Apply = Callable[[Float[Array, "n m"]], Float[Array, "n m"]]
Progress = Callable[[int, float], None]


class Solution(NamedTuple):
    """What `solve` found.

    Attributes:
        weights: the solution, one column per right-hand side.
        residual: of each column, its norm over that of the right-hand side, as the
            recursion has it; rounding of the products is not in it. None where nothing
            tells.
        iterations: how many products it took.
        least: estimate of the smallest eigenvalue that the right-hand sides see.
    """

    weights: Float[Array, "n m"]
    residual: Float[Array, " m"] | None
    iterations: int
    least: float


@record(kw_only=True)
class FeaturesAndNoise:
    """The matrix noise I + features features^T, and how to solve with it.

    Attributes:
        features: F.
        noise: the variance.
        factor: lower Cholesky factor of noise I + F^T F.
    """

    features: Float[Array, "n r"]
    noise: Float[Array, ""]
    factor: Float[Array, "r r"]

    def solve(self, v: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Returns the inverse times `v`, O(n r m)."""
        inside = jax.scipy.linalg.cho_solve(
            (self.factor, True), matmul(self.features.T, v)
        )
        return (v - matmul(self.features, inside)) / self.noise


@jax.jit
def linear_part(
    x: Float[Array, "n d"], arch: Architecture, ridge: Float[Array, ""] | float = 0.0
) -> FeaturesAndNoise:
    """Returns the kernel of `x` to first order in its inner products, as features.

    Expanded around the mean image and the mean square: a constant with what is linear
    in one point alone, docs/theory/kernels.md (F3), and the products of deviations from
    the mean image; noise is what the diagonal holds besides, and `ridge`. O(n d^2).
    """
    mean = x.mean(axis=0)
    q = propagation.first_layer_variance(x, arch)
    at = q.mean()
    middle = arch.b_var + arch.w_var * (mean**2).mean()
    entry = slopes.transfer(at, at, middle, arch)
    scale = arch.w_var / x.shape[1]
    deviations = x - mean[None]
    alone = entry.by_q1 * (q - at) + entry.by_cov * scale * matmul(deviations, mean)
    level = jnp.sqrt(jnp.maximum(entry.ntk, 0))
    # level (1 + alone/level^2): its square holds the level and what is linear in one
    common = level + jnp.where(level > 0, alone / jnp.where(level > 0, level, 1), 0)
    deviations = jnp.sqrt(jnp.maximum(entry.by_cov, 0) * scale) * deviations
    features = jnp.concatenate([common[:, None], deviations], axis=1)
    diagonal = propagation.propagate_diag(q, arch).ntk
    noise = (diagonal - (features**2).sum(axis=1)).mean() + ridge
    inside = matmul(features.T, features)
    shifted = inside + noise * jnp.eye(len(inside), dtype=x.dtype)
    return FeaturesAndNoise(
        features=features, noise=noise, factor=jnp.linalg.cholesky(shifted)
    )


@jax.jit
def _start(precondition, rhs):
    direction = precondition.solve(rhs)
    return jnp.zeros_like(rhs), rhs, direction, (rhs * direction).sum(axis=0)


@jax.jit
def _step(precondition, state, applied, norm):
    """One step of all columns; those that have nothing left stay as they are."""
    weights, residual, direction, power = state
    curvature = (direction * applied).sum(axis=0)
    left = power > 0
    length = jnp.where(left, power / jnp.where(left, curvature, 1), 0)
    weights = weights + length[None] * direction
    residual = residual - length[None] * applied
    preconditioned = precondition.solve(residual)
    new = (residual * preconditioned).sum(axis=0)
    turn = jnp.where(left, new / jnp.where(left, power, 1), 0)
    state = weights, residual, preconditioned + turn[None] * direction, new
    relative = jnp.linalg.norm(residual, axis=0) / norm
    return state, relative, jnp.where(left, curvature, jnp.inf).min(), (length, turn)


def _least_ritz_value(lengths: np.ndarray, turns: np.ndarray) -> float:
    """The smallest eigenvalue of the Lanczos matrix of one column's steps.

    Golub & Van Loan, section 11.3: the steps of conjugate gradients are its entries.
    """
    count = len(lengths) if lengths.all() else int(np.argmin(lengths != 0))
    lengths, turns = lengths[:count].astype(float), turns[:count].astype(float)
    if not count:
        return math.inf
    diagonal = 1 / lengths
    diagonal[1:] += turns[:-1] / lengths[:-1]
    beside = np.sqrt(turns[:-1]) / lengths[:-1]
    values = scipy.linalg.eigh_tridiagonal(
        diagonal, beside, eigvals_only=True, select="i", select_range=(0, 0)
    )
    return float(values[0])


def solve(
    apply: Apply,
    rhs: Float[Array, "n m"],
    precondition: FeaturesAndNoise,
    *,
    tolerance: float,
    max_iterations: int = 500,
    progress: Progress | None = None,
) -> Solution:
    """Solves K w = rhs for a positive definite K that is given by its products.

    Args:
        apply: v -> K v.
        rhs: right-hand sides.
        precondition: an approximation of K.
        tolerance: largest residual over right-hand side, of any column; that of the
            recursion, which falls on below what rounding of the products allows.
        max_iterations: products after which to give up.
        progress: called after every product with (products, largest residual).

    Raises:
        NumericalError: if K or the preconditioner is not positive definite, or it does
            not converge.
    """
    if not bool(jnp.isfinite(precondition.factor).all() & (precondition.noise > 0)):
        raise NumericalError(
            "the linear part of the kernel exceeds its diagonal (remaining variance "
            f"{float(precondition.noise):.3g}) and cannot precondition it."
        )
    norm = jnp.linalg.norm(rhs, axis=0)
    norm = jnp.where(norm > 0, norm, 1)
    state = _start(precondition, rhs)
    residual = jnp.linalg.norm(rhs, axis=0) / norm
    iterations, worst, steps = 0, float(residual.max()), []
    while worst > tolerance:
        if iterations == max_iterations:
            raise NumericalError(
                f"conjugate gradients reached a residual of {worst:.2g} for "
                f"{tolerance:.2g} in {max_iterations} products: raise `tolerance` or "
                "`max_iterations`, or pass `ridge`."
            )
        applied = apply(state[2])
        state, residual, curvature, taken = _step(precondition, state, applied, norm)
        steps.append(taken)
        iterations, worst = iterations + 1, float(residual.max())
        if not (curvature > 0 and np.isfinite(worst)):
            raise NumericalError(
                f"the kernel is indefinite (curvature {float(curvature):.2g} along a "
                "direction of conjugate gradients): use float64, or pass `ridge`."
            )
        if progress is not None:
            progress(iterations, worst)
    taken = np.asarray(steps).reshape(iterations, 2, rhs.shape[1])
    ritz = min(_least_ritz_value(*of.T) for of in np.moveaxis(taken, -1, 0))
    # of the preconditioned kernel, whose preconditioner is no less than its noise
    return Solution(state[0], residual, iterations, ritz * float(precondition.noise))
