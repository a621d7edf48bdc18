"""The nearest-class-mean law: the outputs to first order in eps = 1 - p.

Pure noise makes every pair of training points alike; at eps > 0 the images return as a
small perturbation of the kernel, and the trained network's output becomes the overlap
of the test image with each class mean, plus what is common and what is noise:

    f_i = gain_i eps <x*, mu_i - mean mu>/d + offset_i + noise_std g_i.

Equations: docs/theory/first_order.md (14)-(22); arXiv 2606.11319, appendix C, for one
kind of noise and balanced classes. No constant is fitted.
"""

import dataclasses
import functools
from typing import Any, overload

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.architectures.stack import Stack
from theory.corruption.base import Corruption
from theory.errors import InputError
from theory.kernels.architecture import Architecture
from theory.kernels.truncation import check_law
from theory.numerics.edges import matmul
from theory.numerics.signatures import checked
from theory.outputs.law import OutputLaw
from theory.problem import Problem
from theory.records import record
from theory.renamed import renamed
from theory.routes.checks import check_inputs
from theory.routes.first_order import validity
from theory.routes.first_order.class_means import class_mean_scores
from theory.routes.first_order.fluctuations import FirstOrderCross, NoiseMoments
from theory.routes.first_order.of_stack import (
    StackLaw,
    check_stack,
    first_order_of_stack,
)
from theory.routes.first_order.trained import raw_moments, train


@record(kw_only=True, repr=False)
class FirstOrderLaw(OutputLaw):
    """An `OutputLaw` with the parts of the class-mean rule.

    Attributes:
        gain: A_i(x*), factor of eps times the class-mean score.
        offset: what else the mean holds.
        noise_std: standard deviation of the part of the noise that is independent
            between classes; decisions see no other.
        cross: covariance of the outputs of pairs of test points.
    """

    gain: Float[Array, "n c"]
    offset: Float[Array, "n c"]
    noise_std: Float[Array, " n"]
    cross: FirstOrderCross


def _pixels(x, corruption):
    """M, mean of x~^2 per point, and all moments (None if clean) of test points."""
    if corruption is None:
        return x, (x**2).mean(axis=1), None
    moments = corruption.moments(x)
    return moments.mean, (moments.mean**2 + moments.var).mean(axis=1), moments


def _test_noise_cov(mean_of, at, x_c, moments, c_w):
    """Covariance of the mean outputs over the noise of the test points: (F11).

    Args:
        mean_of: outputs (n, c) as a function of q*, the mean pixel and the overlaps.
        at: where: these three, the overlaps (n, c).
        x_c: images of which the overlaps are taken, (c, d).
        moments: of the test pixels.
        c_w: weight variance.
    """
    q, pixel, overlap = at
    n, d = moments.mean.shape
    one, none = jnp.ones_like(q), jnp.zeros_like(q)
    by_q = jax.jvp(mean_of, at, (one, none, jnp.zeros_like(overlap)))[1]
    by_pixel = jax.jvp(mean_of, at, (none, one, jnp.zeros_like(overlap)))[1]
    # the overlap of a class enters its own output only, with one factor for all
    by_overlap = jax.jvp(mean_of, at, (none, none, jnp.ones_like(overlap)))[1]

    def bilinear(weights):
        """Sum over pixels of weights_aj g_aij g_akj, g the gradient of an output."""
        c = x_c.shape[0]
        squares = (x_c[:, None, :] * x_c[None, :, :]).reshape(c * c, d)
        both = matmul(weights, squares.T).reshape(n, c, c) / d**2
        single = matmul(weights, x_c.T) / d**2
        cross = by_pixel[:, :, None] * (by_overlap * single)[:, None, :]
        return (
            by_overlap[:, :, None] * both * by_overlap[:, None, :]
            + cross
            + cross.swapaxes(1, 2)
            + (weights.sum(1) / d**2)[:, None, None]
            * (by_pixel[:, :, None] * by_pixel[:, None, :])
        )

    norm_var = c_w**2 * moments.var_square.mean(axis=1) / d
    norm_pixel = c_w * (
        by_pixel * moments.cov_square.mean(axis=1)[:, None]
        + by_overlap * matmul(moments.cov_square, x_c.T) / d
    )
    cross = by_q[:, :, None] * norm_pixel[:, None, :] / d
    squares = by_q[:, :, None] * by_q[:, None, :] * norm_var[:, None, None]
    return bilinear(moments.var) + cross + cross.swapaxes(1, 2) + squares


