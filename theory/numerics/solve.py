"""Symmetric solves with their diagnostics: what failed, and by how much.

A solve never adds jitter and never switches method. What the numbers show is returned
beside the result; the host looks at it and says so.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from theory.errors import NumericalError

Apply = Callable[[Float[Array, "n m"]], Float[Array, "n m"]]


class Smoother(NamedTuple):
    """The operator P that takes targets to dual weights, and how far to trust it.

    Attributes:
        apply: maps (n, m) right-hand sides to P times them.
        margin: smallest pivot over the diagonal entry it started from (Cholesky), or
            smallest over largest eigenvalue; NaN where the factorisation failed.
    """

    apply: Apply
    margin: Float[Array, ""]


def inverse(kernel: Float[Array, "n n"], ridge: Float[Array, ""] | float) -> Smoother:
    """P = (kernel + ridge I)^{-1} by Cholesky, n^3/3 multiply-adds.

    Only the lower half of `kernel` is read. `ridge` is absolute.
    """
    diagonal = jnp.diagonal(kernel) + ridge
    shifted = kernel.at[jnp.diag_indices(kernel.shape[0])].set(diagonal)
    lower = jax.lax.linalg.cholesky(shifted, symmetrize_input=False)
    shares = jnp.diagonal(lower) ** 2 / jnp.where(diagonal > 0, diagonal, 1)
    # jnp.min passes NaN on, which is what a failed factorisation leaves
    return Smoother(
        lambda rhs: jax.scipy.linalg.cho_solve((lower, True), rhs),
        jnp.where(diagonal > 0, shares, -jnp.inf).min(),
    )


def gradient_flow(kernel: Float[Array, "n n"], time: Float[Array, ""]) -> Smoother:
    """P = kernel^{-1} (1 - exp(-kernel time)) by eigenvalues, about 10 n^3.

    Gradient flow on the loss (1/2) sum_a |f(x_a) - y_a|^2, summed over points and
    classes, with unit learning rate: `time` is learning rate times steps.
    """
    values, vectors = jnp.linalg.eigh(kernel)
    weights = flow_weights(values, time)
    return Smoother(
        lambda rhs: vectors @ (weights[:, None] * (vectors.T @ rhs)),
        values[0] / values[-1],
    )


def flow_weights(
    values: Float[Array, "*shape"], time: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Returns (1 - e^{-values time})/values, `time` where there is nothing to learn."""
    inside = values * time != 0
    safe = jnp.where(inside, values, 1.0)
    return jnp.where(inside, -jnp.expm1(-safe * time) / safe, time)


def trusted(
    margin: Float[Array, ""] | float,
    n: int,
    dtype: np.dtype,
    *,
    flow: bool,
    entry_error: Float[Array, ""] | float = 0.0,
) -> Bool[Array, ""]:
    """Returns whether a margin is more than the errors of the entries; see `check`."""
    # Rounding of an n x n factorisation moves a pivot by about n eps of its diagonal.
    floor = jnp.maximum(n * jnp.finfo(dtype).eps, entry_error)
    return margin > (-floor if flow else floor)


def check(
    margin: float,
    x: Float[Array, "n d"],
    *,
    flow: bool,
    ridge: float,
    copies: int = 1,
    entry_error: float = 0.0,
) -> None:
    """Raises `NumericalError` on a kernel that is indefinite or near singular. Host.

    Args:
        margin: of the smoother.
        x: the points of the kernel, to look for the cause.
        flow: whether the smoother is `gradient_flow` for a finite time, which needs no
            inverse.
        ridge: of the smoother.
        copies: of every training image in `x`, one after another.
        entry_error: relative error of the entries, beside rounding.
    """
    n, resolution = x.shape[0], float(jnp.finfo(x.dtype).eps)
    floor = max(n * resolution, entry_error)
    good = bool(trusted(margin, n, x.dtype, flow=flow, entry_error=entry_error))
    # Closed forms of kinked activations are wrong by the root of rounding where points
    # coincide, which hides a singular kernel behind a margin of that size.
    if good and (flow or margin > 100 * resolution**0.5):
        return
    rows = np.asarray(x)
    _, first, twin_of = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    twins = np.flatnonzero(first[twin_of.ravel()] != np.arange(n))
    if good and (ridge or not twins.size):
        return
    if twins.size:
        pair = int(first[twin_of.ravel()[twins[0]]]), int(twins[0])
        if copies == 1:
            name, way_out = "training images {} and {}", "remove the duplicates"
        else:
            images = n // copies
            way_out = "remove the duplicates, corrupt more"
            name = f"images {{}} and {{}} of {copies} copies of {images} images"
        cause = (
            name.format(*pair)
            + " are identical"
            + (f" ({twins.size} duplicates in all)" if twins.size > 1 else "")
            + f": {way_out} or pass `ridge`"
        )
    elif entry_error > n * resolution:
        cause = "raise `terms` of theory.custom, or pass `ridge`"
    elif rows.dtype == np.float32:
        cause = "float64 is needed: enable x64, or pass `ridge`"
    else:
        cause = "pass `ridge`, or use an activation or a corruption that separates them"
    if ridge:
        cause = cause.replace("pass `ridge`", f"raise `ridge` (now {ridge:.3g})")
    what = "indefinite" if not margin > 0 else "near singular"
    raise NumericalError(
        f"the NTK of {n} training images in {x.dtype} is {what} "
        f"(relative margin {margin:.2g}, error of entries {floor:.2g}): {cause}."
    )
