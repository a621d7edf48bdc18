"""Duals of any activation, by the Hermite series of docs/theory/kernels.md (6)."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.activations import closed_forms, duals
from theory.numerics.edges import correlation, safe_sqrt

# Terms of a series summed per pass over a block, so that it is read less often.
_GROUP = 8


@functools.cache
def hermite_rule(terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes, Gaussian weights and orthonormal Hermite polynomials (terms, nodes).

    Gauss-Legendre on [-13, 0] and [0, 13]: a kink at zero, where activations have
    theirs, falls on the border and costs nothing. The number of nodes resolves the
    oscillations of the last polynomial, of wave number sqrt(terms).
    """
    reach = 13.0
    count = 64 + int(2 * reach * math.sqrt(terms) / math.pi)
    t, w = np.polynomial.legendre.leggauss(count)
    half = reach * (t + 1) / 2
    nodes = np.concatenate([-half[::-1], half])
    weights = np.concatenate([w[::-1], w]) * reach / 2
    weights = weights * np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)
    hermite = np.empty((terms, nodes.size))
    hermite[0], previous = 1.0, np.zeros_like(nodes)
    for n in range(1, terms):
        hermite[n] = (nodes * hermite[n - 1] - math.sqrt(n - 1) * previous) / n**0.5
        previous = hermite[n - 1]
    return nodes, weights, hermite