@functools.partial(jax.jit, static_argnames="isotropic")
def _first_order(
    arch, corruption, problem, copies, test_corruption, ridge, *, isotropic
):
    x_test, test_square, moments = _pixels(problem.x_test, test_corruption)
    trained = train(arch, corruption, problem, copies, ridge, isotropic=isotropic)
    overlap = matmul(x_test, trained.x_c.T) / x_test.shape[1]
    at = (arch.b_var + arch.w_var * test_square, x_test.mean(axis=1), overlap)
    mean, test = trained.mean_of(*at), trained.at_test(*at[:2])
    cross = _fluctuations(trained, corruption, test, x_test)
    if moments is not None:
        own = _test_noise_cov(trained.mean_of, at, trained.x_c, moments, arch.w_var)
        # beside what the law itself does: noise of a test and of a training point
        pixel = moments.var.mean(axis=1) / x_test.shape[1]
        both = trained.var * (arch.w_var * test.by_cov) ** 2 * pixel
        own = own + both[:, None, None] * cross.gamma[None]
        cross = dataclasses.replace(cross, own=own)
    cov, c = cross.same_point(), problem.num_classes
    trace = jnp.trace(cov, axis1=1, axis2=2)
    off = (cov.sum((1, 2)) - trace) / max(c * (c - 1), 1)
    scores = class_mean_scores(dataclasses.replace(problem, x_test=x_test))
    gain = arch.w_var * trained.counts[None, :] / trained.kap * test.by_cov[:, None]
    return FirstOrderLaw(
        mean=mean,
        cov=cov,
        gain=gain,
        offset=mean - gain * trained.eps * scores,
        noise_std=jnp.sqrt(trace / c - off),
        diagnostics={
            "kap": trained.pure.kap,
            "theta_o": trained.pure.theta_o,
            "chi": trained.chi,
            **validity.small_parameters(
                trained, problem, x_test, copies, isotropic=isotropic
            ),
        },
        cross=cross,
    )


def _fluctuations(trained, corruption, test, x_test) -> FirstOrderCross:
    """How outputs fluctuate over draws, docs/theory/first_order.md (19)-(21)."""
    pure, share, counts = trained.pure, trained.share, trained.counts
    d, n, c_w = x_test.shape[1], trained.n, trained.arch.w_var
    back = test.ntk * trained.psi / n
    outer = share[:, None] * share[None, :]
    pairs = counts[:, None] * counts[None, :] * (pure.theta_o * trained.psi / n)
    total = 2 - pure.theta_o * trained.psi
    gamma = (jnp.diag(counts) - pairs * total) / trained.kap**2
    mu1, mu2, mu3, mu4 = raw_moments(corruption, x_test.dtype)
    common = back * (n - 2) * pure.slope_k * mu1
    return FirstOrderCross(
        alpha=test.by_q2 - back * trained.own_slope,
        weights=c_w / d * (test.by_cov[:, None] * x_test - common[:, None]),
        back=back,
        alpha_0=pure.slope_q,
        weights_0=c_w * pure.slope_k * mu1 / d,
        noise=NoiseMoments(
            var=trained.var,
            norm_var=c_w**2 * (mu4 - mu2**2) / d,
            norm_cov=c_w * (mu3 - mu1 * mu2) / d,
        ),
        gamma=gamma / trained.chi,
        outer=outer / trained.chi,
        pair_var=(pure.slope_k * c_w * trained.var) ** 2 / d,
        n=n,
    )


def check_ends_in_noise(corruption: Corruption) -> None:
    """Raises `InputError` for a corruption with no pure noise to expand about."""
    if not getattr(corruption, "ends_in_noise", False):
        raise InputError(
            "`corruption` of first_order must end in pure noise, about which it "
            f"expands, and {type(corruption).__name__} does not: use Replacement, "
            "Additive or BinaryReplacement, or theory.resummed."
        )


@overload
def first_order(  # ty: ignore[inconsistent-overload-implementation]
    arch: Architecture, corruption: Corruption, problem: Problem, **options: Any
) -> FirstOrderLaw: ...


