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

import jax
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

    by_q1: Float[Array, "..."]
    by_q2: Float[Array, "..."]
    by_cov: Float[Array, "..."]


class _Entry(NamedTuple):
    """What the recursion knows of a layer: its numbers and their derivatives.

    Attributes:
        q1: variances of the first points.
        q2: variances of the second.
        cov: covariances.
        ntk: tangent kernel.
        scale_1: derivative of `q1` in that of the first layer.
        scale_2: derivative of `q2` likewise.
        by_cov: derivatives of `cov`.
        by_ntk: derivatives of `ntk`.
    """

    q1: Float[Array, "..."]
    q2: Float[Array, "..."]
    cov: Float[Array, "..."]
    ntk: Float[Array, "..."]
    scale_1: Float[Array, "..."]
    scale_2: Float[Array, "..."]
    by_cov: _Gradient
    by_ntk: _Gradient

    def chain(self, by_1, by_2, by_k) -> _Gradient:
        """Derivatives of a function of `q1`, `q2` and `cov` from its own."""
        return _Gradient(
            by_1 * self.scale_1 + by_k * self.by_cov.by_q1,
            by_2 * self.scale_2 + by_k * self.by_cov.by_q2,
            by_k * self.by_cov.by_cov,
        )


@jax.jit
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
    dual = arch.phi.dual

    def step(entry, layer):
        f = dual.derivatives(entry.q1, entry.q2, entry.cov)
        d_value = entry.chain(f.value_1, f.value_2, f.slope)
        d_slope = entry.chain(f.slope_1, f.slope_2, f.slope_cov)
        changes = zip(d_value, d_slope, entry.by_ntk, strict=True)
        diag_1, diag_2 = (dual.diag_derivatives(q) for q in (entry.q1, entry.q2))
        return _Entry(
            q1=layer.covariance(diag_1.value),
            q2=layer.covariance(diag_2.value),
            cov=layer.covariance(f.value),
            ntk=layer.tangent(f.value, f.slope, entry.ntk),
            scale_1=layer.w_var * diag_1.value_q * entry.scale_1,
            scale_2=layer.w_var * diag_2.value_q * entry.scale_2,
            by_cov=_Gradient(*(layer.w_var * value for value in d_value)),
            by_ntk=_Gradient(
                *(
                    layer.tangent_change(value, slope, entry.ntk, f.slope, before)
                    for value, slope, before in changes
                )
            ),
        )

    q1, q2, cov = jnp.broadcast_arrays(q1, q2, cov)
    ntk = propagation.first_tangent(cov, arch)
    none, one = jnp.zeros_like(ntk), jnp.ones_like(ntk)
    by_cov = _Gradient(none, none, one)
    by_ntk = _Gradient(none, none, propagation.layer_rates(arch)[0][0] * one)
    first = _Entry(q1, q2, cov, ntk, one, one, by_cov, by_ntk)
    last = propagation.through_layers(step, first, arch)
    return Transfer(ntk=last.ntk, **last.by_ntk._asdict())


@jax.jit
def transfer_diag(q: Float[Array, "..."], arch: Architecture) -> DiagTransfer:
    """Returns h(q) and h'(q), docs/theory/kernels.md (F4). Elementwise."""
    dual = arch.phi.dual

    def step(at, layer):
        q, ntk, scale, by_ntk = at
        f = dual.diag_derivatives(q)
        d_value, d_slope = scale * f.value_q, scale * f.slope_q
        return (
            layer.covariance(f.value),
            layer.tangent(f.value, f.slope, ntk),
            layer.w_var * d_value,
            layer.tangent_change(d_value, d_slope, ntk, f.slope, by_ntk),
        )

    ntk = propagation.first_tangent(q, arch)
    by_ntk = propagation.layer_rates(arch)[0][0] * jnp.ones_like(ntk)
    first = (q, ntk, jnp.ones_like(ntk), by_ntk)
    _, ntk, _, by_ntk = propagation.through_layers(step, first, arch)
    return DiagTransfer(ntk=ntk, by_q=by_ntk)
