"""The kernel at p = 1, and how its entries answer to first order in eps = 1 - p."""

from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.kernels.slopes import transfer, transfer_diag
from theory.records import record


@record(kw_only=True)
class PureNoise:
    """The kernel of training points that are nothing but noise, to leading order in d.

    docs/theory/first_order.md (14); the symbols are those of its table.

    Attributes:
        q: variance of a training point in the first layer.
        cov: k_0, covariance of two training points.
        theta_d: kernel on the diagonal.
        theta_o: kernel off the diagonal.
        slope_d: h', derivative of `theta_d` in q.
        slope_q: S, derivative of `theta_o` in the variance of one of its points.
        slope_k: T, derivative of `theta_o` in the covariance.
    """

    q: Float[Array, ""]
    cov: Float[Array, ""]
    theta_d: Float[Array, ""]
    theta_o: Float[Array, ""]
    slope_d: Float[Array, ""]
    slope_q: Float[Array, ""]
    slope_k: Float[Array, ""]

    @property
    def kap(self) -> Float[Array, ""]:
        """theta_d - theta_o."""
        return self.theta_d - self.theta_o


def pure_noise(
    arch: Architecture, mean: Float[Array, ""], square: Float[Array, ""]
) -> PureNoise:
    """Returns the kernel of pure noise and its slopes, docs/theory/first_order.md (14).

    Args:
        arch: the architecture.
        mean: mu_1 of the noise.
        square: mu_2 of the noise.
    """
    q = arch.b_var + arch.w_var * square
    cov = arch.b_var + arch.w_var * mean**2
    on, off = transfer_diag(q, arch), transfer(q, q, cov, arch)
    return PureNoise(
        q=q,
        cov=cov,
        theta_d=on.ntk,
        theta_o=off.ntk,
        slope_d=on.by_q,
        slope_q=off.by_q1,
        slope_k=off.by_cov,
    )