@overload
def first_order(  # ty: ignore[inconsistent-overload-implementation]
    arch: Stack, corruption: Corruption, problem: Problem, **options: Any
) -> StackLaw: ...


@renamed("noise", "corruption")
@checked
def first_order(
    arch: Architecture | Stack,
    corruption: Corruption,
    problem: Problem,
    *,
    copies: int = 1,
    test_corruption: Corruption | None = None,
    ridge: float = 0.0,
    isotropic: bool = False,
    samples: int | None = None,
    key: Array | None = None,
) -> FirstOrderLaw | StackLaw:
    """Predicts the outputs to first order in eps = 1 - p; classes may be unbalanced.

    O(n_train d c + n_test (d c + c^2)) time and memory: no kernel is built. With
    `test_corruption` n_test d c^2 time.

    Validity: eps small and copies times n_train below d. Its accuracy on MNIST at
    n_train = 4000 is within .03 of the exact kernel's from p = .9 to .99 (whose error
    there is up to .016); below p = .9 the networks learn more than class means. It
    knows nothing of single initialisations: `init_var` is None.

    Of a `Stack` the kernel of pure noise is sampled: samples^2/4 + samples n_test
    kernel entries, whatever n_train; they depend on neither p nor the training images.
    The class means are compared in its metric, docs/theory/architectures.md (M6)-(M10),
    and `diagnostics["valid"]` and `["doubts"]` say where that ends.

    Args:
        arch: the architecture; a `theory.architectures.Stack` too.
        corruption: `Replacement` or `Additive`; `p` is traced.
        problem: the data; float64 advised.
        copies: independently corrupted copies of each training image, all of them
            trained on, docs/theory/first_order.md (F10). Traced.
        test_corruption: corruption of the test points, of its own kind and strength,
            which need not be small; None leaves them clean. The law is then over
            training and test noise, to leading order in 1/d, docs/theory/first_order.md
            (F11).
        ridge: added to the diagonal of the kernel, in its units.
        isotropic: whether to keep the eigenvalue spread of the noise, which matters
            where n_train/d is not small, docs/theory/first_order.md (F7)-(F9). Derived
            for noise of zero mean and odd activations, biases allowed. MNIST, erf,
            depth 3, n_train = 4000, p = .99: mean outputs 1.02 and their variance 1.09
            times those of the exact kernel, against 4.3 and 16 without. Not for
            a `Stack`.
        samples: images of noise that the kernel of a `Stack` is projected from; None
            for the fewest, 4 (2 d + 1).
        key: of these; always the same ones without it.

    Returns:
        The law, with `gain`, `offset`, `noise_std` and `cross`; its diagnostics hold
        kap and theta_o of pure noise, and chi, which is 1 unless `isotropic`; and
        `images` and `crowding`, which should be small, docs/theory/first_order.md
        (F13)-(F14): `valid` says whether they are, `doubts` which is not (of what is
        traced the numbers alone). Of a `Stack` also the `metric`, and in diagnostics
        its effective number of pixels `rank`, `crowding` of these by images,
        `image_strength` beside the noise, `linear_share` of the noise of outputs, the
        share of their mean that is the error of `sampling`, `valid` and `doubts`.

    Raises:
        InputError: bad arguments, a corruption without a level p at which only noise
            is left, or one of the test images with a `Stack`.
    """
    check_ends_in_noise(corruption)
    given: Any = dict(copies=copies, test_corruption=test_corruption, ridge=ridge)
    if isinstance(arch, Stack):
        check_stack(arch, corruption, problem, isotropic=isotropic, **given)
        return first_order_of_stack(
            arch,
            corruption,  # ty: ignore[invalid-argument-type]
            problem,
            copies=copies,
            ridge=ridge,
            samples=samples,
            key=key,
        )
    if samples is not None or key is not None:
        raise InputError("`samples` and `key` are of a Stack: drop them.")
    check_inputs(arch, corruption, problem, **given)
    check_law(arch, corruption, problem)
    law = _first_order(
        arch,
        corruption,
        problem,
        jnp.asarray(copies, problem.x_train.dtype),
        test_corruption,
        jnp.asarray(ridge, problem.x_train.dtype),
        isotropic=isotropic,
    )
    return dataclasses.replace(law, diagnostics=validity.judged(law.diagnostics))
