"""Points around a few centres, and labels of which a share is wrong.

K centres of unit norm, each with a class; a class may own several centres. A point
lies within eps0 of its centre, and its true class is that of the nearest centre.
Classes have targets alpha in [-1, 1]. Definitions 1.1 to 1.3 of Li, Soltanolkotabi &
Oymak 2020, arXiv:1903.11680. Drawn on the host in float32: a key gives the same points
in every dtype, up to rounding.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ntk_corrupt.label_noise.labels import corrupt_labels
from theory.errors import InputError, check_count, unknown
from theory.keys import stream
from theory.numerics.signatures import checked
from theory.records import record

MODES = {
    "sphere": "at distance eps0 from the centre, in a uniform direction",
    "ball": "uniform in the ball of radius eps0",
    "gauss": "normal of covariance eps0^2/d, at distance eps0 on average",
}
# Sets of centres that are tried at a time, and how often.
_BATCH, _BATCHES = 256, 64
# Four centres on two axes, opposite ones of one class: no line tells the classes apart.
XOR_CLASSES = (1, 1, 0, 0)


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
        return _truth(x, self.centres, self.classes)


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


@checked
def xor_centres(d: int) -> Float[np.ndarray, "4 d"]:
    """Returns (0, 1), (0, -1), (1, 0), (-1, 0) in the first two of `d` dimensions.

    Their classes are `XOR_CLASSES`.
    """
    check_count("d", d, least=2)
    return np.array([[0.0, 1.0], [0, -1], [1, 0], [-1, 0]]) @ np.eye(2, d)


@checked
def draw(
    model: ClusterModel,
    *,
    key: Array,
    centres: Float[Array, "k d"] | Float[np.ndarray, "k d"] | None = None,
    dtype: Any = jnp.float32,
) -> ClusterSet:
    """Returns points of the law.

    Args:
        model: the law.
        key: decides sizes, points and centres.
        centres: of unit norm, for example those of another set; None draws them
            uniformly on the sphere, as a whole again and again until those of different
            classes are 2 eps0 apart.
        dtype: of the points.

    Raises:
        InputError: on bad settings or centres, or if none so far apart are found.
    """
    model.check()
    classes = np.asarray(model.classes)
    drawn = lambda: _centres(model, classes, stream(key, "centres"))
    centres = np.asarray(drawn() if centres is None else centres, np.float64)
    _check_centres(model, classes, centres)
    keys = jax.random.split(stream(key, "points"))
    cluster = np.repeat(np.arange(len(classes)), _sizes(model, keys[0]))
    x = centres[cluster] + _offsets(model, keys[1])
    if model.unit:
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    x, centres = jnp.asarray(x, dtype), jnp.asarray(centres, dtype)
    return ClusterSet(
        x=x,
        cluster=jnp.asarray(cluster),
        labels=_truth(x, centres, jnp.asarray(classes)),
        centres=centres,
        classes=jnp.asarray(classes),
        alphas=jnp.asarray(model.alphas, dtype),
    )


@checked
def corrupt(
    data: ClusterSet, share: float, *, mode: str = "uniform", key: Array
) -> NoisyLabels:
    """Returns labels of which a share of every cluster is replaced.

    Args:
        data: the points.
        share: of the labels of each cluster, rho; at most rho n_l of n_l are replaced.
        mode: of `label_noise.MODES`: "uniform" may leave a label as it was (with two
            classes half the times), "flip" never does.
        key: decides which labels are replaced, and by what.
    """
    labels = corrupt_labels(
        data.labels, share, len(data.alphas), mode=mode, key=key, groups=data.cluster
    )
    flipped = np.asarray(labels) != np.asarray(data.labels)
    cluster, alphas = np.asarray(data.cluster), np.asarray(data.alphas)
    sizes = np.bincount(cluster, minlength=len(data.classes))
    wrong = np.bincount(cluster, weights=flipped, minlength=len(data.classes))
    return NoisyLabels(
        labels=labels,
        y=jnp.asarray(alphas[np.asarray(labels)]),
        flipped=jnp.asarray(flipped),
        shares=jnp.asarray(wrong / sizes, alphas.dtype),
    )


@jax.jit
def _truth(x, centres, classes):
    # of unit norm, the nearest one has the largest product
    return classes[jnp.argmax(x @ centres.T, axis=1)]


def _normal(key: Array, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(jax.random.normal(key, shape, jnp.float32), np.float64)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _nearest_foes(centres: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Smallest distance (s,) between centres of other classes, of sets (s, K, d)."""
    foes = classes[:, None] != classes[None, :]
    if not foes.any():
        return np.full(len(centres), np.inf)
    product = (centres @ centres.swapaxes(-1, -2)).max(
        axis=(-2, -1), where=foes, initial=-1.0
    )
    return np.sqrt(np.maximum(2 - 2 * product, 0.0))


def _centres(model: ClusterModel, classes: np.ndarray, key: Array) -> np.ndarray:
    for batch in range(_BATCHES):
        shape = (_BATCH, len(classes), model.d)
        found = _unit(_normal(jax.random.fold_in(key, batch), shape))
        apart = _nearest_foes(found, classes) >= 2 * model.eps0
        if apart.any():
            return found[apart.argmax()]
    raise InputError(
        f"`eps0` must leave room for {len(classes)} clusters in {model.d} dimensions, "
        f"got {model.eps0}: no centres of {_BATCH * _BATCHES} draws were 2 eps0 apart."
    )


def _check_centres(model: ClusterModel, classes: np.ndarray, centres: np.ndarray):
    if (found := centres.shape) != (shape := (len(classes), model.d)):
        raise InputError(f"`centres` must have shape {shape}, got {found}.")
    # float32 centres of another set
    norms = np.linalg.norm(centres, axis=1)
    if np.abs(norms - 1).max() > 1e-5:
        raise InputError(f"`centres` must have norm 1, got {norms.min():.3g}.")
    nearest = float(_nearest_foes(centres[None], classes)[0])
    if nearest < 2 * model.eps0 - 1e-5:
        raise InputError(
            f"`centres` of different classes must be 2 eps0 = {2 * model.eps0:g} "
            f"apart, got {nearest:.3g}."
        )


def _sizes(model: ClusterModel, key: Array) -> np.ndarray:
    """Points of each cluster: the least, and the rest dealt out up to the most."""
    clusters = len(model.classes)
    least, most = model.bounds()
    seats = np.repeat(np.arange(clusters), most - least)
    order = np.asarray(jax.random.permutation(key, len(seats)))
    taken = seats[order[: model.n - clusters * least]]
    return least + np.bincount(taken, minlength=clusters)


def _offsets(model: ClusterModel, key: Array) -> np.ndarray:
    keys = jax.random.split(key)
    normal = _normal(keys[0], (model.n, model.d))
    if model.mode == "gauss":
        return model.eps0 / model.d**0.5 * normal
    radius = np.full(model.n, model.eps0)
    if model.mode == "ball":
        share = jax.random.uniform(keys[1], (model.n,), jnp.float32)
        radius = model.eps0 * np.asarray(share, np.float64) ** (1 / model.d)
    return radius[:, None] * _unit(normal)
