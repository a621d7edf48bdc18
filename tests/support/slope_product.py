"""T = dH/dk as a product over layers: another route than `theory.kernels.slopes`."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels import propagation
from theory.kernels.architecture import Architecture


def slope_product(
    q1: Float[Array, "..."],
    q2: Float[Array, "..."],
    cov: Float[Array, "..."],
    arch: Architecture,
) -> Float[Array, "..."]:
    """Returns T as a product over layers, docs/theory/kernels.md (F5).

        T = prod_l (C_w D_l) [ sum_l a_l + sum_l (D_cov,l / D_l) Theta_l ].

    The sign of T is read off it. Where a factor D_l vanishes (an even activation at
    zero covariance) it is 0/0.
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
