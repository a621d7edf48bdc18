"""The covariance of a few centres that says how fast a network learns their labels.

    Sigma(C) = (C C^T) o E_g[phi'(C g) phi'(C g)^T],    lambda(C) its least eigenvalue.

It is the tangent kernel, at the centres, of a network f(x) = sum_j a_j phi(w_j . x) of
which only w is trained, w ~ N(0, 1) and |a| = 1: `fixed_output` is that network in the
vocabulary of `theory`, and its kernel at other points is that of all their pairs.

Reference: Li, Soltanolkotabi & Oymak 2020, arXiv:1903.11680, section 2.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.activations.registry import Activation
from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.numerics.signatures import checked


@checked
def fixed_output(activation: str | Activation, d: int) -> Architecture:
    """Returns the two-layer network whose output layer stays as it is.

    Its tangent kernel is x.x' E[phi'(g.x) phi'(g.x')], g ~ N(0, 1) in `d` dimensions,
    docs/theory/two_layer.md (C1). In (1), (2): C_w = d makes pre-activations of
    variance |x|^2, a_1 = 1/d makes up for it, and a_2 = 0. The NNGP kernel is then d
    times that of the network, which tangent kernel and mean outputs do not see; do not
    use `init_var`.
    """
    return Architecture(
        depth=2, activation=activation, w_var=float(d), w_rates=(1 / d, 0.0)
    )


@checked
def cluster_covariance(
    centres: Float[Array, "k d"], activation: str | Activation
) -> Float[Array, "k k"]:
    """Returns Sigma(C). O(K^2) duals.

    Off the diagonal rounding enters closed forms of kinked activations as its root: for
    centres that coincide the least eigenvalue is 1e-8 and not 0.

    Args:
        centres: of any norm; the source has norm 1.
        activation: a name of `theory.activations` or an `Activation`.
    """
    return matrices.ntk_gram(centres, fixed_output(activation, centres.shape[1]))


@checked
def least_eigenvalue(
    centres: Float[Array, "k d"], activation: str | Activation
) -> Float[Array, ""]:
    """Returns lambda(C), the least eigenvalue of Sigma(C). O(K^3)."""
    return jnp.linalg.eigvalsh(cluster_covariance(centres, activation))[0]


@checked
def separation(centres: Float[Array, "k d"]) -> Float[Array, ""]:
    """Returns the smallest |c - c'| or |c + c'| of two centres; infinite for one.

    The sign counts: more pairs of opposite centres than dimensions leave a rectifier
    with lambda(C) = 0, however far all centres are apart.
    """
    k = len(centres)
    both = jnp.stack(
        [centres[:, None] - centres[None], centres[:, None] + centres[None]]
    )
    distance = jnp.sqrt((both**2).sum(axis=-1)).min(axis=0)
    return jnp.min(distance, where=~jnp.eye(k, dtype=bool), initial=jnp.inf)


@checked
def relu_bound(centres: Float[Array, "k d"]) -> Float[Array, ""]:
    """Returns nu/(100 K^2), below lambda(C) of relu for K > 1 unit centres.

    nu is their `separation`. Oymak & Soltanolkotabi 2020, arXiv:1902.04674, quoted in
    section 2 of the reference.
    """
    return separation(centres) / (100 * len(centres) ** 2)
