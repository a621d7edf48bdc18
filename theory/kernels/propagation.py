"""The layer recursion of the kernels: entries and diagonals, elementwise.

A kernel entry is a function of three numbers of the first layer: the variances q1, q2
of the two points and their covariance. `propagate` is that function, H of
docs/theory/kernels.md (7). On the diagonal it is a function of q alone,
`propagate_diag`, which keeps all digits where closed forms of kinked activations would
lose half.

References: Neal 1996; Lee et al. 2018, arXiv:1711.00165; Jacot et al. 2018,
arXiv:1806.07572.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.activations import duals
from theory.errors import InputError
from theory.kernels.architecture import Architecture
from theory.numerics.edges import ratio, safe_sqrt
from theory.records import record

Carry = TypeVar("Carry")


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


class HiddenLayer(NamedTuple):
    """A hidden layer, on the way from its pre-activations to those of the next.

    Attributes:
        w_var: weight variance C_w of the next layer's weights.
        b_var: bias variance C_b of its biases.
        w_rate: their training rates, a_l of the weights
        b_rate: and b_l of the biases.
    """

    w_var: Float[Array, ""] | float
    b_var: Float[Array, ""] | float
    w_rate: Float[Array, ""] | float
    b_rate: Float[Array, ""] | float

    def covariance(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the next covariance, or variance, from E[phi phi]."""
        return self.b_var + self.w_var * value

    def tangent(
        self,
        value: Float[Array, "..."],
        slope: Float[Array, "..."],
        ntk: Float[Array, "..."],
    ) -> Float[Array, "..."]:
        """Returns the next tangent kernel, from both means of the dual and this one."""
        return self.b_rate + self.w_rate * self.w_var * value + self.w_var * slope * ntk

    def gap(
        self,
        value_1: Float[Array, "..."],
        value_2: Float[Array, "..."],
        gap: Float[Array, "..."],
        apart: Float[Array, "..."] | None = None,
    ) -> Float[Array, "..."]:
        """Returns the next sqrt(q1 q2) - cov from E[phi^2] of both, and theirs.

        With q = b + w r^2 it is w times theirs, and sqrt(q1 q2) - b - w r1 r2, which is
        written without a difference of large numbers; r1 - r2 is `apart`.
        """
        one, two = safe_sqrt(value_1), safe_sqrt(value_2)
        apart = one - two if apart is None else apart
        root_1, root_2 = (safe_sqrt(self.covariance(v)) for v in (value_1, value_2))
        whole = root_1 * root_2 + self.covariance(one * two)
        by_bias = ratio(self.b_var * apart * (self.w_var * apart), whole)
        return by_bias + self.w_var * gap

    def tangent_change(
        self,
        d_value: Float[Array, "..."],
        d_slope: Float[Array, "..."],
        ntk: Float[Array, "..."],
        slope: Float[Array, "..."],
        d_ntk: Float[Array, "..."],
    ) -> Float[Array, "..."]:
        """Returns a derivative of `tangent` from those of what it takes."""
        return self.w_var * (self.w_rate * d_value + ntk * d_slope + slope * d_ntk)


def first_tangent(cov: Float[Array, "..."], arch: Architecture) -> Float[Array, "..."]:
    """Returns the tangent kernel of the first layer alone, from its covariance."""
    (a, b), *_ = layer_rates(arch)
    return a * (cov - arch.b_var) + b


def hidden_layers(arch: Architecture) -> tuple[HiddenLayer, ...]:
    """Returns the hidden layers one by one, to be looped over; see `through_layers`."""
    return tuple(
        HiddenLayer(arch.w_var, arch.b_var, *rates) for rates in layer_rates(arch)[1:]
    )


