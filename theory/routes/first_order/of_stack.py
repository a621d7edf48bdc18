"""The class-mean law of any stack of layers: in the metric that it sees noise with.

To first order in eps = 1 - p a network decides by the class means in the metric of its
architecture, and the noise of the training images enters through the same metric:

    f_i = gain_i eps <x*, W (mu_i - mean mu)>/d + offset_i + noise.

Equations: docs/theory/architectures.md (M6)-(M10). No constant is fitted to outputs.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.architectures.stack import Stack
from theory.corruption.copies import check_options
from theory.corruption.corruptions import Additive, Replacement
from theory.errors import InputError, check_count
from theory.keys import stream
from theory.numerics import doors
from theory.numerics.edges import matmul
from theory.outputs.law import OutputLaw
from theory.problem import Problem
from theory.records import record
from theory.routes.checks import check_ridge
from theory.routes.first_order.class_means import class_mean_scores
from theory.routes.first_order.noise_projections import (
    PixelPolynomials,
    Projected,
    pixel_polynomials,
    project,
    samples_needed,
)
from theory.routes.first_order.stack_cross import StackCross

# Beyond these the law calls itself not valid.
_CROWDED, _STRONG, _LINEAR, _SAMPLED = 1.0, 1.0, 0.9, 0.1


@record(kw_only=True, repr=False)
class StackLaw(OutputLaw):
    """An `OutputLaw` with the parts of the class-mean rule in a metric.

    Attributes:
        gain: A_i(x*), factor of eps times the class-mean score in the metric.
        offset: what else the mean holds.
        noise_std: standard deviation of the part of the noise that is independent
            between classes; decisions see no other.
        metric: W, of trace d, by projections on the pixels.
        cross: covariance of the outputs of pairs of test points.
    """

    gain: Float[Array, "n c"]
    offset: Float[Array, "n c"]
    noise_std: Float[Array, " n"]
    metric: Float[Array, "d d"]
    cross: StackCross


def _returning(corruption, problem: Problem, polynomials: PixelPolynomials) -> Array:
    """What eps adds to the mean polynomials of every training image, (M8)."""
    one = jnp.ones((), problem.x_train.dtype)
    moments = lambda p: tuple(
        dataclasses.replace(corruption, p=p).raw_moments(problem.x_train)[:2]
    )
    return polynomials.of(*jax.jvp(moments, (one,), (-one,))[1])


def _trained(found: Projected, problem: Problem, copies, ridge) -> dict[str, Array]:
    """The dual weights at p = 1, of the kernel of pure noise, as (15)."""
    n = copies * len(problem.x_train)
    kap = found.theta_d - found.theta_o + ridge
    psi = n / (kap + n * found.theta_o)
    counts = copies * problem.class_counts.astype(found.theta_test.dtype)
    return {"n": n, "kap": kap, "psi": psi, "counts": counts, "share": psi * counts / n}


def _cross(found: Projected, trained: dict[str, Array]) -> StackCross:
    """How outputs fluctuate over draws, (M9)."""
    n, psi, counts, share = (trained[name] for name in ("n", "psi", "counts", "share"))
    back = found.theta_test * psi / n
    by_own = found.own + (n - 2) * found.alone
    pairs = counts[:, None] * counts[None, :] * (found.theta_o * psi / n)
    gamma = jnp.diag(counts) - pairs * (2 - found.theta_o * psi)
    left = found.test_left - back[:, None] * found.own_left[None, :]
    return StackCross(
        weights=found.test - back[:, None] * by_own[None, :],
        # the errors of fitted weights are in their squares already
        left=left * jnp.sqrt(jnp.maximum(1 - found.errors, 0.0) / found.freedom),
        back=back,
        shared=found.alone,
        gamma=gamma / trained["kap"] ** 2,
        outer=share[:, None] * share[None, :],
        pair_var=(found.weight**2).sum() + found.left_var,
        n=n,
    )


def _mean(found, trained, problem, returning, copies, eps) -> Array:
    """Mean outputs, (M8)."""
    n, share = trained["n"], trained["share"]

    def weighed(rows):
        """sum_a rows_a c_ai, with the dual weights."""
        labels, c = problem.labels_train, problem.num_classes
        of_class = jax.ops.segment_sum(rows, labels, c)
        of_all = found.theta_o * share[:, None] * rows.sum(0)[None, :]
        return copies * (of_class - of_all) / trained["kap"]

    # by which the kernel row of a training image answers to its own polynomials
    by_own = found.own + (n - 2) * found.alone
    perturbed = matmul(returning, by_own[:, None])
    perturbed = perturbed + copies * returning.sum(0) @ found.alone
    back = found.theta_test * trained["psi"] / n
    returned = matmul(found.test, weighed(returning).T)
    returned = returned - back[:, None] * weighed(perturbed)[:, 0][None, :]
    return found.theta_test[:, None] * share[None, :] + eps * returned


@jax.jit
def _law(
    found: Projected,
    corruption: Replacement | Additive,
    problem: Problem,
    copies: Array,
    ridge: Array,
) -> tuple[StackLaw, dict[str, Array]]:
    """The law, and what there is to judge it by."""
    dtype, c, d = problem.x_train.dtype, problem.num_classes, problem.x_train.shape[1]
    trained = _trained(found, problem, copies, ridge)
    eps = jnp.asarray(1 - corruption.p, dtype)
    polynomials = pixel_polynomials(corruption, dtype)
    returning = _returning(corruption, problem, polynomials)
    mean = _mean(found, trained, problem, returning, copies, eps)
    cross = _cross(found, trained)
    cov = cross.same_point()
    trace = jnp.trace(cov, axis1=1, axis2=2)
    off = (cov.sum((1, 2)) - trace) / max(c * (c - 1), 1)
    # how much of the class means in the metric a test point sees
    metric = found.weight[:d, :d] / (jnp.trace(found.weight[:d, :d]) / d)
    seen = matmul(problem.x_test, metric)
    slope = (found.test[:, :d] * seen).sum(1) / (seen**2).sum(1) * d / polynomials.std
    gain = trained["counts"][None, :] / trained["kap"] * slope[:, None]
    law = StackLaw(
        mean=mean,
        cov=cov,
        gain=gain,
        offset=mean - gain * eps * class_mean_scores(problem, metric),
        noise_std=jnp.sqrt(jnp.maximum(trace / c - off, 0.0)),
        metric=metric,
        cross=cross,
    )
    return law, _judged(found, trained, cross, returning * eps, copies)


def _judged(found, trained, cross, returning, copies) -> dict[str, Array]:
    """Numbers that tell where the law ends, (M10)."""
    values, vectors = jnp.linalg.eigh(found.weight)
    values, n = jnp.maximum(values, 0.0), trained["n"]
    root = vectors * jnp.sqrt(values)[None, :]
    images = matmul(returning - returning.mean(0, keepdims=True), root)
    strength = copies * jnp.linalg.eigvalsh(matmul(images.T, images))[-1]
    error = (found.test_left**2).sum() / found.freedom * found.errors
    return {
        "kap": trained["kap"],
        "theta_o": found.theta_o,
        "rank": values.sum() ** 2 / (values**2).sum(),
        "crowding": n * values.max() / trained["kap"],
        "image_strength": strength / (trained["kap"] + n * values.max()),
        "linear_share": (cross.weights**2).sum() / cross.variance().sum(),
        "sampling": error / (found.test**2).sum(),
    }


def _doubts(judged: dict[str, float], gain: Array) -> tuple[str, ...]:
    return tuple(
        text
        for bad, text in (
            (
                judged["crowding"] > _CROWDED,
                "noise of many images crowds the pixels that the metric sees",
            ),
            (
                judged["image_strength"] > _STRONG,
                "images are not small beside the noise: p is too low",
            ),
            (
                judged["linear_share"] < _LINEAR,
                "outputs are not linear in the noise of pixels",
            ),
            (judged["sampling"] > _SAMPLED, "too few `samples`"),
            (not bool((gain > 0).all()), "a gain is not positive"),
        )
        if bad
    )


def check_stack(
    stack: Stack,
    corruption: Any,
    problem: Problem,
    *,
    copies: int,
    test_corruption: Any,
    ridge: float,
    isotropic: bool,
) -> None:
    """Raises `InputError` on arguments that make no sense for a stack. Host only."""
    problem.check()
    stack.check()
    stack.check_ntk()
    check_options(corruption, problem, copies=copies, test_corruption=test_corruption)
    check_ridge(ridge)
    if test_corruption is not None:
        raise InputError(
            "`test_corruption` of first_order is not known for a Stack: leave the test "
            "images clean, or use an Architecture."
        )
    if isotropic:
        raise InputError(
            "`isotropic` of first_order is not known for a Stack, whose noise is not "
            "alike in all directions: leave it out."
        )
    if problem.x_train.shape[1] != stack.pixels:
        raise InputError(
            f"images of shape {stack.shape} are rows of {stack.pixels} numbers, got "
            f"{problem.x_train.shape[1]}."
        )


def first_order_of_stack(
    stack: Stack,
    corruption: Replacement | Additive,
    problem: Problem,
    *,
    copies: int,
    ridge: float,
    samples: int | None,
    key: Array | None,
) -> StackLaw:
    """Returns the law of checked arguments, see `theory.first_order`."""
    least = samples_needed(stack.pixels)
    samples = least if samples is None else samples
    check_count("samples", samples, least)
    dtype, d = problem.x_train.dtype, stack.pixels
    key = stream(jax.random.key(0) if key is None else key, "first order noise")
    noise = corruption.noise.sample(key, (samples - samples % 2, d)).astype(dtype)
    found = project(stack, pixel_polynomials(corruption, dtype), noise, problem.x_test)
    law, judged = _law(
        found,
        corruption,
        problem,
        jnp.asarray(copies, dtype),
        jnp.asarray(ridge, dtype),
    )
    if not doors.known(judged):
        return dataclasses.replace(law, diagnostics=judged)
    told = {name: float(value) for name, value in judged.items()}
    doubts = _doubts(told, law.gain)
    return dataclasses.replace(
        law, diagnostics=told | {"valid": not doubts, "doubts": doubts}
    )
