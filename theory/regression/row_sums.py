"""Sums over rows of products of their features, over powers of base + shift.

Solving the regression asks for them at one shift after the other. Each is a function of
the base of a row alone, smooth where bases differ by less than themselves, and so
interpolated in it: with some moments of the features, computed once, a further shift
costs nothing that grows with the rows.

Equations: docs/theory/regression.md (E13).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from theory.numerics import blocks
from theory.numerics.edges import matmul
from theory.records import record

# Relative error of the sums in float64; some roundings in float32. More moments than
# so many cost what they save: a law with `init_var` solves three times, in 7 to 9 and
# twice in 4 times three sums.
_ERROR, _ROUNDINGS, _MOST = 1e-8, 8, 16
# Rows of a block of features, and below which the sums are not worth a program.
_BLOCK, _FEW = 4096, 2000


@record(kw_only=True)
class Moments:
    """Sums of products of features, weighted by polynomials of the base.

    Of one size, so that what is solved with them is compiled once: those that
    are not needed are zero.

    Attributes:
        nodes: Chebyshev points between the smallest and the largest base.
        coefficients: of the polynomials, from values at the nodes.
        products: sum over rows of T_j mean mean^T, with the Chebyshev polynomials of
            the base.
    """

    nodes: Float[Array, " k"]
    coefficients: Float[Array, "k k"]
    products: Float[Array, "k m m"]


def least_shift(base: Float[Array, " n"]) -> Float[Array, ""]:
    """Returns the least shift that `nodes_needed` are enough for."""
    return -base.min() / 4


def nodes_needed(base: Float[Array, " n"]) -> int | None:
    """Returns how many nodes interpolate 1/base^3 well enough. Host.

    None if too many, or for few rows.

    Good for shifts that take a quarter of the smallest base and for all above. The
    error of k nodes falls as rho^-k, rho of the ellipse through the pole; k^2/2 is what
    two derivatives add to it.
    """
    taken = -float(least_shift(base))
    lowest, highest = float(base.min()) - taken, float(base.max()) - taken
    if len(base) < _FEW or not 0 < lowest <= highest < math.inf:
        return None
    error = max(_ERROR, _ROUNDINGS * float(jnp.finfo(base.dtype).eps))
    root = math.sqrt(highest / lowest)
    growth = (root + 1) / max(root - 1, 1e-3)
    fits = (k for k in range(2, _MOST + 1) if 2 * k**2 * growth**-k < error)
    return next(fits, None)


def moments(
    base: Float[Array, " n"], mean: Float[Array, "n m"], *, count: int
) -> Moments:
    """Returns the moments at `count` nodes: count n m^2 multiply-adds. Host.

    Args:
        base: of every row.
        mean: features of every row.
        count: of `nodes_needed`.
    """
    angles = (np.arange(count) + 0.5) * np.pi / count
    coefficients, cosines = np.zeros((_MOST, _MOST)), np.zeros(_MOST)
    coefficients[:count, :count] = np.cos(np.outer(angles, np.arange(count)))
    coefficients[:, 0] /= 2
    cosines[:count] = np.cos(angles)
    lowest, highest = base.min(), base.max()
    of = lambda value: jnp.asarray(value, base.dtype)
    return Moments(
        nodes=(lowest + highest) / 2 + (highest - lowest) / 2 * of(cosines),
        coefficients=of(coefficients * 2 / count),
        products=_products(base, mean, jnp.asarray(count)),
    )


@jax.jit  # for any count
def _products(
    base: Float[Array, " n"], mean: Float[Array, "n m"], count: Int[Array, ""]
) -> Float[Array, "k m m"]:
    """Sums over rows of T_j mean mean^T for j below `count`, block by block."""
    middle, half = (base.max() + base.min()) / 2, (base.max() - base.min()) / 2
    x = (base - middle) / jnp.where(half == 0, 1.0, half)
    n, m = mean.shape
    block = min(_BLOCK, n)
    first = jnp.asarray(blocks.starts(n, block))

    def add(i, total):
        at = first[i]
        part, x_part = (
            jax.lax.dynamic_slice_in_dim(each, at, block) for each in (mean, x)
        )
        # the last block is moved back: what it repeats has been counted
        new = at + jnp.arange(block) >= i * block
        part = jnp.where(new[:, None], part, 0)

        def one(j, state):
            total, this, after = state
            total = total.at[j].add(matmul((part * this[:, None]).T, part))
            return total, after, 2 * x_part * after - this

        start = total, jnp.ones_like(x_part), x_part
        return jax.lax.fori_loop(0, count, one, start)[0]

    return jax.lax.fori_loop(0, len(first), add, jnp.zeros((_MOST, m, m), mean.dtype))


# For powers 1, 2 and 3, each (m, m).
Sums = tuple[Array, Array, Array]


def interpolated(of: Moments, shift: Float[Array, ""]) -> Sums:
    """Returns `direct` of the rows that the moments are of."""
    at_nodes = (of.nodes + shift)[None, :] ** -jnp.arange(1, 4)[:, None]
    weights = matmul(at_nodes, of.coefficients)
    first, second, third = jnp.tensordot(weights, of.products, 1)
    return first, second, third


def direct(mean: Float[Array, "n m"], k: Array) -> Sums:
    """Returns mean^T k^-p mean for p = 1, 2, 3: 3 n m^2 multiply-adds.

    Args:
        mean: features of every row.
        k: base + shift of every row; complex in `theory.regression.flow`.
    """
    weighted = mean / k[:, None]
    return (
        matmul(mean.T, weighted),
        matmul(weighted.T, weighted),
        matmul((weighted / k[:, None]).T, weighted),
    )


def slopes(
    mean: Float[Array, "n m"],
    k: Float[Array, " n"],
    mean_slope: Float[Array, "n m"],
    k_slope: Float[Array, " n"],
) -> tuple[Float[Array, "m m"], Float[Array, "m m"]]:
    """Returns the derivatives of `direct` for powers 1 and 2: 2 n m^2 multiply-adds.

    Args:
        mean: features of every row.
        k: base + shift of every row.
        mean_slope: derivative of the features.
        k_slope: derivative of k.
    """
    found = []
    for power in (1, 2):
        weight = k**-power
        moved = 2 * weight[:, None] * mean_slope
        moved -= (power * weight * k_slope / k)[:, None] * mean
        product = matmul(mean.T, moved)
        found.append((product + product.T) / 2)
    first, second = found
    return first, second