def through_layers(
    step: Callable[[Carry, HiddenLayer], Carry], first: Carry, arch: Any
) -> Carry:
    """Takes what is known of the first layer through all hidden layers.

    As a loop: what is compiled, derivatives included, does not grow with depth.

    Args:
        step: what is known of a layer, and that layer, to what is known of the next.
        first: a tree of arrays, whose shapes `step` keeps; cast to one dtype.
        arch: the architecture.
    """
    rates = layer_rates(arch)[1:]
    dtype = jnp.result_type(*jax.tree.leaves(first), arch.w_var, arch.b_var)
    carry = jax.tree.map(lambda part: jnp.asarray(part, dtype), first)
    if not rates:
        return carry
    rates = tuple(jnp.asarray(part, dtype) for part in zip(*rates, strict=True))
    at = lambda carry, rates: (
        step(carry, HiddenLayer(arch.w_var, arch.b_var, *rates)),
        None,
    )
    return jax.lax.scan(at, carry, rates)[0]


class Entry(NamedTuple):
    """What is known of a pair of points at a layer."""

    q1: Float[Array, "..."]
    q2: Float[Array, "..."]
    cov: Float[Array, "..."]
    ntk: Float[Array, "..."]

    def next(
        self, layer: HiddenLayer, dual: duals.Dual, pair: duals.DualPair
    ) -> tuple["Entry", list[Float[Array, "..."]]]:
        """The same at the next layer, from the dual; and E[phi^2] of both points."""
        # All results hold the value: compilers would compute it for each of them.
        value = jax.lax.optimization_barrier(pair.value)
        values = [dual.diag(q).value for q in (self.q1, self.q2)]
        variances = (layer.covariance(each) for each in (*values, value))
        return Entry(*variances, layer.tangent(value, pair.slope, self.ntk)), values


def first_entry(q1, q2, cov, arch: Architecture) -> Entry:
    """Returns what is known of pairs of points at the first layer; broadcasts."""
    shape = jnp.broadcast_shapes(*(jnp.shape(part) for part in (q1, q2, cov)))
    cov = jnp.broadcast_to(cov, shape)
    return Entry(q1, q2, cov, first_tangent(cov, arch))


# in programs: derivatives of equal shapes are traced once
@functools.partial(jax.jit, static_argnames="reversible")
def propagate(
    q1: Float[Array, "..."],
    q2: Float[Array, "..."],
    cov: Float[Array, "..."],
    arch: Architecture,
    *,
    reversible: bool = False,
) -> KernelPair:
    """Takes first-layer covariances to the output: H of docs/theory/kernels.md (7).

    Elementwise; the arguments broadcast. Cost: depth - 1 evaluations of the dual. With
    kinked activations entries of nearly parallel points lose up to half of the digits,
    and variances whose product leaves the range of the dtype all of them: see
    `theory.kernels.nearly_parallel`.

    Args:
        q1: variances of the first points, q = C_b + C_w |x|^2/d.
        q2: variances of the second.
        cov: covariances C_b + C_w x1.x2/d.
        arch: the architecture.
        reversible: whether reverse-mode derivatives are needed: see `Dual.reversible`.
    """
    dual = arch.phi.dual
    pair_of = dual.reversible if reversible else dual.pair

    def step(entry, layer):
        pair = pair_of(entry.q1, entry.q2, entry.cov)
        return entry.next(layer, dual, pair)[0]

    last = through_layers(step, first_entry(q1, q2, cov, arch), arch)
    return KernelPair(nngp=last.cov, ntk=last.ntk)


@jax.jit
def propagate_diag(q: Float[Array, "..."], arch: Architecture) -> KernelPair:
    """Takes first-layer variances to the output: h of docs/theory/kernels.md (7)."""
    dual = arch.phi.dual

    def step(entry, layer):
        q, ntk = entry
        value, slope = dual.diag(q)
        return layer.covariance(value), layer.tangent(value, slope, ntk)

    q, ntk = through_layers(step, (q, first_tangent(q, arch)), arch)
    return KernelPair(nngp=q, ntk=ntk)


def check_ntk(arch: Architecture) -> None:
    """Raises `InputError` if the architecture has no tangent kernel."""
    if arch.depth > 1 and not arch.phi.trainable:
        raise InputError(
            f"{arch.phi.name} has no NTK, its slope vanishes: use theory.nngp, or "
            "another activation."
        )
