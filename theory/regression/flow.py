"""Regression with noisy features, trained for a finite time.

Gradient flow for a time t is a sum of complex ridges (`theory.regression.poles`), and
the deterministic equivalent holds at each of them: mean predictions are sums over
poles, covariances sums over pairs of poles, whose two resolvents meet in one matrix Pi.

Equations: docs/theory/training.md (D6) and docs/theory/regression.md (E11).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from theory.numerics.edges import matmul
from theory.records import record
from theory.regression import responses
from theory.regression.equivalent import Equivalent, Rows, solve
from theory.regression.poles import flow_poles

# Pairs of poles: the weights of all modes to 1.2e-8.
_PAIRS = 5
# A complex ridge is reached from the positive one of its size, turned in steps: the
# solution is followed, and no other one is found.
_TURNS = 4
# A pole meets every pole as it is, and conjugated.
_WAYS = (lambda part: part, jnp.conj)

F = TypeVar("F", bound=Callable[..., Any])


def _promoting(function: F) -> F:
    """Lets complex rows meet real features, which strict promotion would refuse."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        with jax.numpy_dtype_promotion("standard"):
            return function(*args, **kwargs)

    return cast(F, run)


@record(kw_only=True)
class Flow:
    """The equivalents at all poles, and what pairs of them need.

    `kernel` and `y_pairs` are those of `Equivalent` for two resolvents.
    """

    residues: Complex[Array, " k"]
    solutions: tuple[Equivalent, ...]
    kernel: Complex[Array, "2 k k 2 2"]
    y_pairs: Complex[Array, "2 k k 2 c c"]


@record(kw_only=True)
class FlowResponses:
    """Mean predictions at test points, and their duals at every pole."""

    mean: Float[Array, "t c"]
    rows: Complex[Array, "k t n"]
    features: Complex[Array, "k t m"]


def _turned(rows: Rows, unit: Float[Array, " n"], pole: complex) -> Equivalent:
    """The equivalent at a complex ridge."""
    dtype = np.result_type(rows.base.dtype, np.complex64)
    start = None
    for angle in np.linspace(0.0, np.angle(pole), _TURNS + 1):
        ridge = jnp.asarray(abs(pole) * np.exp(1j * angle), dtype) * unit.astype(dtype)
        at = dataclasses.replace(
            rows,
            base=rows.base.astype(dtype) + ridge,
            idle=rows.idle.astype(dtype) + ridge[: rows.idle.shape[0]],
            y=rows.y.astype(dtype),
        )
        found = solve(at, start)
        start = (found.tau, found.omega)
    return found


@jax.jit
def _meet(one: Equivalent, two: Equivalent) -> tuple[Array, Array]:
    """Kernel and pairings of the targets of two resolvents."""
    mean, noise, idle = one.rows.mean, one.rows.noise, one.rows.idle_count
    k, k_idle = one.rows.base + one.shift, one.rows.idle + one.shift
    l, l_idle = two.rows.base + two.shift, two.rows.idle + two.shift
    joint = matmul(mean.T, mean / (k * l)[:, None])
    leverage_k, leverage_l = (
        (matmul(mean, of.lam) * mean).sum(axis=1) for of in (one, two)
    )
    at_k, at_l = (matmul(of.lam, joint) for of in (one, two))
    rows = ((1 - leverage_k / k - leverage_l / l) / (k * l)).sum()
    rows = rows + (at_k * at_l.T).sum() + idle * (1 / (k_idle * l_idle)).sum()
    cross = (matmul(at_k, two.lam) * noise).sum()
    features = (matmul(noise, one.lam) * matmul(noise, two.lam).T).sum()
    pi = jnp.array([[rows, cross], [cross, features]])
    join = jnp.array([[one.rows.entry_noise, 1], [1, 0]]).astype(pi.dtype)
    y_pairs = jnp.stack(
        [
            matmul(one.y_rows.T, two.y_rows),
            matmul(one.y_features.T, matmul(noise, two.y_features)),
        ]
    )
    return matmul(join, jnp.linalg.inv(jnp.eye(2, dtype=pi.dtype) - pi @ join)), y_pairs


