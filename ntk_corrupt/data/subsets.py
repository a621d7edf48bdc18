"""Balanced random subsets: which images of a pool are used.

One seeded sequence per pool visits the images in rounds; each round has one image of
every class, in random order, and no image comes twice. A subset of n is the first n of
it. So class counts differ by at most one, subsets of one seed are nested (n = 1000 lies
within n = 2000), and any head of a subset is itself a balanced random subset.
"""

import numbers
import zlib

import numpy as np

from theory.errors import InputError


def balanced(
    labels: np.ndarray,
    n: int | np.integer | None,
    *,
    num_classes: int,
    seed: int,
    stream: str,
) -> np.ndarray:
    """Positions of a balanced subset of `n` images, without replacement.

    Args:
        labels: (pool,) integers in 0 ... num_classes-1.
        n: size of the subset; None is the whole pool in its own order, balanced or not.
        num_classes: number of classes.
        seed: chooses the subset, >= 0.
        stream: "train" or "test": names the argument `n_train` or `n_test` in errors,
            and makes equal seeds of the two independent.

    Returns:
        (n,) positions in `labels`, in the order of the sequence.

    Raises:
        InputError: `n` is not a positive integer, is larger than the pool, leaves a
            class without a training image or needs more of a class than there is;
            `seed` is not a non-negative integer.
    """
    argument = f"n_{stream}"
    check_integer("seed" if stream == "train" else "test_seed", seed, minimum=0)
    if n is None:
        return np.arange(len(labels))
    check_integer(argument, n, minimum=1)
    if n > len(labels):
        raise InputError(
            f"`{argument}` must be at most {len(labels)}, the number of images there "
            f"are, got {n}."
        )
    if stream == "train" and n < num_classes:
        raise InputError(
            f"`{argument}` must be at least {num_classes}, one image of each class, "
            f"got {n}."
        )
    counts = np.bincount(labels, minlength=num_classes)
    rounds = int(counts.min())
    if n > rounds * num_classes:
        raise InputError(
            f"`{argument}` = {n} cannot be balanced: class {int(counts.argmin())} has "
            f"only {rounds} images, so at most {rounds * num_classes}; "
            f"`{argument}=None` takes all {len(labels)} unbalanced."
        )
    rng = _generator(seed, f"subset/{stream}")
    members = np.stack(
        [
            rng.permutation(np.flatnonzero(labels == i))[:rounds]
            for i in range(num_classes)
        ],
        axis=1,
    )
    # A fresh order of the classes in each round: a slice with a step stays random too.
    order = rng.permuted(np.tile(np.arange(num_classes), (rounds, 1)), axis=1)
    return np.take_along_axis(members, order, axis=1).ravel()[:n]


def check_integer(argument: str, value: object, *, minimum: int) -> None:
    """Raises `InputError` unless `value` is an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InputError(f"`{argument}` must be an integer, got {value!r}.")
    if value < minimum:
        raise InputError(f"`{argument}` must be at least {minimum}, got {value}.")


def _generator(seed: int, stream: str) -> np.random.Generator:
    key = (zlib.crc32(stream.encode()),)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
