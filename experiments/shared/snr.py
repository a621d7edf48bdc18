"""Signal to noise ratio over corruption draws: as estimated, and as a law expects it.

For a number z of a test point, such as the output of its class, and K draws,

    SNR = (mean of z)^2 / variance of z, with K - 1 in its denominator,

whose logarithm is averaged over test points. With few draws it is biased; the law knows
by how much, as outputs are Gaussian.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats

import theory

QUANTITIES = ("true class", "margin")
# Initialisation noise is added to a kernel's draws this many times.
_REPLICAS = 32


class Estimate(NamedTuple):
    """Mean of ln SNR over test points; its standard error over draws, NaN of a law."""

    value: float
    stderr: float


def weights(quantity: str, labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns what to multiply outputs by, (n, c), and to sum over classes.

    "true class" is the output of the label; "margin" less the mean of the others.
    """
    own = np.eye(classes)[labels]
    return own if quantity == "true class" else own - (1 - own) / (classes - 1)


def _mean_log(mean: np.ndarray, variance: np.ndarray, draws: int | None) -> np.ndarray:
    """E ln SNR of Gaussian z estimated from `draws`; None is infinitely many.

    Of the square of the mean, ln(v/K) + E ln chi'^2_1(L) with L = K m^2/v; of the
    variance, ln v + E ln chi^2_{K-1}/(K - 1).
    """
    if draws is None:
        return np.log(mean**2 / variance)
    degrees = draws - 1
    log_variance = np.log(2 / degrees) + scipy.special.digamma(degrees / 2)
    shift = draws * mean**2 / variance
    return _log_noncentral(shift) - np.log(draws) - log_variance


def _log_noncentral(shift: np.ndarray) -> np.ndarray:
    """E ln chi'^2_1(shift), a Poisson mixture of E ln chi^2; E ln (sqrt(shift) + g)^2.

    From 1 000 on its expansion, to 1e-7.
    """
    far = shift > 1000
    half = np.where(far, 0.0, shift) / 2
    counts = np.arange(half.max() + 12 * np.sqrt(half.max()) + 60)[:, None]
    chance = scipy.stats.poisson.pmf(counts, half[None, :])
    near = np.log(2) + (chance * scipy.special.digamma(counts + 0.5)).sum(axis=0)
    large = np.where(far, shift, 1000.0)
    return np.where(far, np.log(large) - 1 / large - 1.5 / large**2, near)


def of_law(
    law: theory.OutputLaw,
    labels: np.ndarray,
    quantity: str,
    *,
    inits: int | None,
    draws: int | None,
) -> Estimate:
    """Returns what the law expects of means of `inits` networks; None is all."""
    mean, cov = np.asarray(law.mean, float), np.asarray(law.cov, float)
    a = weights(quantity, labels, mean.shape[1])
    variance = np.einsum("ni,nij,nj->n", a, cov, a)
    if inits is not None and law.init_var is not None:
        own = np.asarray(law.init_class_cov(), float)
        variance = variance + np.einsum("ni,nij,nj->n", a, own, a) / inits
    found = _mean_log((a * mean).sum(axis=1), variance, draws)
    return Estimate(float(found.mean()), float("nan"))


def _fold(z: np.ndarray) -> float:
    """Mean over points of the logarithm of the ratio, of z (..., draw, point)."""
    signal, noise = z.mean(axis=-2) ** 2, z.var(axis=-2, ddof=1)
    return float(np.log(signal / noise).mean())


def of_draws(
    found: theory.Draws, labels: np.ndarray, quantity: str, *, inits: int
) -> Estimate:
    """Returns the estimate from draws, of means of `inits` networks.

    Its error is the jackknife's over draws, 2 to 60 % too large for simulated ratios
    from .3 to 10. Networks are taken as they are; to a kernel the noise of the
    initialisations is added, by fixed random numbers.
    """
    outputs = np.asarray(found.outputs, float).mean(axis=1)
    a = weights(quantity, labels, outputs.shape[-1])
    z = (outputs * a).sum(axis=-1)
    if found.init_var is not None:
        own = np.asarray(found.init_class_cov(), float)
        sd = np.sqrt(np.einsum("ni,knij,nj->kn", a, own, a) / inits)
        noise = np.random.default_rng(0).normal(size=(_REPLICAS, *z.shape))
        z = z + sd * noise
    draws = z.shape[-2]
    without = np.array(
        [_fold(np.delete(z, k, axis=-2)) for k in range(draws)] if draws > 2 else []
    )
    stderr = float("nan")
    if len(without):
        stderr = float(np.sqrt((draws - 1) * without.var()))
    return Estimate(_fold(z), stderr)


class Exponents(NamedTuple):
    """ln SNR = constant + n ln N + d ln d: slopes, and half of their 95 % intervals."""

    n: float
    d: float
    n_error: float
    d_error: float


def exponents(n: np.ndarray, d: np.ndarray, log_snr: np.ndarray) -> Exponents | None:
    """Fits the exponents by least squares; None where the cells do not tell.

    Intervals are those of the residuals, with as many degrees of freedom as they have.
    """
    x = np.stack([np.ones(len(n)), np.log(n), np.log(d)], axis=1)
    degrees = len(n) - 3
    if degrees < 1 or np.linalg.matrix_rank(x) < 3:
        return None
    slopes, residual, *_ = np.linalg.lstsq(x, log_snr)
    cov = np.linalg.inv(x.T @ x) * residual[0] / degrees
    half = scipy.stats.t.ppf(0.975, degrees) * np.sqrt(np.diag(cov))
    return Exponents(slopes[1], slopes[2], half[1], half[2])


def product_slope(
    n: np.ndarray, d: np.ndarray, log_snr: np.ndarray
) -> tuple[float, float, float]:
    """Returns slope, half of its 95 % interval and R2 of ln SNR against ln(N d)."""
    fit = scipy.stats.linregress(np.log(n * d), log_snr)
    half = scipy.stats.t.ppf(0.975, len(n) - 2) * fit.stderr
    return float(fit.slope), float(half), float(fit.rvalue**2)
