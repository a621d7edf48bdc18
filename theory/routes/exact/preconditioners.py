"""Approximations of a kernel that are cheap to solve with: features and noise.

For corrupted inputs, the part of the kernel that is linear in them; where that leaves
more of the diagonal than as many columns of the kernel itself, these: its partial
Cholesky factor, the pivots drawn at random (Chen et al. 2022, arXiv:2207.06503; in
blocks with rejection, Epperly et al. 2024, arXiv:2410.03969; to precondition, Diaz et
al. 2023, arXiv:2304.12465).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from theory.errors import NumericalError
from theory.kernels import matrices, propagation, slopes
from theory.kernels.architecture import Architecture
from theory.numerics.edges import matmul
from theory.records import record

# Least noise of a row, of the mean. Points that are pivots have none left, and count
# too much below: of MNIST without corruption, N = 8 000, 1 000 pivots, it takes 68
# products with the mean for all, 53 from .3 of it, 59 from .1, 68 from .01.
_LEAST_NOISE = 0.3
# Columns that are proposed at once, of all that are asked for.
_ROUNDS = 10
# Rows whose products are summed in float64.
_ROWS = 4096


@record(kw_only=True)
class FeaturesAndNoise:
    """The inverse of diag(noise) + F F^T, by Woodbury's identity.

    Attributes:
        noise: the variance of each row.
        whitened: U of the inverse, diag(1/noise) - U U^T.
    """

    noise: Float[Array, " n"]
    whitened: Float[Array, "n r"]

    def solve(self, v: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Returns the inverse times `v`, 2 n r m multiply-adds."""
        inside = matmul(self.whitened, matmul(self.whitened.T, v))
        return v / self.noise[:, None] - inside


@jax.jit
def _squares(features, noise):
    return matmul(features.T, features / noise[:, None])


@jax.jit
def _whitened(features, noise, inverse):
    return matmul(features / noise[:, None], inverse)


def features_and_noise(
    features: Float[Array, "n r"], noise: Float[Array, " n"]
) -> FeaturesAndNoise:
    """Returns what solves with diag(noise) + F F^T. n r^2, and r^3/3 in float64.

    Raises:
        NumericalError: noise that is not positive.
    """
    least = float(noise.min())
    if not least > 0:
        raise NumericalError(
            "the linear part of the kernel exceeds its diagonal (remaining variance "
            f"{least:.3g}) and cannot precondition it."
        )
    # Largest over smallest eigenvalue is 1e5 and more: not in float32.
    inside = np.eye(features.shape[1])
    for first in range(0, len(features), _ROWS):
        rows = slice(first, first + _ROWS)
        inside += np.asarray(_squares(features[rows], noise[rows]), float)
    factor = scipy.linalg.cholesky(inside, lower=True, overwrite_a=True)
    inverse = scipy.linalg.solve_triangular(factor, np.eye(len(factor)), lower=True)
    inverse = jnp.asarray(inverse.T, features.dtype)
    return FeaturesAndNoise(noise=noise, whitened=_whitened(features, noise, inverse))


@jax.jit
def linear_part(
    x: Float[Array, "n d"], arch: Architecture
) -> tuple[Float[Array, "n r"], Float[Array, ""]]:
    """Returns the kernel of `x` to first order in its inner products, as features.

    Expanded around the mean image and the mean square: a constant with what is linear
    in one point alone, docs/theory/kernels.md (F3), and the products of deviations from
    the mean image; and what the diagonal holds besides, in the mean. O(n d).
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
    return features, (diagonal - (features**2).sum(axis=1)).mean()


@functools.partial(jax.jit, donate_argnums=0)
def _less(columns, features, pivots):
    return columns - matmul(features, features[pivots].T)


@jax.jit
def _rotated(columns, rotation):
    features = matmul(columns, rotation)
    return features, (features**2).sum(axis=1)


def _accepted(inside: np.ndarray, chance: np.ndarray, least: float):
    """Which of the proposed pivots are taken, one after another, and what they make.

    Each with the probability of what is left of its diagonal entry. Returns the
    numbers of those taken and the lower Cholesky factor of their entries.
    """
    taken, left = [], inside.copy()
    factor = np.zeros_like(inside)
    for i in range(len(inside)):
        if left[i, i] > max(chance[i] * inside[i, i], least):
            column = left[:, i] / np.sqrt(left[i, i])
            factor[:, len(taken)] = column
            left -= np.outer(column, column)
            taken.append(i)
    return taken, factor[taken][:, : len(taken)]


class PivotedColumns:
    """Features from columns of the kernel, added until they are enough.

    Attributes:
        count: columns so far.
        rest: what they leave of the diagonal (n,).
    """

    def __init__(self, x: Float[Array, "n d"], arch: Architecture, size: int):
        """Starts without columns; `size` are proposed at once, from a fixed seed."""
        self._x, self._arch, self._size = x, arch, size
        self._random, self._blocks = np.random.default_rng(0), []
        diagonal = np.array(matrices.nngp_ntk_diag(x, arch).ntk, float)
        self.rest, self.count = diagonal, 0
        self._least = 100 * float(jnp.finfo(x.dtype).eps) * diagonal.max()

    def add(self) -> bool:
        """Adds columns, n size (d + count); returns whether there was any to add."""
        self.rest[self.rest < self._least] = 0
        if not self.rest.any():
            return False
        pivots = self._random.choice(
            len(self._x), self._size, p=self.rest / self.rest.sum()
        )
        columns = matrices.ntk(self._x, self._x[pivots], self._arch)
        for block, _ in self._blocks:
            columns = _less(columns, block, pivots)
        inside = np.asarray(columns[pivots], float)
        chance = self._random.random(self._size)
        taken, factor = _accepted((inside + inside.T) / 2, chance, self._least)
        # as many columns in every block, the last without content: one program
        rotation = np.zeros_like(inside)
        rotation[taken, : len(taken)] = scipy.linalg.solve_triangular(
            factor, np.eye(len(taken)), lower=True
        ).T
        block, squares = _rotated(columns, jnp.asarray(rotation, columns.dtype))
        self._blocks.append((block, len(taken)))
        self.rest = np.maximum(self.rest - np.asarray(squares, float), 0)
        self.rest[pivots[taken]] = 0
        self.count += len(taken)
        return bool(taken)

    def features(self) -> Float[Array, "n r"]:
        """Returns the features; the columns are no longer held here."""
        blocks, self._blocks = self._blocks, []
        return jnp.concatenate([block[:, :count] for block, count in blocks], axis=1)


def preconditioner(
    x: Float[Array, "n d"], arch: Architecture, ridge: float, rank: int
) -> FeaturesAndNoise:
    """Returns an approximation of the kernel of `x` and `ridge` on its diagonal.

    The linear part, or `rank` columns where as many as it has features leave less of
    the diagonal than it does. n d^2; n rank (d + 2 rank) for the columns.

    Raises:
        NumericalError: where neither leaves anything.
    """
    features, noise = linear_part(x, arch)
    columns = PivotedColumns(x, arch, max(1, min(rank, max(64, rank // _ROUNDS))))
    while columns.count < min(rank, features.shape[1]) and columns.add():
        pass
    if rank and not columns.rest.mean() > float(noise):
        while columns.count < rank and columns.add():
            pass
        features, rest = columns.features(), columns.rest
        noise = jnp.asarray(np.maximum(rest, _LEAST_NOISE * rest.mean()), x.dtype)
    return features_and_noise(features, jnp.broadcast_to(noise + ridge, len(x)))