@_promoting
def train(rows: Rows, unit: Float[Array, " n"], time: float) -> Flow:
    """Solves the regression trained by gradient flow for `time`.

    Cost: 5 poles of some 15 Newton steps in complex numbers, 12 n m^2 multiply-adds
    each.

    Args:
        rows: the rows, without ridge.
        unit: what a unit of ridge adds to the base of every row.
        time: positive and finite.
    """
    residues, poles = flow_poles(time, _PAIRS)
    solutions = tuple(_turned(rows, unit, complex(pole)) for pole in poles)
    met = [
        _meet(one, jax.tree.map(way, two))
        for way in _WAYS
        for one in solutions
        for two in solutions
    ]
    kernel, y_pairs = (
        jnp.stack(part).reshape(2, len(poles), len(poles), *part[0].shape)
        for part in zip(*met, strict=True)
    )
    return Flow(
        residues=jnp.asarray(residues, kernel.dtype),
        solutions=solutions,
        kernel=kernel,
        y_pairs=y_pairs,
    )


@_promoting
def respond(
    flow: Flow, g: Float[Array, "t n"], w: Float[Array, "t m"]
) -> FlowResponses:
    """Returns mean predictions and duals of test rows: 8 t n m multiply-adds a pole."""
    found = [responses.respond(of, g, w) for of in flow.solutions]
    mean, rows, features = (
        jnp.stack([getattr(each, part) for each in found])
        for part in ("mean", "rows", "features")
    )
    return FlowResponses(
        mean=jnp.einsum("k,kti->ti", flow.residues, mean).real,
        rows=rows,
        features=features,
    )


def _covariance(flow: Flow, one: FlowResponses, two: FlowResponses, s: str) -> Array:
    """(E11) of test points t of `one` and s of `two`; s = t pairs equal places."""
    noise = flow.solutions[0].rows.noise
    y_rows = jnp.stack([of.y_rows for of in flow.solutions])
    y_features = jnp.stack([matmul(noise, of.y_features) for of in flow.solutions])
    both = "t" if s == "t" else "ts"
    total = jnp.zeros((), noise.dtype)
    for way, kernel, y_pairs in zip(_WAYS, flow.kernel, flow.y_pairs, strict=True):
        theirs = way(two.rows), way(two.features)
        own = jnp.stack(
            [
                jnp.einsum(f"ktn,l{s}n->kl{both}", a, b)
                for a, b in zip(
                    (one.rows, matmul(one.features, noise)), theirs, strict=True
                )
            ]
        )
        on_theirs = jnp.stack(
            [
                jnp.einsum("ktn,lnj->kltj", a, way(b))
                for a, b in zip(
                    (one.rows, one.features), (y_rows, y_features), strict=True
                )
            ]
        )
        on_mine = jnp.stack(
            [
                jnp.einsum(f"l{s}n,kni->kl{s}i", a, b)
                for a, b in zip(theirs, (y_rows, y_features), strict=True)
            ]
        )
        weight = jnp.einsum(
            "k,l,klpq->klpq", flow.residues, way(flow.residues) / 2, kernel
        )
        total = (
            total
            + jnp.einsum(f"klpq,pkl{both},klqij->{both}ij", weight, own, y_pairs).real
            + jnp.einsum(
                f"klpq,pkltj,qkl{s}i->{both}ij", weight, on_theirs, on_mine
            ).real
        )
    return total


@_promoting
def covariance(flow: Flow, of: FlowResponses) -> Float[Array, "t c c"]:
    """Returns the covariance of the predictions of each test point."""
    return _covariance(flow, of, of, "t")


@_promoting
def cross_covariance(
    flow: Flow, first: FlowResponses, second: FlowResponses
) -> Float[Array, "t1 t2 c c"]:
    """Returns Cov(f_i(first), f_j(second)) for all pairs of test points."""
    return _covariance(flow, first, second, "s")


@_promoting
def independent(flow: Flow) -> Float[Array, "c c"]:
    """Returns what noise of unit variance, independent in all entries of a row, adds.

    The second moments of its predictions, `responses.independent` for a finite time.
    """
    residues = jnp.stack([way(flow.residues) for way in _WAYS])
    weight = jnp.einsum("k,wl->wkl", flow.residues, residues) / 2
    found = jnp.einsum(
        "wkl,wklq,wklqij->ij", weight, flow.kernel[:, :, :, 1], flow.y_pairs
    )
    return found.real
