"""Dual activations: Gaussian expectations of an activation and of its slope.

For centred (u, v) of variances q1, q2 and covariance cov, theory/README.md (5):

    value = E[phi(u) phi(v)],    slope = E[phi'(u) phi'(v)] = d value / d cov.

Closed forms and quadrature stand behind one protocol, `Dual`. Every function is
elementwise and broadcasts; the diagonal (u = v) has a function of its own, because
there closed forms of kinked activations lose half of their digits to rounding.

References: Cho & Saul 2009 (arc-cosine kernels); Williams 1997 (erf);
Daniely et al. 2016, arXiv:1602.05897 (Hermite series).
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory._numerics import correlation, safe_atan2, safe_sqrt

# Terms of a series summed per pass over a block, so that it is read less often.
_GROUP = 8


class DualPair(NamedTuple):
    """E[phi phi] and E[phi' phi'], elementwise."""

    value: Float[Array, "..."]
    slope: Float[Array, "..."]


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

    def diag(self, q: Float[Array, "..."]) -> DualPair:
        """Returns the dual at u = v, of variance `q`."""
        ...

    def error(self, q: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns a bound on the relative truncation error of `pair` at variance `q`.

        Relative to the diagonal, and attained only as the correlation tends to one.
        Zero for closed forms.
        """
        ...


@dataclasses.dataclass(frozen=True)
class ClosedForm:
    """A dual given by formulas: `pair(q1, q2, cov)` and `diag(q)`."""

    pair: Callable[..., DualPair]
    diag: Callable[..., DualPair]

    def error(self, q: Float[Array, "..."]) -> Float[Array, "..."]:
        """See `Dual.error`."""
        return jnp.zeros_like(q)


def _from_pair(pair: Callable[..., DualPair]) -> ClosedForm:
    """A closed form that is regular at u = v."""
    return ClosedForm(pair, lambda q: pair(q, q, q))


def _identity(q1, q2, cov):
    shape = jnp.broadcast_shapes(jnp.shape(q1), jnp.shape(q2), jnp.shape(cov))
    cov = jnp.broadcast_to(cov, shape)
    return DualPair(cov, jnp.ones_like(cov))


def _erf(q1, q2, cov):
    # (1+2q1)(1+2q2) - 4cov^2, expanded so that it does not cancel at large q
    root = jnp.sqrt(1 + 2 * (q1 + q2) + 4 * jnp.maximum(q1 * q2 - cov**2, 0.0))
    return DualPair(2 / math.pi * jnp.arctan2(2 * cov, root), 4 / math.pi / root)


def _erf_diag(q):
    root = jnp.sqrt(1 + 4 * q)
    return DualPair(2 / math.pi * jnp.arctan2(2 * q, root), 4 / math.pi / root)


def _relu(q1, q2, cov):
    sine = safe_sqrt(q1 * q2 - cov**2)  # sqrt(q1 q2) sin(angle)
    slope = (math.pi - safe_atan2(sine, cov)) / (2 * math.pi)
    return DualPair(sine / (2 * math.pi) + slope * cov, slope)


def _relu_diag(q):
    return DualPair(q / 2, jnp.full_like(q, 0.5))


def _leaky_relu(negative_slope, q1, q2, cov):
    # phi = a u + (1-a) relu(u), and E[u relu(v)] = cov/2
    value, slope = _relu(q1, q2, cov)
    weight = (1 - negative_slope) ** 2
    return DualPair(
        negative_slope * cov + weight * value, negative_slope + weight * slope
    )


def _leaky_relu_diag(negative_slope, q):
    mean_square = (1 + negative_slope**2) / 2
    return DualPair(mean_square * q, jnp.full_like(q, mean_square))


def _step(q1, q2, cov):
    sine = safe_sqrt(q1 * q2 - cov**2)
    value = (math.pi - safe_atan2(sine, cov)) / (2 * math.pi)
    return DualPair(value, jnp.zeros_like(value))


def _step_diag(q):
    return DualPair(jnp.full_like(q, 0.5), jnp.zeros_like(q))


def _sin_and_cos(q1, q2, cov):
    mean = (q1 + q2) / 2
    plus, minus = jnp.exp(cov - mean), jnp.exp(-cov - mean)
    return (plus - minus) / 2, (plus + minus) / 2


def _sin(q1, q2, cov):
    return DualPair(*_sin_and_cos(q1, q2, cov))


