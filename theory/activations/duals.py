"""Dual activations: Gaussian expectations of an activation and of its slope.

For centred (u, v) of variances q1, q2 and covariance cov, docs/theory/kernels.md (5):

    value = E[phi(u) phi(v)],    slope = E[phi'(u) phi'(v)] = d value / d cov.

Their derivatives in (q1, q2, cov) are Gaussian means of slopes of phi by Price's
theorem, docs/theory/kernels.md (F1)-(F2); closed forms are differentiated as they
stand. Closed forms, here, and quadrature, in `hermite`, stand behind one protocol,
`Dual`. Every function is elementwise and broadcasts; the diagonal (u = v) has a
function of its own, because there closed forms of kinked activations lose half of their
digits to rounding.

References: Cho & Saul 2009 (arc-cosine kernels); Williams 1997 (erf);
Daniely et al. 2016, arXiv:1602.05897 (Hermite series); Price 1958.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from theory.numerics.edges import safe_sqrt


class DualPair(NamedTuple):
    """E[phi phi] and E[phi' phi'], elementwise."""

    value: Float[Array, "..."]
    slope: Float[Array, "..."]


class NearPair(NamedTuple):
    """A dual, and the gap of its values, sqrt(E[phi(u)^2] E[phi(v)^2]) - E[phi phi].

    The gap is None where subtracting loses no digits that count.
    """

    pair: DualPair
    gap: Float[Array, "..."] | None


class DualDerivatives(NamedTuple):
    """A dual and its derivatives, elementwise; `slope` is that of `value` in `cov`.

    The suffix names the argument: `value_1` is d value / d q1.
    """

    value: Float[Array, "..."]
    slope: Float[Array, "..."]
    value_1: Float[Array, "..."]
    value_2: Float[Array, "..."]
    slope_1: Float[Array, "..."]
    slope_2: Float[Array, "..."]
    slope_cov: Float[Array, "..."]


class DiagDerivatives(NamedTuple):
    """E[phi^2] and E[phi'^2] with their derivatives in the variance, elementwise."""

    value: Float[Array, "..."]
    slope: Float[Array, "..."]
    value_q: Float[Array, "..."]
    slope_q: Float[Array, "..."]


@runtime_checkable
class Dual(Protocol):
    """What the kernels need to know of an activation."""

    def pair(
        self,
        q1: Float[Array, "..."],
        q2: Float[Array, "..."],
        cov: Float[Array, "..."],
    ) -> DualPair:
        """Returns the dual at variances `q1`, `q2` and covariance `cov`."""
        ...

    @property
    def reversible(self) -> Callable[..., DualPair]:
        """`pair` with derivatives in reverse mode too.

        Of quadrature its forward derivatives take twice as long as those of `pair`.
        """
        ...

    def diag(self, q: Float[Array, "..."]) -> DualPair:
        """Returns the dual at u = v, of variance `q`."""
        ...

    def derivatives(
        self,
        q1: Float[Array, "..."],
        q2: Float[Array, "..."],
        cov: Float[Array, "..."],
    ) -> DualDerivatives:
        """Returns the dual and its derivatives; the arguments broadcast."""
        ...

    def diag_derivatives(self, q: Float[Array, "..."]) -> DiagDerivatives:
        """Returns the dual at u = v and its derivatives in the common variance."""
        ...

    @property
    def near(self) -> Callable[..., NearPair] | None:
        """The dual (q1, q2, cov, gap) of pairs that may be nearly parallel, or large.

        It takes the gap sqrt(q1 q2) - cov and keeps all digits of it; and products of
        variances, which leave the range of the dtype, do not occur. None if `pair` is
        as good.
        """
        ...

    @property
    def sure(self) -> Callable[..., Bool[Array, "..."]] | None:
        """Where `pair` (q1, q2, cov) is as good as `near`; with it or None."""
        ...

    def error(self, q: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns a bound on the relative truncation error of `pair` at variance `q`.

        Relative to the diagonal, and attained only as the correlation tends to one.
        Zero for closed forms.
        """
        ...


def gap(
    q1: Float[Array, "..."], q2: Float[Array, "..."], cov: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Returns sqrt(q1 q2) - cov, zero where rounding makes it negative.

    Its derivative is that of the formula even there: regular duals have one at u = v.
    Square roots are taken first: products of variances leave the range of the dtype.
    """
    found = safe_sqrt(q1) * safe_sqrt(q2) - cov
    return found + jax.lax.stop_gradient(jnp.maximum(found, 0.0) - found)


def opposite_gap(
    q1: Float[Array, "..."], q2: Float[Array, "..."], cov: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Returns sqrt(q1 q2) + cov: the gap of u and -v."""
    return gap(q1, q2, -cov)


def pair_jvp(
    pair: Callable[..., DualPair],
    q1: Float[Array, "..."],
    q2: Float[Array, "..."],
    cov: Float[Array, "..."],
) -> DualDerivatives:
    """Returns the derivatives of any `Dual.pair` by automatic differentiation.

    For kinked activations valid at |cov| < sqrt(q1 q2) only: at equality phi'' phi''
    has no mean, and the derivatives are finite but arbitrary.
    """
    args = tuple(jnp.asarray(arg) for arg in (q1, q2, cov))
    tangents = []
    for which in range(3):
        unit = tuple(jnp.full_like(arg, which == i) for i, arg in enumerate(args))
        value, tangent = jax.jvp(pair, args, unit)
        tangents.append(tangent)
    one, two, by_cov = tangents
    return DualDerivatives(
        *value, one.value, two.value, one.slope, two.slope, by_cov.slope
    )


def diag_jvp(diag: Callable[..., DualPair], q: Float[Array, "..."]) -> DiagDerivatives:
    """Returns the derivatives of any `Dual.diag` by automatic differentiation."""
    q = jnp.asarray(q)
    value, tangent = jax.jvp(diag, (q,), (jnp.ones_like(q),))
    return DiagDerivatives(*value, *tangent)
