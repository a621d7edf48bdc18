"""Clusters as a law, as points drawn from it, as labels of which some are wrong.

Definitions 1.1 to 1.3 of Li, Soltanolkotabi & Oymak 2020, arXiv:1903.11680; `points`
draws.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from theory.errors import InputError, unknown
from theory.records import record

MODES = {
    "sphere": "at distance eps0 from the centre, in a uniform direction",
    "ball": "uniform in the ball of radius eps0",
    "gauss": "normal of covariance eps0^2/d, at distance eps0 on average",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterModel:
    """The law of clustered points.

    Attributes:
        n: points.
        d: their dimension.
        eps0: radius of a cluster; 0 makes all its points one.
        classes: class of each of the K clusters.
        alphas: target of each class, in [-1, 1].
        mode: how points lie about their centre, a name of `MODES`.
        unit: whether points are moved to the unit sphere, where those of a ball are
            within 2 sin(arcsin(eps0)/2) of their centre, a little beyond eps0.
        balance: least and most of the points of a cluster, c_low and c_up, in units of
            n/K.
    """

    n: int = 400
    d: int = 20
    eps0: float = 0.5
    classes: tuple[int, ...] = (0, 1)
    alphas: tuple[float, ...] = (0.0, 1.0)
    mode: str = "sphere"
    unit: bool = False
    balance: tuple[float, float] = (1.0, 1.0)

    def check(self) -> None:
        """Raises `InputError` unless the settings make sense. Host only."""
        clusters, (low, most) = len(self.classes), self.balance
        if self.mode not in MODES:
            raise unknown("mode", self.mode, MODES)
        if self.d < 1:
            raise InputError(f"`d` must be at least 1, got {self.d}.")
        if not 0 <= self.eps0 < 1:
            raise InputError(f"`eps0` must be in [0, 1), got {self.eps0}.")
        if clusters < 1 or self.n < clusters:
            raise InputError(
                f"`n` must be at least one point for each of {clusters} clusters, got "
                f"{self.n}."
            )
        if not set(self.classes) <= set(range(len(self.alphas))):
            raise InputError(
                f"`classes` must lie in 0 ... {len(self.alphas) - 1}, one for each "
                f"alpha, got {self.classes}."
            )
        distinct = len(set(self.alphas)) == len(self.alphas)
        if not distinct or any(not -1 <= alpha <= 1 for alpha in self.alphas):
            raise InputError(
                f"`alphas` must be different and in [-1, 1], got {self.alphas}."
            )
        if not 0 <= low <= 1 <= most:
            raise InputError(
                "`balance` must be c_low <= 1 <= c_up, neither negative, got "
                f"{self.balance}."
            )

    def bounds(self) -> tuple[int, int]:
        """Returns the least and the most points of a cluster, in whole points."""
        share, (low, most) = self.n / len(self.classes), self.balance
        # n/K need not be whole, and 0.3 * 10 is not 3 in binary
        least = min(np.ceil(low * share - 1e-9), np.floor(share))
        return int(least), int(max(np.floor(most * share + 1e-9), np.ceil(share)))


@jax.jit
def truth(x, centres, classes):
    """The class of the nearest centre of every point."""
    # of unit norm, the nearest one has the largest product
    return classes[jnp.argmax(x @ centres.T, axis=1)]


@record(kw_only=True)
class ClusterSet:
    """Points, each with its cluster and its true class.

    Attributes:
        x: the points.
        cluster: of each, in 0 ... K-1.
        labels: true class of each, that of the nearest centre; another one than that of
            its cluster only for modes that leave the ball.
        centres: of unit norm.
        classes: class of each centre.
        alphas: target of each class.
    """

    x: Float[Array, "n d"]
    cluster: Int[Array, " n"]
    labels: Int[Array, " n"]
    centres: Float[Array, "k d"]
    classes: Int[Array, " k"]
    alphas: Float[Array, " c"]

    @property
    def y(self) -> Float[Array, " n"]:
        """Targets of the true classes."""
        return self.alphas[self.labels]

    @property
    def delta(self) -> Float[Array, ""]:
        """Smallest difference between the targets of two classes; infinite of one."""
        return jnp.diff(jnp.sort(self.alphas)).min(initial=jnp.inf)

    def truth(self, x: Float[Array, "m d"]) -> Int[Array, " m"]:
        """Returns the class of the nearest centre of any points."""
        return truth(x, self.centres, self.classes)


@record(kw_only=True)
class NoisyLabels:
    """Labels of which some are wrong.

    Attributes:
        labels: class of each point, as training sees it.
        y: their targets.
        flipped: whether the class is not the true one.
        shares: of each cluster, which part is flipped.
    """

    labels: Int[Array, " n"]
    y: Float[Array, " n"]
    flipped: Bool[Array, " n"]
    shares: Float[Array, " k"]
