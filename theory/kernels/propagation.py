"""The layer recursion of the kernels: entries and diagonals, elementwise.

A kernel entry is a function of three numbers of the first layer: the variances q1, q2
of the two points and their covariance. `propagate` is that function, H of
docs/theory/kernels.md (7). On the diagonal it is a function of q alone,
`propagate_diag`, which keeps all digits where closed forms of kinked activations would
lose half.

References: Neal 1996; Lee et al. 2018, arXiv:1711.00165; Jacot et al. 2018,
arXiv:1806.07572.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.errors import InputError
from theory.kernels.architecture import Architecture
from theory.records import record


@record(kw_only=True)
class KernelPair:
    """Kernels of the outputs between two sets of points, or along a diagonal.

    Attributes:
        nngp: covariance of the outputs at initialisation.
        ntk: neural tangent kernel.
    """

    nngp: Float[Array, "..."]
    ntk: Float[Array, "..."]


def layer_rates(arch: Architecture):
    """Training rates of every layer: a_l of the weights, b_l of the biases."""
    weights = (1.0,) * arch.depth if arch.w_rates is None else arch.w_rates
    biases = (arch.b_var,) * arch.depth if arch.b_rates is None else arch.b_rates
    return tuple(zip(weights, biases, strict=True))


def first_layer_variance(
    x: Float[Array, "n d"], arch: Architecture
) -> Float[Array, " n"]:
    """Returns q = C_b + C_w |x|^2/d of every point."""
    return arch.b_var + arch.w_var * (x**2).sum(-1) / x.shape[-1]


def first_layer_covariance(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], arch: Architecture
) -> Float[Array, "n1 n2"]:
    """Returns k = C_b + C_w x1.x2/d of every pair, at full matmul precision."""
    product = jnp.matmul(x1, x2.T, precision=jax.lax.Precision.HIGHEST)
    return arch.b_var + arch.w_var * product / x1.shape[-1]


def _through_layers(layer, first, arch: Architecture):
    """Runs `layer` over the hidden layers; `first` and its last's NTK are the carry.

    As a loop: what is compiled, derivatives included, does not grow with depth.
    """
    (a, b), *rates = layer_rates(arch)
    dtype = jnp.result_type(*first, arch.w_var)
    carry = tuple(
        jnp.asarray(part, dtype) for part in (*first, a * (first[-1] - arch.b_var) + b)
    )
    if not rates:
        return carry
    rates = tuple(jnp.asarray(part, dtype) for part in zip(*rates, strict=True))
    return jax.lax.scan(layer, carry, rates)[0]


@jax.jit  # in programs: derivatives of equal shapes are traced once
def propagate(
    q1: Float[Array, "..."],
    q2: Float[Array, "..."],
    cov: Float[Array, "..."],
    arch: Architecture,
) -> KernelPair:
    """Takes first-layer covariances to the output: H of docs/theory/kernels.md (7).

    Elementwise; the arguments broadcast. Cost: depth - 1 evaluations of the dual.

    Args:
        q1: variances of the first points, q = C_b + C_w |x|^2/d.
        q2: variances of the second.
        cov: covariances C_b + C_w x1.x2/d.
        arch: the architecture.
    """
    dual = arch.phi.dual
    shape = jnp.broadcast_shapes(*(jnp.shape(part) for part in (q1, q2, cov)))
    cov = jnp.broadcast_to(cov, shape)

    def layer(carry, rates):
        (q1, q2, cov, ntk), (a, b) = carry, rates
        value, slope = dual.pair(q1, q2, cov)
        # Both results hold the value: compilers would compute it for each of them.
        value = jax.lax.optimization_barrier(value)
        ntk = b + a * arch.w_var * value + arch.w_var * slope * ntk
        cov = arch.b_var + arch.w_var * value
        q1, q2 = (arch.b_var + arch.w_var * dual.diag(q).value for q in (q1, q2))
        return (q1, q2, cov, ntk), None

    *_, cov, ntk = _through_layers(layer, (q1, q2, cov), arch)
    return KernelPair(nngp=cov, ntk=ntk)


@jax.jit
def propagate_diag(q: Float[Array, "..."], arch: Architecture) -> KernelPair:
    """Takes first-layer variances to the output: h of docs/theory/kernels.md (7)."""
    dual = arch.phi.dual

    def layer(carry, rates):
        (q, ntk), (a, b) = carry, rates
        value, slope = dual.diag(q)
        ntk = b + a * arch.w_var * value + arch.w_var * slope * ntk
        return (arch.b_var + arch.w_var * value, ntk), None

    q, ntk = _through_layers(layer, (q,), arch)
    return KernelPair(nngp=q, ntk=ntk)


def check_ntk(arch: Architecture) -> None:
    """Raises `InputError` if the architecture has no tangent kernel."""
    if arch.depth > 1 and not arch.phi.trainable:
        raise InputError(
            f"{arch.phi.name} has no NTK, its slope vanishes: use theory.nngp, or "
            "another activation."
        )
