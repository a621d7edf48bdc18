"""Preconditioned conjugate gradients for kernels too large to factor.

In blocks: every right-hand side is solved in the directions of all of them (O'Leary
1980). Directions that depend on others are left out of a block, and the residuals of
all right-hand sides are kept one by one (the breakdown-free form: Ji & Li 2017, BIT
57, 379): coinciding, vanishing and finished right-hand sides need no other treatment.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from theory.errors import NumericalError
from theory.numerics.edges import matmul
from theory.routes.exact.preconditioners import FeaturesAndNoise

Apply = Callable[[Float[Array, "n m"]], Float[Array, "n m"]]
Progress = Callable[[int, float], None]

# Share of the square of a direction that must be its own. With less, what rounding adds
# to it, 1e-16 over the root of the share, is conjugate to nothing.
_DEPENDENT = 1e-8


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


class _Block(NamedTuple):
    """Directions P, orthonormal to the preconditioner M, and what it does to them.

    Attributes:
        directions: P.
        weighed: M P.
        applied: K P.
        root: lower Cholesky factor of P^T K P, of float64.
    """

    directions: Array
    weighed: Array
    applied: Array
    root: np.ndarray


class _Small(NamedTuple):
    """What of a block the estimate of the smallest eigenvalue needs.

    Attributes:
        root: as in `_Block`.
        turn: P^T M (previous P), of the first (k, 0).
    """

    root: np.ndarray
    turn: np.ndarray


@jax.jit
def _preconditioned(precondition, residual, chosen, scale):
    given = residual[:, chosen] * scale[None]
    return given, precondition.solve(given)


_inner = jax.jit(lambda u, v: matmul(u.T, v))
_rotated = jax.jit(lambda u, v, rotation: (matmul(u, rotation), matmul(v, rotation)))


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _conjugate(new, given, directions, weighed, turn):
    return new - matmul(directions, turn), given - matmul(weighed, turn)


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _advanced(weights, residual, block_of, lengths):
    directions, applied = block_of
    weights = weights + matmul(directions, lengths)
    residual = residual - matmul(applied, lengths)
    return weights, residual, jnp.linalg.norm(residual, axis=0)


def _wide(matrix: Array) -> np.ndarray:
    return np.asarray(matrix, float)


def _orthonormal(squares: np.ndarray, eps: float) -> np.ndarray:
    """T with T^T squares T = 1, as many columns as there are independent ones."""
    squares = (squares + squares.T) / 2
    sizes = np.diagonal(squares)
    scale = 1 / np.sqrt(np.where(sizes > 0, sizes, np.inf))
    values, vectors = np.linalg.eigh(scale[:, None] * squares * scale[None])
    kept = values > max(len(values) * eps, _DEPENDENT) * values[-1]
    return scale[:, None] * vectors[:, kept] / np.sqrt(values[kept])[None]


def _filled(rotation: np.ndarray, like: Array) -> Array:
    """With columns of zeros for those left out: blocks of few sizes, few programs."""
    missing = len(rotation) - rotation.shape[1]
    return jnp.asarray(np.pad(rotation, ((0, 0), (0, missing))), like.dtype)


def _solved(root: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """(P^T K P)^{-1} rhs where directions are, zero where they were left out."""
    found, there = np.zeros_like(rhs), len(root)
    found[:there] = scipy.linalg.cho_solve((root, True), rhs[:there])
    return found


def _root(power: np.ndarray, count: int) -> np.ndarray:
    """The lower Cholesky factor of P^T K P of the `count` directions there are."""
    power = (power + power.T)[:count, :count] / 2
    if not np.isfinite(power).all() or not count:
        least = math.nan
    elif (least := np.linalg.eigvalsh(power)[0]) > 0:
        return np.linalg.cholesky(power)
    raise NumericalError(
        f"the kernel is indefinite (curvature {least:.2g} along a direction of "
        "conjugate gradients): use float64, or pass `ridge`."
    )


def _next_block(apply, given, new, before: _Block | None):
    """Directions from the preconditioned residuals `new`, conjugate to those before."""
    eps, there = float(jnp.finfo(new.dtype).eps), 0
    turn = np.zeros((0, new.shape[1]))
    if before is not None:
        there = len(before.root)
        turn = _solved(before.root, _wide(_inner(before.applied, new)))
        turned = jnp.asarray(turn, new.dtype)
        new, given = _conjugate(new, given, before.directions, before.weighed, turned)
    rotation = _orthonormal(_wide(_inner(new, given)), eps)
    count = rotation.shape[1]
    directions, weighed = _rotated(new, given, _filled(rotation, new))
    applied = apply(directions)
    root = _root(_wide(_inner(directions, applied)), count)
    # P = (Z - P' turn) T, and Z is orthogonal to M P'
    turn = -(rotation.T @ turn.T)[:, :there]
    return _Block(directions, weighed, applied, root), _Small(root, turn)


def _least_ritz_value(blocks: list[_Small]) -> float:
    """The smallest eigenvalue of K in the space of all directions, relative to M.

    With P^T K P = L L^T, block by block, one over the largest of L^{-1} P^T M P L^{-T};
    M takes a block to those after by one `turn` after another.
    """
    if not blocks:
        return math.inf
    ends = np.cumsum([len(block.root) for block in blocks])

    def times(v):
        parts = [
            scipy.linalg.solve_triangular(block.root, part, lower=True, trans=1)
            for block, part in zip(blocks, np.split(v, ends[:-1]), strict=True)
        ]
        found = [part.copy() for part in parts]
        below = np.zeros_like(parts[0])
        for k in range(1, len(blocks)):
            below = blocks[k].turn @ (below + parts[k - 1])
            found[k] += below
        above = np.zeros_like(parts[-1])
        for k in reversed(range(1, len(blocks))):
            above = blocks[k].turn.T @ (above + parts[k])
            found[k - 1] += above
        return np.concatenate(
            [
                scipy.linalg.solve_triangular(block.root, part, lower=True)
                for block, part in zip(blocks, found, strict=True)
            ]
        )

    if (size := int(ends[-1])) <= 32:
        dense = np.stack([times(unit) for unit in np.eye(size)])
        return 1 / float(np.linalg.eigvalsh((dense + dense.T) / 2)[-1])
    (largest,) = scipy.sparse.linalg.eigsh(
        scipy.sparse.linalg.LinearOperator((size, size), matvec=times, dtype=float),
        1,
        which="LA",
        v0=np.ones(size),
        tol=1e-2,
        return_eigenvectors=False,
    )
    return 1 / float(largest)


def _width(wanted: int, before: int) -> int:
    """How many columns make the next block: not a program for every few less."""
    return wanted if wanted > before or 2 * wanted <= before else before


def solve(
    apply: Apply,
    rhs: Float[Array, "n m"],
    precondition: FeaturesAndNoise,
    *,
    tolerance: float | Float[np.ndarray, " m"],
    max_iterations: int = 500,
    progress: Progress | None = None,
) -> Solution:
    """Solves K w = rhs for a positive definite K that is given by its products.

    Beside the products n m (2 r + 8 m) multiply-adds each, of a preconditioner of r
    features, and seven arrays (n, m). Columns that are done leave the block.

    Args:
        apply: v -> K v.
        rhs: right-hand sides; they may coincide, depend on each other, or vanish.
        precondition: an approximation of K.
        tolerance: largest residual over right-hand side, of any column or of each; that
            of the recursion, which falls on below what rounding of the products allows.
        max_iterations: products after which to give up.
        progress: called after every product with (products, largest residual).

    Raises:
        NumericalError: if K is not positive definite, or it does not converge.
    """
    size = _wide(jnp.linalg.norm(rhs, axis=0))
    size = np.where(size > 0, size, 1)
    # not the caller's array, which is given away
    weights, residual = jnp.zeros_like(rhs), jnp.array(rhs)
    relative = _wide(jnp.linalg.norm(rhs, axis=0)) / size
    iterations, width, block, small = 0, 0, None, []
    # NaN is not done: the next block finds it
    while (wanted := int((~(relative <= tolerance)).sum())) > 0:
        if iterations == max_iterations:
            worst = np.argmax(relative / tolerance)
            raise NumericalError(
                f"conjugate gradients reached a residual of {relative[worst]:.2g} for "
                f"{np.broadcast_to(tolerance, relative.shape)[worst]:.2g} in "
                f"{max_iterations} products: raise `tolerance` or `max_iterations`, or "
                "pass `ridge`."
            )
        width = _width(wanted, width)
        chosen = np.argsort(-relative / tolerance, kind="stable")[:width]
        # no directions of those that are done: rounding is conjugate to nothing before
        left = np.where(relative > tolerance, size * relative, np.inf)[chosen]
        scale = jnp.asarray(1 / left, rhs.dtype)
        given, new = _preconditioned(precondition, residual, chosen, scale)
        block, parts = _next_block(apply, given, new, block)
        small.append(parts)
        lengths = _solved(block.root, _wide(_inner(block.directions, residual)))
        weights, residual, norm = _advanced(
            weights,
            residual,
            (block.directions, block.applied),
            jnp.asarray(lengths, rhs.dtype),
        )
        iterations, relative = iterations + 1, _wide(norm) / size
        if progress is not None:
            progress(iterations, float(relative.max()))
    # of the preconditioned kernel, whose preconditioner is no less than its noise
    least = _least_ritz_value(small) * float(precondition.noise.min())
    return Solution(weights, jnp.asarray(relative, rhs.dtype), iterations, least)
