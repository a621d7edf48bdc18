"""When heavy corruption leaves the nearest-class-mean rule, and not its opposite.

The gain of the class-mean law has the sign of T*, the slope of the test row's kernel in
the overlap with a training image. T* is a product over layers, docs/theory/kernels.md
(F5), whose factors are not negative if in every layer the covariance and the kernel are
not negative and no Hermite coefficient of order n >= 1 has opposite signs at the
variances of training and test point, docs/theory/first_order.md (F12). That is
sufficient; the slope itself is evaluated beside it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from theory.activations import hermite, registry
from theory.corruption.corruptions import Additive, Replacement
from theory.errors import check_count
from theory.kernels import propagation
from theory.kernels.architecture import Architecture
from theory.kernels.slopes import transfer
from theory.numerics.signatures import checked
from theory.problem import Problem
from theory.records import record
from theory.renamed import renamed
from theory.routes.checks import check_inputs

# Of the root of the mean square: coefficients below are zero, up to rounding.
_TOLERANCE = 1e-12


@record(kw_only=True)
class GainSign:
    """The sign of the gain at every test point, and what guarantees it.

    Attributes:
        slope: T*, to which the gain is proportional.
        sign: of the slope, evaluated: 1, 0 (within rounding) or -1.
        guaranteed: whether the conditions hold, so that the slope is not negative.
        layer: first layer, from 1, where a condition fails; 0 where none does.
        order: Hermite order of opposite signs in that layer; -1 where it is the
            covariance or the kernel that is negative, or nothing fails.
        q_train: variance of a training point in that layer; 0 where nothing fails.
        q_test: variance of the test point there; 0 likewise.
    """

    slope: Float[Array, " n"]
    sign: Int[Array, " n"]
    guaranteed: Bool[Array, " n"]
    layer: Int[Array, " n"]
    order: Int[Array, " n"]
    q_train: Float[Array, " n"]
    q_test: Float[Array, " n"]

    @property
    def positive(self) -> bool:
        """Whether the gain is positive at every test point. Host only."""
        return bool((self.sign > 0).all())

    @property
    def reason(self) -> str:
        """What was found, in words: the commonest failure if there are several."""
        total = self.sign.size
        counts = [int((self.sign == value).sum()) for value in (1, 0, -1)]
        found = "gain positive at {} of {} points, zero at {}, negative at {}".format(
            counts[0], total, *counts[1:]
        )
        layer, order = np.asarray(self.layer).ravel(), np.asarray(self.order).ravel()
        failed = layer > 0
        if not failed.any():
            return f"{found}: covariances and Hermite coefficients keep their signs"
        kinds, numbers = np.unique(
            np.stack([layer, order])[:, failed], axis=1, return_counts=True
        )
        one, which = kinds[:, numbers.argmax()]
        here = (layer == one) & (order == which)
        if which < 0:
            what = f"covariance or kernel negative in layer {one}"
        else:
            q = np.asarray(self.q_test).ravel()[here]
            what = (
                f"Hermite coefficient {which} of layer {one} changes its sign between "
                f"variances {float(np.asarray(self.q_train).ravel()[here][0]):.3g} and "
                f"{q.min():.3g} ... {q.max():.3g}"
            )
        return f"{found}: not guaranteed at {failed.sum()}, {what}"


def sign_changes(
    activation: str | registry.Activation,
    variances: Float[Array, " m"],
    *,
    orders: int = 16,
) -> Bool[Array, " orders"]:
    """Returns, for orders 1 ... `orders`, whether a coefficient takes both signs.

    Args:
        activation: a name or an `Activation`.
        variances: q at which a_n(q) of docs/theory/kernels.md (6) is looked at.
        orders: the largest order.
    """
    fn = registry.get(activation).fn
    signs = _signs(fn, jnp.asarray(variances), orders + 1)[:, 1:]
    return (signs > 0).any(axis=0) & (signs < 0).any(axis=0)


def _signs(fn, q, terms):
    """Signs of the Hermite coefficients, zero within rounding, on a last axis."""
    values = hermite.coefficients(fn, q, terms)
    scale = jnp.sqrt((values**2).sum(-1, keepdims=True))
    return jnp.where(jnp.abs(values) > _TOLERANCE * scale, jnp.sign(values), 0.0)


@functools.partial(jax.jit, static_argnames="orders")
def slope_sign(
    q_test: Float[Array, " n"],
    q_train: Float[Array, " n"],
    cov: Float[Array, " n"],
    arch: Architecture,
    *,
    orders: int = 64,
) -> GainSign:
    """Returns the sign of T = dH/dk at numbers of the first layer.

    Args:
        q_test: variances of the test points.
        q_train: variances of the training points.
        cov: their covariances.
        arch: the architecture.
        orders: Hermite coefficients that are looked at, in every layer.
    """
    dual, (q1, q2, k) = arch.phi.dual, jnp.broadcast_arrays(q_test, q_train, cov)
    slope = transfer(q1, q2, k, arch).by_cov
    size = (
        propagation.propagate_diag(q1, arch).ntk
        * propagation.propagate_diag(q2, arch).ntk
    )
    scale = jnp.sqrt(size / jnp.where(q1 * q2 > 0, q1 * q2, jnp.inf))
    ntk = propagation.first_tangent(k, arch)
    layer, order = (jnp.full(q1.shape, start, int) for start in (0, -1))
    where_1, where_2 = jnp.zeros_like(q1), jnp.zeros_like(q1)
    for number, hidden in enumerate(propagation.hidden_layers(arch), start=1):
        one, two = (_signs(arch.phi.fn, q, orders + 1)[..., 1:] for q in (q1, q2))
        opposite = one * two < 0
        floor = -_TOLERANCE * jnp.sqrt(q1 * q2)
        negative = (k < floor) | (ntk < floor)
        fails = (layer == 0) & (negative | opposite.any(-1))
        which = jnp.where(negative, -1, 1 + jnp.argmax(opposite, -1))
        layer, order = jnp.where(fails, number, layer), jnp.where(fails, which, order)
        where_1, where_2 = (
            jnp.where(fails, q, before) for q, before in ((q1, where_1), (q2, where_2))
        )
        f = dual.pair(q1, q2, k)
        ntk, k = hidden.tangent(*f, ntk), hidden.covariance(f.value)
        q1, q2 = (hidden.covariance(dual.diag(q).value) for q in (q1, q2))
    sign = jnp.where(jnp.abs(slope) > _TOLERANCE * scale, jnp.sign(slope), 0.0)
    return GainSign(
        slope=slope,
        sign=sign.astype(int),
        guaranteed=layer == 0,
        layer=layer,
        order=order,
        q_train=where_2,
        q_test=where_1,
    )


@renamed("noise", "corruption")
@checked
def gain_sign(
    arch: Architecture,
    corruption: Replacement | Additive,
    problem: Problem,
    *,
    orders: int = 64,
) -> GainSign:
    """Returns the sign of the gain of `first_order` at every test point.

    Cost: O(n_test depth orders) times some 200 quadrature nodes.

    Args:
        arch: the architecture.
        corruption: the corruption; its noise counts, not its level.
        problem: the data; only the test points count.
        orders: Hermite coefficients that are looked at.

    Returns:
        The signs; `reason` puts them into words. Coefficients are computed by a rule
        that is exact for functions smooth apart from zero; a kink elsewhere makes
        vanishing ones look like 1e-4, so that a guarantee may be withheld.
    """
    check_inputs(arch, corruption, problem)
    check_count("orders", orders)
    mean, square, *_ = corruption.noise.raw_moments()
    x = problem.x_test
    q_test = propagation.first_layer_variance(x, arch)
    q_train = jnp.full_like(q_test, arch.b_var + arch.w_var * square)
    cov = arch.b_var + arch.w_var * mean * x.mean(axis=1)
    return slope_sign(q_test, q_train, cov, arch, orders=orders)
