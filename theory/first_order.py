"""The nearest-class-mean law: the outputs to first order in eps = 1 - p.

Pure noise makes every pair of training points alike; at eps > 0 the images return as a
small perturbation of the kernel, and the trained network's output becomes the overlap
of the test image with each class mean, plus what is common and what is noise:

    f_i = gain_i eps <x*, mu_i - mean mu>/d + offset_i + noise_std g_i.

Equations: theory/README.md (14)-(22); arXiv 2606.11319, appendix C, for one kind of
noise and balanced classes. No constant is fitted.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.corruption import Additive, Corruption, Replacement
from theory.errors import InputError
from theory.kernels import check_ntk, propagate, propagate_diag
from theory.laws import OutputLaw
from theory.problem import Architecture, Problem
from theory.records import record


@record(kw_only=True)
class FirstOrderLaw(OutputLaw):
    """An `OutputLaw` with the parts of the class-mean rule.

    Attributes:
        gain: A_i(x*), factor of eps times the class-mean score.
        offset: what else the mean holds.
        noise_std: standard deviation of the part of the noise that is independent
            between classes; decisions see no other.
    """

    gain: Float[Array, "n c"]
    offset: Float[Array, "n c"]
    noise_std: Float[Array, " n"]


def class_sums(problem: Problem) -> Float[Array, "c d"]:
    """Returns the sum of the clean training images of each class."""
    return jax.ops.segment_sum(
        problem.x_train, problem.labels_train, problem.num_classes
    )


def class_mean_scores(problem: Problem) -> Float[Array, "n c"]:
    """Returns <x*, mu_i - mean mu>/d of every test point and class.

    Their argmax is the nearest-class-mean rule that heavy corruption leaves. The
    squared lengths of the class means, which a Euclidean nearest mean would weigh too,
    do not enter. A class without training images scores as mu_i = 0.
    """
    counts = jnp.maximum(problem.class_counts, 1)[:, None]
    means = class_sums(problem) / counts
    centred = means - means.mean(axis=0, keepdims=True)
    return problem.x_test @ centred.T / problem.x_test.shape[1]


class _Noise(NamedTuple):
    """Moments of the noise in the first layer, theory/README.md (14) and (19)."""

    mean: Float[Array, ""]
    square: Float[Array, ""]
    var: Float[Array, ""]
    norm_var: Float[Array, ""]  # v_q: variance of q over draws
    norm_cov: Float[Array, ""]  # c_1: covariance of q with one pixel, times d/d


def _derivative(fn, *args, of):
    """Derivative of elementwise `fn` in one argument."""
    tangents = [jnp.zeros_like(arg) for arg in args]
    tangents[of] = jnp.ones_like(args[of])
    return jax.jvp(fn, args, tuple(tangents))[1]


@jax.jit
def _first_order(arch, noise, problem):
    x, x_test = problem.x_train, problem.x_test
    (n, d), dtype = x.shape, x.dtype
    c_w, c_b = arch.w_var, arch.b_var
    eps = jnp.asarray(1 - noise.p, dtype)
    mu1, mu2, mu3, mu4 = (jnp.asarray(mu, dtype) for mu in noise.noise.raw_moments())
    z = _Noise(
        mean=mu1,
        square=mu2,
        var=mu2 - mu1**2,
        norm_var=c_w**2 * (mu4 - mu2**2) / d,
        norm_cov=c_w * (mu3 - mu1 * mu2) / d,
    )

    def entry(q1, q2, cov):
        return propagate(q1, q2, cov, arch).ntk

    def diag(q):
        return propagate_diag(q, arch).ntk

    # (14) pure noise, and a clean test point against pure noise
    q, k0 = c_b + c_w * mu2, c_b + c_w * mu1**2
    theta_d, theta_d_q = diag(q), _derivative(diag, q, of=0)
    theta_o = entry(q, q, k0)
    slope_q, slope_k = (_derivative(entry, q, q, k0, of=i) for i in (0, 2))
    test_mean, test_square = x_test.mean(axis=1), (x_test**2).mean(axis=1)
    at_test = (
        c_b + c_w * test_square,
        jnp.full_like(test_square, 1.0) * q,
        c_b + c_w * mu1 * test_mean,
    )
    theta_s = entry(*at_test)
    test_q, test_k = (_derivative(entry, *at_test, of=i) for i in (1, 2))

    # (15) zeroth order
    counts = problem.class_counts.astype(dtype)
    kap = theta_d - theta_o
    psi = n / (kap + n * theta_o)
    share = psi * counts / n

    def weighed(rows):
        """sum_a rows_a c_ai for rows (n, m), with the dual weights c_ai of (15)."""
        of_class = jax.ops.segment_sum(rows, problem.labels_train, problem.num_classes)
        return (of_class - theta_o * share[:, None] * rows.sum(0)[None, :]) / kap

    # (16)-(17) what returns with the images
    d_square = jax.jvp(
        lambda p: dataclasses.replace(noise, p=p).raw_moments(x)[1].mean(axis=1),
        (jnp.ones((), dtype),),
        (-jnp.ones((), dtype),),
    )[1]
    d_mean = mu1 * (x.mean(axis=1) - mu1)
    perturbed = (
        (theta_d_q + (n - 2) * slope_q) * d_square
        + slope_q * d_square.sum()
        + slope_k * ((n - 2) * d_mean + d_mean.sum())
    )
    per_row = jnp.stack([jnp.ones_like(d_square), d_square, perturbed], axis=1)
    ones_c, square_c, perturbed_c = weighed(per_row).T
    overlap = (
        jnp.matmul(x_test, weighed(x).T, precision=jax.lax.Precision.HIGHEST) / d
        - mu1 * test_mean[:, None] * ones_c[None, :]
    )
    back = theta_s * psi / n
    mean = theta_s[:, None] * share[None, :] + eps * c_w * (
        test_k[:, None] * overlap
        + test_q[:, None] * square_c[None, :]
        - back[:, None] * perturbed_c[None, :]
    )
    gain = c_w * counts[None, :] / kap * test_k[:, None]

    # (19)-(21) fluctuation over draws. A linear functional of the noise is a pair: its
    # coefficient on the norm, and its weights on the pixels, here by their sum and by
    # their products with one another.
    alpha = test_q - back * (theta_d_q + (n - 2) * slope_q)
    common = back * (n - 2) * slope_k * mu1
    sum_w = c_w * (test_k * test_mean - common)
    sum_w0 = c_w * slope_k * mu1
    w_w = (
        c_w**2
        / d
        * (test_k**2 * test_square - 2 * test_k * test_mean * common + common**2)
    )
    v_aa = alpha**2 * z.norm_var + 2 * z.norm_cov * alpha * sum_w + z.var * w_w
    v_a0 = (
        alpha * slope_q * z.norm_var
        + z.norm_cov * (alpha * sum_w0 + slope_q * sum_w)
        + z.var * sum_w * sum_w0 / d
    )
    v_00 = (
        slope_q**2 * z.norm_var
        + 2 * z.norm_cov * slope_q * sum_w0
        + z.var * sum_w0**2 / d
    )
    pairs = counts[:, None] * counts[None, :] * (theta_o * psi / n)
    gamma = (jnp.diag(counts) - pairs * (2 - theta_o * psi)) / kap**2
    outer = share[:, None] * share[None, :]
    # -s_i e_aj V_a0 - s_j e_ai V_a0 + N e_ai e_aj V_00, all proportional to s_i s_j
    shared = -2 * back * v_a0 + n * back**2 * v_00
    pair_noise = back**2 * (slope_k * c_w * z.var) ** 2 / d
    cov = (
        gamma[None] * (v_aa + (n - 2) * pair_noise)[:, None, None]
        + outer[None] * (shared + pair_noise)[:, None, None]
    )
    num_classes = problem.num_classes
    trace = jnp.trace(cov, axis1=1, axis2=2)
    off = (cov.sum((1, 2)) - trace) / max(num_classes * (num_classes - 1), 1)
    return FirstOrderLaw(
        mean=mean,
        cov=cov,
        init_var=jnp.full_like(theta_s, jnp.nan),
        gain=gain,
        offset=mean - gain * eps * class_mean_scores(problem),
        noise_std=jnp.sqrt(trace / num_classes - off),
        diagnostics={"kap": kap, "theta_o": theta_o},
    )


def first_order(
    arch: Architecture, noise: Corruption, problem: Problem
) -> FirstOrderLaw:
    """Predicts the outputs to first order in eps = 1 - p; classes may be unbalanced.

    O(n_train d c + n_test (d c + c^2)) time and memory: no kernel is built.

    Validity: eps small and n_train below d. Its accuracy on MNIST at n_train = 4000 is
    within .03 of the exact kernel's from p = .9 to .99 (whose error there is up to
    .016); below p = .9 the networks learn more than class means. It knows nothing of
    single initialisations: `init_var` is NaN.

    Args:
        arch: the architecture.
        noise: `Replacement` or `Additive`; `p` is traced.
        problem: the data; float64 advised.

    Returns:
        The law, with `gain`, `offset` and `noise_std`.

    Raises:
        InputError: bad arguments, or a corruption without a level p at which only
            noise is left.
    """
    if not isinstance(noise, Replacement | Additive):
        raise InputError(
            f"first_order expands in eps = 1 - p, {type(noise).__name__} has no `p`: "
            "use Replacement, Additive or BinaryReplacement, or the exact route."
        )
    problem.check()
    arch.check()
    noise.check()
    check_ntk(arch)
    return _first_order(arch, noise, problem)
