"""Labels that are wrong: how they are made so.

The labels chosen to be wrong are nested: with one key, those of a smaller share are
among those of a larger one. Host only.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Shaped

from theory.errors import InputError, check_count, unknown
from theory.keys import stream
from theory.numerics.signatures import checked

MODES = {
    "uniform": "drawn anew from all classes, the right one among them",
    "flip": "any other class",
    "next": "the class after",
    "nearest": "the nearest other class mean, and of the images nearest to one",
}


@checked
def corrupt_labels(
    labels: Shaped[Array | np.ndarray, " n"],
    share: float,
    num_classes: int,
    *,
    mode: str = "uniform",
    key: Array,
    x: Float[Array, "n d"] | None = None,
    groups: Int[Array, " n"] | None = None,
) -> Integer[Array, " n"]:
    """Returns labels of which a share is replaced.

    Args:
        labels: classes, of any whole dtype, which is kept if it holds all classes.
        share: of the labels of each group, in [0, 1]; floor(share n) of n are replaced.
            "uniform" leaves 1/num_classes of those as they were.
        num_classes: how many classes there are.
        mode: what replaces a label, a name of `MODES`. "nearest" depends on the images:
            it is not noise but a rule that is wrong.
        key: decides which labels are replaced, and by what.
        x: images, for "nearest".
        groups: of which each loses the same share, for example clusters; None is one.

    Raises:
        InputError: unless the share is in [0, 1], the mode is known and has its images.
    """
    if mode not in MODES:
        raise unknown("label noise", mode, MODES)
    if not 0 <= share <= 1:
        raise InputError(f"`share` must be in [0, 1], got {share}.")
    check_count("num_classes", num_classes, 1 if mode == "uniform" else 2)
    given = np.asarray(labels)
    if given.dtype.kind not in "iu":
        raise InputError(f"`labels` must be integers, got {given.dtype}.")
    right = given.astype(np.int64)  # sums of small types wrap
    if given.size and not 0 <= right.min() <= right.max() < num_classes:
        raise InputError(
            f"`labels` must lie in 0 ... {num_classes - 1}, got {right.min()} ... "
            f"{right.max()}."
        )
    if mode == "nearest" and x is None:
        raise InputError('`x` must be given with mode="nearest".')
    n = len(right)
    draw = lambda name: jax.random.fold_in(stream(key, "labels"), name)
    # with their types: those of x64 are other numbers
    order = np.asarray(jax.random.bits(draw(0), (n,), jnp.uint32))
    if mode == "nearest":
        assert x is not None
        order, wrong = _nearest_other(np.asarray(x), right, num_classes)
    elif mode == "uniform":
        wrong = np.asarray(jax.random.randint(draw(1), (n,), 0, num_classes, jnp.int32))
    else:
        ahead = 1
        if mode == "flip":
            ahead = jax.random.randint(draw(1), (n,), 1, num_classes, jnp.int32)
            ahead = np.asarray(ahead)
        wrong = (right + ahead) % num_classes
    of = np.zeros(n, int) if groups is None else np.asarray(groups)
    replaced = _first(order, of, share)
    fits = num_classes - 1 <= np.iinfo(given.dtype).max
    dtype = given.dtype if fits else np.int32
    return jnp.asarray(np.where(replaced, wrong, right).astype(dtype))


def _first(order: np.ndarray, groups: np.ndarray, share: float) -> np.ndarray:
    """Whether each is among the first floor(share n) of the n of its group."""
    sizes = np.bincount(groups)
    sorted_ = np.lexsort((order, groups))
    rank = np.empty(len(order), int)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank[sorted_] = np.arange(len(order)) - starts[groups[sorted_]]
    # 0.3 * 10 is not 3 in binary
    return rank < np.floor(share * sizes + 1e-9)[groups]


def _nearest_other(x: np.ndarray, labels: np.ndarray, num_classes: int):
    """Returns how near each is to another class mean, and to which."""
    y = np.eye(num_classes)[labels]
    counts = y.sum(axis=0)
    if (counts > 0).sum() < 2:
        raise InputError(
            '`labels` must be of two classes at least with mode="nearest".'
        )
    means = (y.T @ x) / np.maximum(counts, 1)[:, None]
    distance = (means**2).sum(axis=1) - 2 * x @ means.T  # less |x|^2
    distance[:, counts == 0] = np.inf
    own = distance[np.arange(len(x)), labels]
    distance[np.arange(len(x)), labels] = np.inf
    return distance.min(axis=1) - own, distance.argmin(axis=1)
