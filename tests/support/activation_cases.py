"""The table of activations, how closeness is judged, and an oracle of Gaussian means.

The functions of the table are written in NumPy, independently of `theory.activations`;
the oracle integrates them in polar coordinates, where a kink at zero is a ray.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import scipy.special

# STYLE: rtol and atol by dtype; a test that needs a looser one says why.
_TOLERANCE = {"float64": (1e-10, 1e-12), "float32": (2e-5, 1e-6)}


@dataclasses.dataclass(frozen=True)
class Case:
    """An activation, in NumPy.

    Attributes:
        name: as in `theory.activations`.
        phi: the function.
        slope: its derivative.
        kind: "closed" (a regular formula), "kinked" (a formula with a square root that
            vanishes at correlation one) or "quadrature".
        smooth: whether Gauss-Hermite rules of neural-tangents converge; if they do
            not, its reference are integrals of our own.
        w_var: a weight variance at which kernels of inputs of mean square one neither
            explode nor die in six layers, without biases.
    """

    name: str
    phi: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    kind: str
    w_var: float = 1.6
    smooth: bool = True

    @property
    def trainable(self) -> bool:
        return self.name != "step"


def _normal_density(u):
    return np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)


def _sigmoid_slope(u):
    return scipy.special.expit(u) * scipy.special.expit(-u)


def _silu_slope(u):
    return scipy.special.expit(u) + u * _sigmoid_slope(u)


def _sech_squared(u):
    # 1 - tanh^2 cancels; at |u| > 300 cosh^2 overflows, where the slope is zero
    return 1 / np.cosh(np.minimum(np.abs(u), 300.0)) ** 2


CASES = (
    Case("identity", lambda u: u, np.ones_like, "closed", 1.0),
    Case(
        "erf", scipy.special.erf, lambda u: 2 / np.pi**0.5 * np.exp(-(u**2)), "closed"
    ),
    Case("relu", lambda u: np.maximum(u, 0), lambda u: 1.0 * (u > 0), "kinked", 2.0),
    Case(
        "leaky_relu",
        lambda u: np.where(u > 0, u, 0.01 * u),
        lambda u: np.where(u > 0, 1.0, 0.01),
        "kinked",
        2.0,
    ),
    Case("step", lambda u: 1.0 * (u > 0), np.zeros_like, "kinked"),
    Case("sin", np.sin, np.cos, "closed"),
    Case("cos", np.cos, lambda u: -np.sin(u), "closed"),
    Case(
        "gelu",
        lambda u: u * scipy.special.ndtr(u),
        lambda u: scipy.special.ndtr(u) + u * _normal_density(u),
        "closed",
        2.0,
    ),
    # without growth: w exp(2q) = q has a solution only for w < 1/(2e)
    Case("exp", np.exp, np.exp, "closed", 0.12),
    Case(
        "gaussian",
        lambda u: np.exp(-(u**2)),
        lambda u: -2 * u * np.exp(-(u**2)),
        "closed",
    ),
    # fixed points of q -> w (2n-1)!! q^n at q = w, where the first layer starts
    Case("monomial2", lambda u: u**2, lambda u: 2 * u, "closed", 3 ** (-1 / 2)),
    Case("monomial3", lambda u: u**3, lambda u: 3 * u**2, "closed", 15 ** (-1 / 3)),
    Case("monomial4", lambda u: u**4, lambda u: 4 * u**3, "closed", 105 ** (-1 / 4)),
    Case("tanh", np.tanh, _sech_squared, "quadrature"),
    Case(
        "sin_less_sin3",
        lambda u: np.sin(u) - np.sin(3 * u),
        lambda u: np.cos(u) - 3 * np.cos(3 * u),
        "closed",
    ),
    Case("sigmoid", scipy.special.expit, _sigmoid_slope, "quadrature"),
    Case("silu", lambda u: u * scipy.special.expit(u), _silu_slope, "quadrature", 2.0),
    Case(
        "softplus",
        lambda u: np.logaddexp(u, 0),
        scipy.special.expit,
        "quadrature",
        0.8,
    ),
    Case(
        "elu",
        lambda u: np.where(u > 0, u, np.expm1(np.minimum(u, 0))),
        lambda u: np.where(u > 0, 1.0, np.exp(np.minimum(u, 0))),
        "quadrature",
        smooth=False,  # its second derivative jumps
    ),
)
BY_NAME = {case.name: case for case in CASES}
TRAINABLE = tuple(case for case in CASES if case.trainable)
# Spellings of an activation that the table has under another name.
ALIASES = {"swish": "silu"}


def ids(cases):
    """Names for `pytest.mark.parametrize`."""
    return [case.name for case in cases]


def _panels(edges, count):
    """Gauss-Legendre nodes and weights, `count` between each two neighbours."""
    t, w = np.polynomial.legendre.leggauss(count)
    left, half = np.asarray(edges[:-1]), np.diff(edges)[:, None] / 2
    return (left[:, None] + half * (1 + t)).ravel(), (half * w).ravel()


@functools.cache
def gaussian_means(case, q1, q2, r):
    """E[phi phi] and E[phi' phi'] by quadrature that is exact for kinks at zero.

    u = sqrt(q1) rho cos(alpha), v = sqrt(q2) rho cos(alpha - theta), cos(theta) = r,
    rho of density rho exp(-rho^2/2), alpha uniform. u and v change sign at fixed
    alpha: panels end there. Checked in test_duals.py against exact moments.

    Args:
        case: of the table.
        q1: variance of u, a number.
        q2: variance of v, a number.
        r: their correlation, a number.
    """
    # slopes turn within 1/sqrt(q) of zero
    count = 64 if max(q1, q2) <= 4 else 128
    theta = np.arccos(r)
    edges = np.array([-np.pi, theta - np.pi, 0.0, theta, np.pi]) + np.pi / 2
    alpha, w_alpha = _panels(edges, count)
    rho, w_rho = _panels(np.array([0.0, 1.0, 3.0, 8.0, 18.0]), 24)
    w_rho = w_rho * rho * np.exp(-(rho**2) / 2) / (2 * np.pi)
    # cos(alpha) and cos(alpha - theta) by their distance from a zero, so that the sign
    # of u and v inside a panel is right even if theta is tiny
    u = np.sqrt(q1) * rho[:, None] * np.sin(np.pi / 2 - alpha)
    v = np.sqrt(q2) * rho[:, None] * np.sin(np.pi / 2 - alpha + theta)
    return tuple(w_rho @ (f(u) * f(v)) @ w_alpha for f in (case.phi, case.slope))


def reference_kernels(case, x1, x2, *, depth, w_var, b_var, w_rates, b_rates):
    """NNGP and NTK by the recursion, in NumPy, every mean by `gaussian_means`."""
    d = x1.shape[1]
    variances = [b_var + w_var * (x**2).sum(1) / d for x in (x1, x2)]
    nngp = b_var + w_var * x1 @ x2.T / d
    ntk = w_rates[0] * (nngp - b_var) + b_rates[0]
    for a, b in list(zip(w_rates, b_rates, strict=True))[1:depth]:
        value, slope = np.empty_like(nngp), np.empty_like(nngp)
        for i, q1 in enumerate(variances[0]):
            for j, q2 in enumerate(variances[1]):
                r = np.clip(nngp[i, j] / np.sqrt(q1 * q2), -1, 1)
                value[i, j], slope[i, j] = gaussian_means(case, q1, q2, r)
        variances = [
            np.array([b_var + w_var * gaussian_means(case, q, q, 1.0)[0] for q in qs])
            for qs in variances
        ]
        nngp = b_var + w_var * value
        ntk = a * w_var * value + b + w_var * slope * ntk
    return nngp, ntk
