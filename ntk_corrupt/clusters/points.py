"""Points around a few centres, and labels of which a share is wrong.

K centres of unit norm, each with a class; a class may own several centres. A point
lies within eps0 of its centre, and its true class is that of the nearest centre.
Classes have targets alpha in [-1, 1]. Definitions 1.1 to 1.3 of Li, Soltanolkotabi &
Oymak 2020, arXiv:1903.11680. Drawn on the host in float32: a key gives the same points
in every dtype, up to rounding.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_corrupt.clusters.sets import ClusterModel, ClusterSet, NoisyLabels, truth
from ntk_corrupt.label_noise.labels import corrupt_labels
from theory.errors import InputError, check_count
from theory.keys import stream
from theory.numerics.signatures import checked

# Sets of centres that are tried at a time, and how often.
_BATCH, _BATCHES = 256, 64
# Four centres on two axes, opposite ones of one class: no line tells the classes apart.
XOR_CLASSES = (1, 1, 0, 0)


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
        labels=truth(x, centres, jnp.asarray(classes)),
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
