"""The nearest-class-mean law: the outputs to first order in eps = 1 - p.

Pure noise makes every pair of training points alike; at eps > 0 the images return as a
small perturbation of the kernel, and the trained network's output becomes the overlap
of the test image with each class mean, plus what is common and what is noise:

    f_i = gain_i eps <x*, mu_i - mean mu>/d + offset_i + noise_std g_i.

Equations: theory/README.md (14)-(22); arXiv 2606.11319, appendix C, for one kind of
noise and balanced classes. No constant is fitted.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.corruption.base import Corruption
from theory.corruption.corruptions import Additive, Replacement
from theory.errors import InputError
from theory.kernels.architecture import Architecture
from theory.kernels.slopes import transfer
from theory.outputs.law import OutputLaw
from theory.problem import Problem
from theory.records import record
from theory.routes.checks import check_inputs
from theory.routes.first_order.class_means import class_mean_scores
from theory.routes.first_order.dressing import dressing
from theory.routes.first_order.fluctuations import FirstOrderCross, NoiseMoments
from theory.routes.first_order.pure_noise import pure_noise


@record(kw_only=True)
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

    def product(a, b):
        return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)

    def bilinear(weights):
        """Sum over pixels of weights_aj g_aij g_akj, g the gradient of an output."""
        c = x_c.shape[0]
        squares = (x_c[:, None, :] * x_c[None, :, :]).reshape(c * c, d)
        both = product(weights, squares.T).reshape(n, c, c) / d**2
        single = product(weights, x_c.T) / d**2
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
        + by_overlap * product(moments.cov_square, x_c.T) / d
    )
    cross = by_q[:, :, None] * norm_pixel[:, None, :] / d
    squares = by_q[:, :, None] * by_q[:, None, :] * norm_var[:, None, None]
    return bilinear(moments.var) + cross + cross.swapaxes(1, 2) + squares


@functools.partial(jax.jit, static_argnames="isotropic")
def _first_order(arch, noise, problem, copies, test_corruption, ridge, *, isotropic):
    x = problem.x_train
    d, dtype = x.shape[1], x.dtype
    x_test, test_square, moments = _pixels(problem.x_test, test_corruption)
    test_mean = x_test.mean(axis=1)
    c_w, c_b, n = arch.w_var, arch.b_var, copies * x.shape[0]
    eps = jnp.asarray(1 - noise.p, dtype)
    mu1, mu2, mu3, mu4 = (jnp.asarray(mu, dtype) for mu in noise.noise.raw_moments())
    pure = pure_noise(arch, mu1, mu2)  # (14)
    kap, var, chi, slope = pure.kap + ridge, mu2 - mu1**2, 1.0, 1.0
    if isotropic:
        var = noise.moments(x).var.mean()
        dressed = dressing(kap, pure.slope_k * c_w * var, n / d)
        kap, chi, slope = dressed.kap, dressed.chi, dressed.slope

    # (15) zeroth order
    counts = copies * problem.class_counts.astype(dtype)
    psi = n / (kap + n * pure.theta_o)
    share = psi * counts / n

    def weighed(rows):
        """sum_a rows_a c_ai for rows (n, m), with the dual weights c_ai of (15)."""
        of_class = jax.ops.segment_sum(rows, problem.labels_train, problem.num_classes)
        of_all = pure.theta_o * share[:, None] * rows.sum(0)[None, :]
        return copies * (of_class - of_all) / kap

    # (16)-(17) what returns with the images
    d_square = jax.jvp(
        lambda p: dataclasses.replace(noise, p=p).raw_moments(x)[1].mean(axis=1),
        (jnp.ones((), dtype),),
        (-jnp.ones((), dtype),),
    )[1]
    d_mean = mu1 * (x.mean(axis=1) - mu1)
    own_slope = pure.slope_d + (n - 2) * pure.slope_q
    perturbed = (
        own_slope * d_square
        + pure.slope_q * copies * d_square.sum()
        + pure.slope_k * ((n - 2) * d_mean + copies * d_mean.sum())
    )
    per_row = jnp.stack([jnp.ones_like(d_square), d_square, perturbed], axis=1)
    ones_c, square_c, perturbed_c = weighed(per_row).T
    x_c = weighed(x)

    def at_test(q_test, pixel):
        test = transfer(q_test, pure.q, c_b + c_w * mu1 * pixel, arch)
        return dataclasses.replace(test, by_cov=slope * test.by_cov)

    def mean_of(q_test, pixel, overlap):
        """Outputs (17) at q*, the mean of x*, and sum_a x*.x_a/d c_ai."""
        test = at_test(q_test, pixel)
        return test.ntk[:, None] * share[None, :] + eps * c_w * (
            test.by_cov[:, None] * (overlap - mu1 * pixel[:, None] * ones_c[None, :])
            + test.by_q2[:, None] * square_c[None, :]
            - (test.ntk * psi / n)[:, None] * perturbed_c[None, :]
        )

    overlap = jnp.matmul(x_test, x_c.T, precision=jax.lax.Precision.HIGHEST) / d
    at = (c_b + c_w * test_square, test_mean, overlap)
    mean, test = mean_of(*at), at_test(*at[:2])
    back = test.ntk * psi / n
    gain = c_w * counts[None, :] / kap * test.by_cov[:, None]

    # (19)-(21) fluctuation over draws
    outer = share[:, None] * share[None, :]
    pairs = counts[:, None] * counts[None, :] * (pure.theta_o * psi / n)
    gamma = (jnp.diag(counts) - pairs * (2 - pure.theta_o * psi)) / kap**2
    common = back * (n - 2) * pure.slope_k * mu1
    cross = FirstOrderCross(
        alpha=test.by_q2 - back * own_slope,
        weights=c_w / d * (test.by_cov[:, None] * x_test - common[:, None]),
        back=back,
        alpha_0=pure.slope_q,
        weights_0=c_w * pure.slope_k * mu1 / d,
        noise=NoiseMoments(
            var=var,
            norm_var=c_w**2 * (mu4 - mu2**2) / d,
            norm_cov=c_w * (mu3 - mu1 * mu2) / d,
        ),
        gamma=gamma / chi,
        outer=outer / chi,
        pair_var=(pure.slope_k * c_w * var) ** 2 / d,
        n=n,
    )
    if moments is not None:
        # beside what the law itself does: noise of a test and of a training point
        noise_noise = var * (c_w * test.by_cov) ** 2 * moments.var.mean(axis=1) / d
        own = _test_noise_cov(mean_of, at, x_c, moments, c_w)
        own = own + noise_noise[:, None, None] * cross.gamma[None]
        cross = dataclasses.replace(cross, own=own)
    cov, num_classes = cross.same_point(), problem.num_classes
    trace = jnp.trace(cov, axis1=1, axis2=2)
    off = (cov.sum((1, 2)) - trace) / max(num_classes * (num_classes - 1), 1)
    scores = class_mean_scores(dataclasses.replace(problem, x_test=x_test))
    return FirstOrderLaw(
        mean=mean,
        cov=cov,
        init_var=jnp.full_like(back, jnp.nan),
        gain=gain,
        offset=mean - gain * eps * scores,
        noise_std=jnp.sqrt(trace / num_classes - off),
        diagnostics={
            "kap": pure.kap,
            "theta_o": pure.theta_o,
            "chi": jnp.asarray(chi, dtype),
        },
        cross=cross,
    )


def first_order(
    arch: Architecture,
    noise: Corruption,
    problem: Problem,
    *,
    copies: int = 1,
    test_corruption: Corruption | None = None,
    ridge: float = 0.0,
    isotropic: bool = False,
) -> FirstOrderLaw:
    """Predicts the outputs to first order in eps = 1 - p; classes may be unbalanced.

    O(n_train d c + n_test (d c + c^2)) time and memory: no kernel is built. With
    `test_corruption` n_test d c^2 time.

    Validity: eps small and copies times n_train below d. Its accuracy on MNIST at
    n_train = 4000 is within .03 of the exact kernel's from p = .9 to .99 (whose error
    there is up to .016); below p = .9 the networks learn more than class means. It
    knows nothing of single initialisations: `init_var` is NaN.

    Args:
        arch: the architecture.
        noise: `Replacement` or `Additive`; `p` is traced.
        problem: the data; float64 advised.
        copies: independently corrupted copies of each training image, all of them
            trained on, theory/README.md (F10). Traced.
        test_corruption: corruption of the test points, of its own kind and strength,
            which need not be small; None leaves them clean. The law is then over
            training and test noise, to leading order in 1/d, theory/README.md (F11).
        ridge: added to the diagonal of the kernel, in its units.
        isotropic: whether to keep the eigenvalue spread of the noise, which matters
            where n_train/d is not small, theory/README.md (F7)-(F9). Derived for noise
            of zero mean and odd activations, biases allowed. MNIST, erf, depth 3,
            n_train = 4000, p = .99: mean outputs 1.02 and their variance 1.09 times
            those of the exact kernel, against 4.3 and 16 without.

    Returns:
        The law, with `gain`, `offset`, `noise_std` and `cross`; its diagnostics hold
        kap and theta_o of pure noise, and chi, which is 1 unless `isotropic`.

    Raises:
        InputError: bad arguments, or a corruption without a level p at which only
            noise is left.
    """
    if not isinstance(noise, Replacement | Additive):
        raise InputError(
            f"first_order expands in eps = 1 - p, {type(noise).__name__} has no `p`: "
            "use Replacement, Additive or BinaryReplacement, or the exact route."
        )
    check_inputs(
        arch,
        noise,
        problem,
        copies=copies,
        test_corruption=test_corruption,
        ridge=ridge,
    )
    return _first_order(
        arch,
        noise,
        problem,
        jnp.asarray(copies, problem.x_train.dtype),
        test_corruption,
        jnp.asarray(ridge, problem.x_train.dtype),
        isotropic=isotropic,
    )
