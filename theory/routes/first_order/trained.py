"""Training to first order in eps = 1 - p: the dual weights, and what they predict.

Equations: docs/theory/first_order.md (14)-(18), (F7)-(F10) for copies and dressing.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.corruption.corruptions import Additive, Replacement
from theory.kernels.architecture import Architecture
from theory.kernels.slopes import Transfer, transfer
from theory.problem import Problem
from theory.records import record
from theory.routes.first_order.dressing import dressing
from theory.routes.first_order.pure_noise import PureNoise, pure_noise


@record(kw_only=True)
class Trained:
    """The trained class-mean rule; the symbols are those of the derivation's table.

    Attributes:
        arch: the architecture.
        pure: the kernel of pure noise.
        eps: 1 - p.
        n: training points, copies counted.
        mean_pixel: mu_1 of the noise.
        var: sigma^2, variance of a corrupted pixel.
        kap: theta_d - theta_o and the ridge; dressed, where that was asked for.
        chi, slope: of the dressing, 1 without.
        psi: n/(kap + n theta_o).
        counts: of the classes, copies counted.
        share: s_i = psi n_i/n, outputs of zeroth order over the test row.
        own_slope: by which an entry of the diagonal answers to its own variance.
        ones_c, square_c, perturbed_c: sums with the dual weights of 1, of what eps adds
            to the variance of a training point, and of what it adds to its kernel row.
        x_c: of the images.
    """

    arch: Architecture
    pure: PureNoise
    eps: Float[Array, ""]
    n: Float[Array, ""]
    mean_pixel: Float[Array, ""]
    var: Float[Array, ""]
    kap: Float[Array, ""]
    chi: Float[Array, ""]
    slope: Float[Array, ""]
    psi: Float[Array, ""]
    counts: Float[Array, " c"]
    share: Float[Array, " c"]
    own_slope: Float[Array, ""]
    ones_c: Float[Array, " c"]
    square_c: Float[Array, " c"]
    perturbed_c: Float[Array, " c"]
    x_c: Float[Array, "c d"]

    def at_test(
        self, q_test: Float[Array, " n"], pixel: Float[Array, " n"]
    ) -> Transfer:
        """Kernel and slopes between test points and a training point of pure noise.

        Args:
            q_test: variances of the test points in the first layer.
            pixel: their mean pixels.
        """
        cov = self.arch.b_var + self.arch.w_var * self.mean_pixel * pixel
        test = transfer(q_test, self.pure.q, cov, self.arch)
        return dataclasses.replace(test, by_cov=self.slope * test.by_cov)

    def mean_of(
        self,
        q_test: Float[Array, " n"],
        pixel: Float[Array, " n"],
        overlap: Float[Array, "n c"],
    ) -> Float[Array, "n c"]:
        """Mean outputs (17), as `at_test`; `overlap` is sum_a x*.x_a/d c_ai."""
        test = self.at_test(q_test, pixel)
        centred = overlap - self.mean_pixel * pixel[:, None] * self.ones_c[None, :]
        return test.ntk[:, None] * self.share[None, :] + self.eps * self.arch.w_var * (
            test.by_cov[:, None] * centred
            + test.by_q2[:, None] * self.square_c[None, :]
            - (test.ntk * self.psi / self.n)[:, None] * self.perturbed_c[None, :]
        )


def raw_moments(corruption: Replacement | Additive, dtype) -> list[Float[Array, ""]]:
    """Returns mu_1 ... mu_4 of the noise of a pixel."""
    return [jnp.asarray(mu, dtype) for mu in corruption.noise.raw_moments()]


def train(
    arch: Architecture,
    corruption: Replacement | Additive,
    problem: Problem,
    copies: Float[Array, ""],
    ridge: Float[Array, ""],
    *,
    isotropic: bool,
) -> Trained:
    """Returns the dual weights (15) and what returns with the images (16). O(n d c)."""
    x = problem.x_train
    d, dtype, n = x.shape[1], x.dtype, copies * x.shape[0]
    mu1, mu2, *_ = raw_moments(corruption, dtype)
    pure = pure_noise(arch, mu1, mu2)
    kap, var, chi, slope = pure.kap + ridge, mu2 - mu1**2, 1.0, 1.0
    if isotropic:
        var = corruption.moments(x).var.mean()
        dressed = dressing(kap, pure.slope_k * arch.w_var * var, n / d)
        kap, chi, slope = dressed.kap, dressed.chi, dressed.slope
    counts = copies * problem.class_counts.astype(dtype)
    psi = n / (kap + n * pure.theta_o)
    share = psi * counts / n

    def weighed(rows):
        """sum_a rows_a c_ai for rows (n, m), with the dual weights c_ai of (15)."""
        of_class = jax.ops.segment_sum(rows, problem.labels_train, problem.num_classes)
        of_all = pure.theta_o * share[:, None] * rows.sum(0)[None, :]
        return copies * (of_class - of_all) / kap

    own_slope = pure.slope_d + (n - 2) * pure.slope_q
    d_square, perturbed = _returning(corruption, x, pure, own_slope, copies, n)
    per_row = jnp.stack([jnp.ones_like(d_square), d_square, perturbed], axis=1)
    ones_c, square_c, perturbed_c = weighed(per_row).T
    return Trained(
        arch=arch,
        pure=pure,
        eps=jnp.asarray(1 - corruption.p, dtype),
        n=n,
        mean_pixel=mu1,
        var=var,
        kap=kap,
        chi=jnp.asarray(chi, dtype),
        slope=jnp.asarray(slope, dtype),
        psi=psi,
        counts=counts,
        share=share,
        own_slope=own_slope,
        ones_c=ones_c,
        square_c=square_c,
        perturbed_c=perturbed_c,
        x_c=weighed(x),
    )


def _returning(corruption, x, pure, own_slope, copies, n):
    """(16): what eps adds to each image's mean square pixel, and to its kernel row."""
    one = jnp.ones((), x.dtype)
    square = lambda p: (
        dataclasses.replace(corruption, p=p).raw_moments(x)[1].mean(axis=1)
    )
    d_square = jax.jvp(square, (one,), (-one,))[1]
    mu1 = raw_moments(corruption, x.dtype)[0]
    d_mean = mu1 * (x.mean(axis=1) - mu1)
    return d_square, (
        own_slope * d_square
        + pure.slope_q * copies * d_square.sum()
        + pure.slope_k * ((n - 2) * d_mean + copies * d_mean.sum())
    )
