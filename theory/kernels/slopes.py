"""How a kernel entry answers to small changes of the first layer.

An entry of the tangent kernel is a function of three numbers of the first layer,
H(q1, q2, k), and on the diagonal of one, h(q): docs/theory/kernels.md (7). Everything
that expands around pure noise needs their first derivatives,

    S1 = dH/dq1,   S2 = dH/dq2,   T = dH/dk,   h' = dh/dq,

which obey a forward recursion through the layers, docs/theory/kernels.md (F3): the
chain rule with the derivatives of the dual (`theory.activations.duals`) in place of
those of H.

Valid for any activation, depth, variances and training rates. Kinked activations have
no derivatives at correlation +-1.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels import propagation
from theory.kernels.architecture import Architecture
from theory.records import record


@record(kw_only=True)
class Transfer:
    """A kernel entry and its derivatives in the numbers of the first layer.

    Attributes:
        ntk: the entry, H(q1, q2, k).
        by_q1: S1, derivative in the variance of the first point.
        by_q2: S2, derivative in the variance of the second.
        by_cov: T, derivative in their covariance.
    """

    ntk: Float[Array, "..."]
    by_q1: Float[Array, "..."]
    by_q2: Float[Array, "..."]
    by_cov: Float[Array, "..."]


@record(kw_only=True)
class DiagTransfer:
    """A diagonal kernel entry h(q) and its derivative h'(q).

    Attributes:
        ntk: the entry.
        by_q: its derivative.
    """

    ntk: Float[Array, "..."]
    by_q: Float[Array, "..."]


class _Gradient(NamedTuple):
    """Derivatives in (q1, q2, k) of the first layer."""

    by_q1: Float[Array, "..."] | float
    by_q2: Float[Array, "..."] | float
    by_cov: Float[Array, "..."] | float


def transfer(
    q1: Float[Array, "..."],
    q2: Float[Array, "..."],
    cov: Float[Array, "..."],
    arch: Architecture,
) -> Transfer:
    """Returns H(q1, q2, cov) and its three derivatives, docs/theory/kernels.md (F3).

    Elementwise; the arguments broadcast. Cost: depth - 1 evaluations of the derivatives
    of the dual, about four times `propagate`. Differentiable in forward mode.

    Accuracy: 1e-9 relative to finite differences for erf, relu, gelu and tanh, depths 2
    to 8 (what the differences resolve).

    Args:
        q1: variances of the first points, q = C_b + C_w |x|^2/d.
        q2: variances of the second.
        cov: covariances C_b + C_w x1.x2/d.
        arch: the architecture.
    """
    dual, c_w = arch.phi.dual, arch.w_var
    q1, q2, cov = jnp.broadcast_arrays(q1, q2, cov)
    (a, b), *rates = propagation.layer_rates(arch)
    ntk = a * (cov - arch.b_var) + b
    # of the covariance and of the kernel of this layer; of its variances, r1 and r2
    by_cov, by_ntk = _Gradient(0.0, 0.0, 1.0), _Gradient(0.0, 0.0, a)
    scale_1 = scale_2 = 1.0
    for a, b in rates:
        f = dual.derivatives(q1, q2, cov)
        diag_1, diag_2 = (dual.diag_derivatives(q) for q in (q1, q2))
        d_value = _Gradient(
            f.value_1 * scale_1 + f.slope * by_cov.by_q1,
            f.value_2 * scale_2 + f.slope * by_cov.by_q2,
            f.slope * by_cov.by_cov,
        )
        d_slope = _Gradient(
            f.slope_1 * scale_1 + f.slope_cov * by_cov.by_q1,
            f.slope_2 * scale_2 + f.slope_cov * by_cov.by_q2,
            f.slope_cov * by_cov.by_cov,
        )
        by_ntk = _Gradient(
            *(
                c_w * (a * value + ntk * slope + f.slope * before)
                for value, slope, before in zip(d_value, d_slope, by_ntk, strict=True)
            )
        )
        by_cov = _Gradient(*(c_w * value for value in d_value))
        ntk = b + a * c_w * f.value + c_w * f.slope * ntk
        cov = arch.b_var + c_w * f.value
        q1, q2 = (arch.b_var + c_w * diag.value for diag in (diag_1, diag_2))
        scale_1, scale_2 = (
            c_w * diag.value_q * scale
            for diag, scale in ((diag_1, scale_1), (diag_2, scale_2))
        )
    ones = jnp.ones_like(ntk)
    return Transfer(
        ntk=ntk,
        by_q1=by_ntk.by_q1 * ones,
        by_q2=by_ntk.by_q2 * ones,
        by_cov=by_ntk.by_cov * ones,
    )


def transfer_diag(q: Float[Array, "..."], arch: Architecture) -> DiagTransfer:
    """Returns h(q) and h'(q), docs/theory/kernels.md (F4). Elementwise."""
    dual, c_w = arch.phi.dual, arch.w_var
    (a, b), *rates = propagation.layer_rates(arch)
    ntk = a * (q - arch.b_var) + b
    by_ntk, scale = a * jnp.ones_like(ntk), 1.0
    for a, b in rates:
        f = dual.diag_derivatives(q)
        by_ntk = c_w * (scale * (a * f.value_q + ntk * f.slope_q) + f.slope * by_ntk)
        ntk = b + a * c_w * f.value + c_w * f.slope * ntk
        q, scale = arch.b_var + c_w * f.value, c_w * f.value_q * scale
    return DiagTransfer(ntk=ntk, by_q=by_ntk)


def slope_product(
    q1: Float[Array, "..."],
    q2: Float[Array, "..."],
    cov: Float[Array, "..."],
    arch: Architecture,
) -> Float[Array, "..."]:
    """Returns T as a product over layers, docs/theory/kernels.md (F5).

        T = prod_l (C_w D_l) [ sum_l a_l + sum_l (D_cov,l / D_l) Theta_l ].

    The sign of T is read off it. Where a factor D_l vanishes (an even activation at
    zero covariance) it is 0/0: use `transfer`.
    """
    dual = arch.phi.dual
    (a, b), *rates = propagation.layer_rates(arch)
    ntk = a * (cov - arch.b_var) + b
    product, bracket = jnp.ones_like(ntk), jnp.full_like(ntk, a)
    for a, b in rates:
        f = dual.derivatives(q1, q2, cov)
        product = product * arch.w_var * f.slope
        bracket = bracket + a + f.slope_cov / f.slope * ntk
        ntk = b + a * arch.w_var * f.value + arch.w_var * f.slope * ntk
        cov = arch.b_var + arch.w_var * f.value
        q1, q2 = (arch.b_var + arch.w_var * dual.diag(q).value for q in (q1, q2))
    return product * bracket
