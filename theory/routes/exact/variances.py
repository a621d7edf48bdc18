"""The variance over initialisations at a few test points, where no factor is held.

The solves for it share the products, and the directions, of that of the targets.
"""

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.routes.exact import tiles
from theory.routes.exact.solvers import Solution, Solve

# How much larger than that of the targets the residual of kernel rows may be. Ten,
# which is 1e-4 by default, moves `init_var` by 2e-6, 6e-6 and 1e-3 of itself at the
# worst of 200 points (MNIST, N = 4 000, erf, p = .9, .5, 0; 7e-7, 2e-6 and 1e-4 in the
# rms), a hundred by 3e-6, 1e-5 and 4e-2, a thousand by 2e-4, 1e-3 and .6: what is left
# counts most where the kernel is nearly singular.
SLACK = 10.0
# Kernel rows in a block: arrays of blocks, beside the kernel, and their small algebra.
WIDTH = 256


def smoothed(
    solve: Solve,
    x: Float[Array, "n d"],
    x_test: Float[Array, "k d"],
    y: Float[Array, "n c"],
    arch: Architecture,
) -> tuple[Solution, Array, Array | None]:
    """Returns the solution for `y`, P Theta_*^T (n, k) and its residuals (k,).

    The targets are solved for in one block with the first rows: fewer products for
    both, and those that the targets need alone are narrow ones. Residuals are None
    where `solve` does not tell.
    """
    c = y.shape[1]
    points = [x_test[k : k + WIDTH] for k in range(0, len(x_test), WIDTH)]
    rows = matrices.ntk(x, points[0], arch)
    slack = np.repeat([1.0, SLACK], [c, len(points[0])])
    both = solve(jnp.concatenate([y, rows], axis=1), slack=slack)
    more = [solve(matrices.ntk(x, part, arch), slack=SLACK) for part in points[1:]]
    weights = [both.weights[:, c:], *(part.weights for part in more)]
    solution, left = both._replace(weights=both.weights[:, :c]), None
    if both.residual is not None:
        solution = solution._replace(residual=both.residual[:c])
        of_more = [part.residual for part in more if part.residual is not None]
        left = jnp.concatenate([both.residual[c:], *of_more])
    return solution, jnp.concatenate(weights, axis=1), left


def init_var(
    arch: Architecture,
    x: Float[Array, "n d"],
    x_test: Float[Array, "k d"],
    smoothed: Float[Array, "n k"],
    mesh: Mesh | None,
) -> Float[Array, " k"]:
    """Returns docs/theory/training.md (11) at test points, n^2 (d/2 + k)."""
    if mesh is None:
        learned = tiles.nngp_product(x, smoothed, arch)
    else:
        learned = matrices.gram_product(x, smoothed, arch, kind="nngp", mesh=mesh)
    learned = learned - 2 * matrices.nngp(x, x_test, arch)
    prior = matrices.nngp_ntk_diag(x_test, arch).nngp
    return prior + (smoothed * learned).sum(axis=0)
