"""Determinant of the kernel of the equivalent, and whether it is definite.

Equations: docs/theory/regression.md (E12).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.numerics.edges import matmul
from theory.regression.equivalent import Equivalent, Rows


def log_determinant(
    rows: Rows, tau: Float[Array, ""], omega: Float[Array, ""]
) -> Float[Array, ""]:
    """Returns the mean logarithm of the kernel's determinant, (E12).

    Stationary in both scalars where they solve the equations: its derivative in
    anything that the kernel is made of needs none of theirs.

    Args:
        rows: the rows; scaled ones as they are, the scales' own logarithms left out.
        tau: of the solution.
        omega: of the solution.
    """
    shift = omega - rows.entry_noise * tau
    k = rows.base + shift
    second = matmul(rows.mean.T, rows.mean / k[:, None])
    identity = jnp.eye(rows.weight.shape[0], dtype=rows.weight.dtype)
    system = identity + matmul(tau * rows.noise + second, rows.weight)
    return (
        jnp.log(k).sum()
        + rows.idle_count * jnp.log(rows.idle + shift).sum()
        + jnp.linalg.slogdet(system)[1]
        - tau * omega
        + rows.entry_noise * tau**2 / 2
    )


@jax.jit
def margin(solution: Equivalent) -> Float[Array, ""]:
    """Returns the smallest eigenvalue of the mean kernel relative to base + omega.

    Positive if the mean kernel, noise included, is positive definite, as kernels are;
    an approximate W or base may break that, and predictions then mean nothing.
    """
    values, vectors = jnp.linalg.eigh(solution.second)
    root = vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None, :]
    explained = jnp.linalg.eigvalsh(matmul(root.T, matmul(solution.lam, root)))
    # rows that no feature reaches have eigenvalue one
    return jnp.minimum((1 / (1 - explained)).min(), 1.0)