@functools.cache
def _ramp_series(terms: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of r^n in the pair of u_+^2/2 at unit variances."""
    nodes, weights, hermite = hermite_rule(terms)
    ramp = np.maximum(nodes, 0)
    value, slope = ((hermite @ (weights * f)) ** 2 for f in (ramp**2 / 2, ramp))
    return value, slope


def coefficients(
    fn: Callable[[Array], Array], q: Float[Array, "..."], terms: int
) -> Float[Array, "... terms"]:
    """Returns a_n(q) = E[fn(sqrt(q) z) he_n(z)] for n < `terms`, on a last axis.

    To rounding for functions that are smooth apart from zero.
    """
    return Quadrature(fn, terms)._coefficients(q, 1)[0][..., :terms]


def slope_of(fn, u):
    """Returns the derivative of elementwise `fn` at `u`."""
    return jax.jvp(fn, (u,), (jnp.ones_like(u),))[1]


@dataclasses.dataclass(frozen=True)
class Quadrature:
    """The dual of any activation by its Hermite series, docs/theory/kernels.md (6).

        value = sum_n a_n(q1) a_n(q2) r^n,  a_n(q) = E[phi(sqrt(q) z) he_n(z)],
        slope = the same with phi' in place of phi,  r = cov/sqrt(q1 q2).

    A jump of phi'' at zero makes the series of the slope decay like n^(-5/2) only;
    given the jump, the part that does so is summed in closed form (relu's dual).

    Cost: O(terms) per entry, less where |r| is small: the sum stops at the power of
    the largest |r| that drops below the dtype's resolution. The diagonal is one-
    dimensional quadrature, exact for functions that are smooth apart from zero.
    Validity: `error(q)` measures what is left out, relative to the diagonal; it is
    attained only as |r| tends to one, elsewhere |r|^terms times smaller. At q = 1, 3
    and 10 it is 2e-13, 1e-10, 1e-5 for tanh with 256 terms.
    Kinks and jumps of phi itself need a closed form.

    Attributes:
        fn: the activation, elementwise in jax.numpy.
        terms: number of terms of the series.
        curvature_jump: phi''(0+) - phi''(0-).
    """

    fn: Callable[[Array], Array]
    terms: int = 256
    curvature_jump: float = 0.0

    def reversible(
        self,
        q1: Float[Array, "..."],
        q2: Float[Array, "..."],
        cov: Float[Array, "..."],
    ) -> duals.DualPair:
        """See `Dual.reversible`."""
        return _pair(self, *(jnp.asarray(part) for part in (q1, q2, cov)))

    @property
    def near(self) -> None:
        """See `Dual.near`: a series of powers of the correlation loses no digits."""

    @property
    def sure(self) -> None:
        """See `Dual.sure`."""

    def _rule(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return hermite_rule(math.ceil(self.terms / _GROUP) * _GROUP)

    def _on_nodes(self, q: Float[Array, "..."], orders: int = 2) -> list[Array]:
        """Phi and its first derivatives at sqrt(q) times the nodes, on a last axis."""
        nodes = jnp.asarray(self._rule()[0], q.dtype).reshape((1,) * q.ndim + (-1,))
        u = safe_sqrt(q)[..., None] * nodes
        fn, values = self.fn, []
        for _ in range(orders):
            values.append(fn(u))
            fn = functools.partial(slope_of, fn)
        return values

    def _coefficients(self, q: Float[Array, "..."], orders: int = 2) -> list[Array]:
        """Of phi and of its first derivatives, the terms on a last axis."""
        _, weights, hermite = self._rule()
        weighted = jnp.asarray((weights * hermite).T, q.dtype)
        multiply = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
        return [multiply(values, weighted) for values in self._on_nodes(q, orders)]

    def _at_end(self, q: Float[Array, "..."], sign: int) -> duals.DualPair:
        """The dual at correlation `sign`, +-1: one-dimensional quadrature."""
        weights = jnp.asarray(self._rule()[1], q.dtype)
        return duals.DualPair(
            *(
                # the nodes are symmetric: backwards is at -u
                jnp.matmul(values * values[..., ::sign], weights)
                for values in self._on_nodes(q)
            )
        )

    def _sums(self, r, factors, less=None):
        """Sum over n of (one_n two_n - less(part, n)) r^n for pairs (one, two)."""
        # the smallest n with max|r|^n below resolution; all terms where |r| is one
        resolution = jnp.finfo(r.dtype).eps
        decay = -jnp.log(jnp.minimum(jnp.abs(jax.lax.stop_gradient(r)).max(), 1.0))
        needed = -math.log(resolution) / jnp.maximum(decay, 1e-30)
        groups = math.ceil(self.terms / _GROUP)
        last = jnp.minimum(needed / _GROUP, groups - 1.0).astype(jnp.int32)

        def coefficients(group, part):
            one, two = (
                jax.lax.dynamic_slice_in_dim(factor, group * _GROUP, _GROUP, -1)
                for factor in factors[part]
            )
            products = [one[..., n] * two[..., n] for n in range(_GROUP)]
            if less is None:
                return products
            return [
                product - less(part, group * _GROUP + n)
                for n, product in enumerate(products)
            ]

        def horner(i, sums):
            totals = []
            for part, total in enumerate(sums):
                for coefficient in reversed(coefficients(last - i, part)):
                    total = total * r + coefficient
                totals.append(total)
            return tuple(totals)

        start = (jnp.zeros_like(r),) * len(factors)
        return jax.lax.fori_loop(0, last + 1, horner, start)

    def pair(
        self,
        q1: Float[Array, "..."],
        q2: Float[Array, "..."],
        cov: Float[Array, "..."],
    ) -> duals.DualPair:
        """See `Dual.pair`: by loops that know forward derivatives alone."""
        r = correlation(q1, q2, cov)
        factors = list(zip(self._coefficients(q1), self._coefficients(q2), strict=True))
        if not self.curvature_jump:
            return duals.DualPair(*self._sums(r, factors))
        scale = self.curvature_jump**2 * safe_sqrt(q1) * safe_sqrt(q2)
        scales = scale * safe_sqrt(q1) * safe_sqrt(q2), scale
        series = [
            jnp.asarray(part, r.dtype)
            for part in _ramp_series(math.ceil(self.terms / _GROUP) * _GROUP)
        ]
        sums = self._sums(r, factors, lambda part, n: scales[part] * series[part][n])
        ramp = closed_forms.ramp(q1, q2, cov)
        return duals.DualPair(
            *(sums[part] + self.curvature_jump**2 * ramp[part] for part in (0, 1))
        )

    def derivatives(
        self,
        q1: Float[Array, "..."],
        q2: Float[Array, "..."],
        cov: Float[Array, "..."],
    ) -> duals.DualDerivatives:
        """See `Dual.derivatives`: series of phi's slopes, docs/theory/kernels.md (F1).

        With a jump of phi'' the third slope holds a delta function, and the
        corrected series is differentiated instead.
        """
        if self.curvature_jump:
            return duals.pair_jvp(self.pair, q1, q2, cov)
        r = correlation(q1, q2, cov)
        one, two = (self._coefficients(q, 4) for q in (q1, q2))
        orders = ((0, 0), (1, 1), (2, 0), (0, 2), (3, 1), (1, 3), (2, 2))
        sums = self._sums(r, [(one[i], two[j]) for i, j in orders])
        halves = (total / 2 for total in sums[2:6])
        return duals.DualDerivatives(*sums[:2], *halves, sums[6])

    def diag(self, q: Float[Array, "..."]) -> duals.DualPair:
        """See `Dual.diag`."""
        return self._at_end(q, 1)

    def diag_derivatives(self, q: Float[Array, "..."]) -> duals.DiagDerivatives:
        """See `Dual.diag_derivatives`: docs/theory/kernels.md (F2)."""
        if self.curvature_jump:
            return duals.diag_jvp(self.diag, q)
        weights = jnp.asarray(self._rule()[1], q.dtype)
        phi, first, second, third = self._on_nodes(q, 4)
        means = (
            phi**2,
            first**2,
            first**2 + second * phi,
            second**2 + third * first,
        )
        return duals.DiagDerivatives(*(jnp.matmul(mean, weights) for mean in means))

    def error(self, q: Float[Array, "..."]) -> Float[Array, "..."]:
        """See `Dual.error`: how wrong `pair` is at u = v and at u = -v.

        Without a jump all that is left out adds up at the first; with one, terms of
        both signs are left, and it is the larger that counts.
        """
        diag, worst = self.diag(q), jnp.zeros_like(q)
        for sign in (1, -1):
            for part, exact, scale in zip(
                self.pair(q, q, sign * q), self._at_end(q, sign), diag, strict=True
            ):
                missing = jnp.abs(part - exact) / jnp.where(scale == 0, 1.0, scale)
                worst = jnp.maximum(worst, missing)
        return worst


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _pair(dual: Quadrature, q1, q2, cov) -> duals.DualPair:
    return dual.pair(q1, q2, cov)


@functools.partial(_pair.defjvp, symbolic_zeros=True)
def _pair_jvp(dual, primals, tangents):
    """The derivative as a number for each entry, times a change: that is transposed.

    The loops of the sums are not: how long they are depends on the values.
    """
    found = _pair(dual, *primals)
    change = jax.tree.map(jnp.zeros_like, found)
    for which, tangent in enumerate(tangents):
        if isinstance(tangent, jax.custom_derivatives.SymbolicZero):
            continue
        unit = [jnp.full_like(each, k == which) for k, each in enumerate(primals)]
        rates = jax.jvp(dual.pair, primals, tuple(unit))[1]
        change = jax.tree.map(lambda c, rate, t=tangent: c + rate * t, change, rates)
    return found, change
