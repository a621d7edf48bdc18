"""The class-mean law where the noise of many images crowds few pixels.

The expansion of `theory.first_order` takes the overlaps of N noise vectors in d
dimensions for weak. They form a Wishart matrix whose eigenvalues spread by sqrt(N/d);
here it is kept exactly: docs/theory/first_order.md (F7)-(F9), from the law of Marchenko
and Pastur (1967).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.records import record


@record(kw_only=True)
class Dressing:
    """What the spread of the noise's eigenvalues does to the class-mean law.

    Attributes:
        kap: replaces kap in the dual weights.
        slope: factor of the test row's slope T*.
        chi: what the variance is divided by beyond these two, in (0, 1]: the loss of
            signal to noise.
    """

    kap: Float[Array, ""]
    slope: Float[Array, ""]
    chi: Float[Array, ""]


def dressing(
    kap: Float[Array, "..."], spread: Float[Array, "..."], ratio: Float[Array, "..."]
) -> Dressing:
    """Returns the dressing of docs/theory/first_order.md (F8)-(F9). Elementwise.

    Args:
        kap: theta_d - theta_o, kernel of pure noise on the diagonal less off it.
        spread: T C_w v, the part of `kap` that is linear in the pixels; v is the
            variance of a corrupted pixel. Between 0 and `kap`.
        ratio: N/d.
    """
    rest = kap - spread  # lam times spread
    # spread m^2 + b m - rest = 0; each form where it does not cancel
    b = rest + spread * (ratio - 1)
    root = jnp.sqrt(b**2 + 4 * spread * rest)
    upper = b > 0
    slope = jnp.where(
        upper,
        2 * rest / jnp.where(upper, b + root, 1.0),
        (root - b) / (2 * jnp.where(upper, 1.0, spread)),
    )
    dressed = rest + spread * slope
    return Dressing(kap=dressed, slope=slope, chi=(rest + spread * slope**2) / dressed)