def _cos(q1, q2, cov):
    return DualPair(*_sin_and_cos(q1, q2, cov)[::-1])


def _gelu(q1, q2, cov):
    # Stein's lemma on u Phi(u), v Phi(v); density = E[pdf(u) pdf(v)]
    det = 1 + q1 + q2 + jnp.maximum(q1 * q2 - cov**2, 0.0)
    root = jnp.sqrt(det)
    density = 1 / (2 * math.pi * root)
    both_positive = 0.25 + jnp.arctan2(cov, root) / (2 * math.pi)
    one, two = cov / (1 + q1) * density, cov / (1 + q2) * density
    value = q1 * (q2 * density - cov * one) + cov * (both_positive + two)
    slope = both_positive + one + two + cov / det * density
    return DualPair(value, slope)


def _exp(q1, q2, cov):
    value = jnp.exp((q1 + q2) / 2 + cov)
    return DualPair(value, value)


def _gaussian(q1, q2, cov):
    det = 1 + 2 * (q1 + q2) + 4 * jnp.maximum(q1 * q2 - cov**2, 0.0)
    value = 1 / jnp.sqrt(det)
    return DualPair(value, 4 * cov * value / det)


def _monomial(degree, q1, q2, cov):
    def moment(n):
        # E[u^n v^n] = sum over the pairs that join u to v (Isserlis)
        return sum(
            math.comb(n, j) ** 2
            * math.factorial(j)
            * (math.prod(range(n - j - 1, 0, -2))) ** 2
            * (q1 * q2) ** ((n - j) // 2)
            * cov**j
            for j in range(n % 2, n + 1, 2)
        ) * jnp.ones_like(cov)

    return DualPair(moment(degree), degree**2 * moment(degree - 1))


IDENTITY = _from_pair(_identity)
ERF = ClosedForm(_erf, _erf_diag)
RELU = ClosedForm(_relu, _relu_diag)
STEP = ClosedForm(_step, _step_diag)
SIN = _from_pair(_sin)
COS = _from_pair(_cos)
GELU = _from_pair(_gelu)
EXP = _from_pair(_exp)
GAUSSIAN = _from_pair(_gaussian)


def leaky_relu(negative_slope: float) -> ClosedForm:
    """Returns the dual of max(u, 0) + negative_slope min(u, 0)."""
    return ClosedForm(
        functools.partial(_leaky_relu, negative_slope),
        functools.partial(_leaky_relu_diag, negative_slope),
    )


def monomial(degree: int) -> ClosedForm:
    """Returns the dual of u^degree, degree >= 1."""
    return _from_pair(functools.partial(_monomial, degree))


@functools.cache
def _hermite_rule(terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def _ramp(q1, q2, cov):
    """The pair of u_+^2/2, whose slope is relu (Cho & Saul 2009, orders 2 and 1)."""
    sine = safe_sqrt(q1 * q2 - cov**2)
    angle = math.pi - safe_atan2(sine, cov)
    value = (3 * sine * cov + angle * (q1 * q2 + 2 * cov**2)) / (8 * math.pi)
    return DualPair(value, _relu(q1, q2, cov).value)


@functools.cache
def _ramp_series(terms: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of r^n in the pair of u_+^2/2 at unit variances."""
    nodes, weights, hermite = _hermite_rule(terms)
    ramp = np.maximum(nodes, 0)
    value, slope = ((hermite @ (weights * f)) ** 2 for f in (ramp**2 / 2, ramp))
    return value, slope


class _Spectrum(NamedTuple):
    """Hermite coefficients of phi and phi', last axis `terms`, and mean squares."""

    phi: Float[Array, "... terms"]
    dphi: Float[Array, "... terms"]
    square: DualPair


@dataclasses.dataclass(frozen=True)
class Quadrature:
    """The dual of any activation by its Hermite series, theory/README.md (6).

        value = sum_n a_n(q1) a_n(q2) r^n,  a_n(q) = E[phi(sqrt(q) z) he_n(z)],
        slope = the same with phi' in place of phi,  r = cov/sqrt(q1 q2).

    A jump of phi'' at zero makes the series of the slope decay like n^(-5/2) only;
    given the jump, the part that does so is summed in closed form (relu's dual).

    Cost: O(terms) per entry, less where |r| is small: the sum stops at the power of
    the largest |r| that drops below the dtype's resolution. The diagonal is one-
    dimensional quadrature, exact for functions that are smooth apart from zero.
    Validity: `error(q)` measures what is left out, by Parseval, relative to the
    diagonal; it is attained only as r tends to one, elsewhere |r|^terms times smaller.
    At q = 1, 3, 10 it is 2e-13, 1e-10, 1e-5 for tanh, 4e-8, 4e-7, 4e-6 for elu.
    Kinks and jumps of phi itself need a closed form. Forward-mode derivatives only.

    Attributes:
        fn: the activation, elementwise in jax.numpy.
        terms: number of terms of the series.
        curvature_jump: phi''(0+) - phi''(0-).
    """

    fn: Callable[[Array], Array]
    terms: int = 256
    curvature_jump: float = 0.0

    def _spectrum(self, q: Float[Array, "..."]) -> _Spectrum:
        nodes, weights, hermite = (
            jnp.asarray(part, q.dtype)
            for part in _hermite_rule(math.ceil(self.terms / _GROUP) * _GROUP)
        )
        u = jnp.sqrt(q)[..., None] * nodes.reshape((1,) * q.ndim + (-1,))
        phi, dphi = jax.jvp(self.fn, (u,), (jnp.ones_like(u),))
        weights = weights.reshape((1,) * q.ndim + (-1,))
        coefficients = functools.partial(
            jnp.einsum, "...x,tx->...t", precision=jax.lax.Precision.HIGHEST
        )
        return _Spectrum(
            coefficients(phi * weights, hermite),
            coefficients(dphi * weights, hermite),
            DualPair((weights * phi**2).sum(-1), (weights * dphi**2).sum(-1)),
        )

    def pair(
        self,
        q1: Float[Array, "..."],
        q2: Float[Array, "..."],
        cov: Float[Array, "..."],
    ) -> DualPair:
        """See `Dual.pair`."""
        r = correlation(q1, q2, cov)
        one, two = self._spectrum(q1), self._spectrum(q2)
        # the smallest n with max|r|^n below resolution; all terms where |r| is one
        resolution = jnp.finfo(r.dtype).eps
        decay = -jnp.log(jnp.minimum(jnp.abs(jax.lax.stop_gradient(r)).max(), 1.0))
        needed = -math.log(resolution) / jnp.maximum(decay, 1e-30)
        groups = math.ceil(self.terms / _GROUP)
        last = jnp.minimum(needed / _GROUP, groups - 1.0).astype(jnp.int32)
        ramp_scale = self.curvature_jump**2 * jnp.sqrt(q1) * jnp.sqrt(q2)
        ramp_scales = DualPair(ramp_scale * jnp.sqrt(q1) * jnp.sqrt(q2), ramp_scale)

        def coefficients(group, part):
            factors = [
                jax.lax.dynamic_slice_in_dim(
                    one_or_two[part], group * _GROUP, _GROUP, -1
                )
                for one_or_two in (one, two)
            ]
            products = [factors[0][..., n] * factors[1][..., n] for n in range(_GROUP)]
            if not self.curvature_jump:
                return products
            series = jnp.asarray(_ramp_series(groups * _GROUP)[part], r.dtype)
            return [
                product - ramp_scales[part] * series[group * _GROUP + n]
                for n, product in enumerate(products)
            ]

        def horner(i, sums):
            totals = []
            for part in (0, 1):
                total = sums[part]
                for coefficient in reversed(coefficients(last - i, part)):
                    total = total * r + coefficient
                totals.append(total)
            return tuple(totals)

        sums = jax.lax.fori_loop(0, last + 1, horner, (jnp.zeros_like(r),) * 2)
        if not self.curvature_jump:
            return DualPair(*sums)
        ramp = _ramp(q1, q2, cov)
        return DualPair(
            *(sums[part] + self.curvature_jump**2 * ramp[part] for part in (0, 1))
        )

    def diag(self, q: Float[Array, "..."]) -> DualPair:
        """See `Dual.diag`."""
        return self._spectrum(q).square

    def error(self, q: Float[Array, "..."]) -> Float[Array, "..."]:
        """See `Dual.error`: how far `pair` at u = v is from `diag`."""
        series, exact = self.pair(q, q, q), self.diag(q)
        relative = [
            jnp.abs(part - total) / jnp.where(total == 0, 1.0, total)
            for part, total in zip(series, exact, strict=True)
        ]
        return jnp.maximum(*relative)
