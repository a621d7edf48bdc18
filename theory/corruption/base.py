"""What a corruption is: samples for networks, moments per pixel for the theory."""

import abc
from typing import ClassVar

from jaxtyping import Array, Float

from theory.records import record


@record(kw_only=True)
class PixelMoments:
    """Exact moments of corrupted pixels, each of the shape of the clean images.

    Attributes:
        mean: M = E x~.
        var: V = Var x~.
        cov_square: C12 = Cov(x~, x~^2).
        var_square: V2 = Var(x~^2).
    """

    mean: Float[Array, "n d"]
    var: Float[Array, "n d"]
    cov_square: Float[Array, "n d"]
    var_square: Float[Array, "n d"]


class Corruption(abc.ABC):
    """Independent corruption of every pixel, given the clean one.

    A subclass is a `theory.records.record`. One whose level `p` and law `noise` leave
    nothing but the noise at p = 1 says so in `ends_in_noise`: `first_order` expands
    there.
    """

    ends_in_noise: ClassVar[bool] = False

    @abc.abstractmethod
    def apply(self, key: Array, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns one corrupted copy of `x`, in its dtype; the key is consumed."""

    @abc.abstractmethod
    def raw_moments(self, x: Float[Array, "..."]) -> list[Float[Array, "..."]]:
        """Returns E x~^k for k = 1 ... 4 at every clean pixel of `x`."""

    @abc.abstractmethod
    def check(self) -> None:
        """Raises `InputError` on a strength or a noise that makes no law, if known."""

    def check_images(self, x: Float[Array, "..."]) -> None:  # noqa: B027
        """Raises `InputError` on images it is not defined for; none here. Host only."""

    def moments(self, x: Float[Array, "n d"]) -> PixelMoments:
        """Returns exact moments of corrupted pixels, docs/theory/corruption.md (4)."""
        m1, m2, m3, m4 = self.raw_moments(x)
        return PixelMoments(
            mean=m1, var=m2 - m1**2, cov_square=m3 - m1 * m2, var_square=m4 - m2**2
        )
