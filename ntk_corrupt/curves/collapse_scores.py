"""How far apart scaled curves of several sizes are, over a grid of parameters.

The score that `ntk_corrupt.curves.finite_size` brings down; its ansatz is there.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_COMPARED = 0.5  # share of all points that must meet another size


def _moments(p, accuracy, sizes, window, p_c, nu, *, centred: bool):
    """What every kappa needs at one p_c and nu.

    At the scaled x of every point of every size, S*P of them, each curve takes part
    that has a value there, inside the window. With w = N^kappa, both sums of squares
    of the scaled values are quadratic forms in w.

    Returns:
        Forms of the mean squared deviation from the mean curve and of the variance,
        both (S, S), NaN where too few points meet another size.
    """
    own = (accuracy >= window[0]) & (accuracy <= window[1])
    # the p at which size s has the scaled x of size t at p: (S, S, P)
    stretch = (sizes[None, :] / sizes[:, None]) ** (1 / nu)
    targets = (p_c + (p - p_c)[None, None] * stretch[..., None]).reshape(len(sizes), -1)
    values = jax.vmap(lambda at, curve: jnp.interp(at, p, curve))(targets, accuracy)
    slack = 8 * jnp.finfo(p.dtype).eps * jnp.abs(p).max()
    there = (targets >= p[0] - slack) & (targets <= p[-1] + slack)
    # and inside the window, by as much as interpolating a point at itself may round
    slack = 8 * jnp.finfo(p.dtype).eps * jnp.abs(accuracy).max()
    there &= (values >= window[0] - slack) & (values <= window[1] + slack)
    there &= own.reshape(1, -1)
    met = there.sum(axis=0) >= 2
    enough = met.sum() >= _COMPARED * own.sum()
    mask = (there & met[None]).astype(accuracy.dtype)
    if centred:
        at_p_c = jax.vmap(lambda curve: jnp.interp(p_c, p, curve))(accuracy)
        values = values - at_p_c[:, None]
    values = values * mask
    share = jnp.where(enough, 1 / jnp.maximum(mask.sum(), 1), 0)
    squares = jnp.diag((values**2).sum(axis=1))
    within = squares - (values / jnp.maximum(mask.sum(axis=0), 1)[None]) @ values.T
    sums = values.sum(axis=1)
    return within * share, (squares - jnp.outer(sums, sums) * share) * share


@functools.partial(jax.jit, static_argnames=("centred", "normalised"))
def scores(
    p: Float[Array, " P"],
    accuracy: Float[Array, "S P"],
    sizes: Float[Array, " S"],
    window: Float[Array, " 2"],
    p_c: Float[Array, " a"],
    nu: Float[Array, " b"],
    kappa: Float[Array, " k"],
    *,
    centred: bool,
    normalised: bool,
) -> Float[Array, "a b k"]:
    """Returns scores over a grid, infinite where too little can be compared.

    O(a b S^2 P), whatever the values of kappa.

    Args:
        p: increasing levels.
        accuracy: one curve per size.
        sizes: N.
        window: least and largest accuracy that are compared.
        p_c: grid of critical levels.
        nu: grid.
        kappa: grid; the single zero where y = A.
        centred: whether the accuracy at p_c is taken off, A_c of the ansatz.
        normalised: whether the score is divided by the variance.
    """
    moments = functools.partial(_moments, p, accuracy, sizes, window, centred=centred)
    within, total = jax.lax.map(
        lambda one: jax.vmap(lambda other: moments(one, other))(nu), p_c
    )
    powers = sizes[None, :] ** kappa[:, None]
    score, variance = (
        jnp.einsum("ks,abst,kt->abk", powers, matrices, powers)
        for matrices in (within, total)
    )
    valid = variance > 0
    if normalised:
        score = score / jnp.where(valid, variance, 1)
    return jnp.where(valid, jnp.maximum(score, 0), jnp.inf)
