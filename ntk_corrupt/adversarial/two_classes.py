"""Two classes, labelled -1 and 1: what networks learn of adversarial perturbations.

Sources: Kumano, Kera & Yamasaki 2024, arXiv:2410.23677, section 5 and its code.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_corrupt.data import loading
from theory.errors import InputError, check_count
from theory.numerics import memory
from theory.numerics.signatures import checked

SYNTHETIC = ("shifted", "gauss", "orthogonal")
_SHIFT = 0.3
# What the source subtracts; other sets lose the mean of their own training images.
_MEANS = {"mnist": 0.1307, "fashion_mnist": 0.2860}


class TwoClasses(NamedTuple):
    """Training and test inputs, float32, with labels -1 or 1.

    Attributes:
        x: training inputs.
        y: their labels.
        x_test: fresh inputs.
        y_test: their labels.
    """

    x: Float[Array, "n d"]
    y: Float[Array, " n"]
    x_test: Float[Array, "k d"]
    y_test: Float[Array, " k"]


@checked
def shifted_gauss(
    n: int, d: int, *, n_test: int, seed: int, shift: float = _SHIFT
) -> TwoClasses:
    """Returns x ~ N(y shift 1, I), half of each class; the test inputs likewise."""
    _check_sizes(n, d, n_test, seed)
    rng, parts = np.random.default_rng(seed), []
    for size in (n, n_test):
        x, y = _drawn(rng, size, d)
        parts += [x + np.float32(shift) * y[:, None], y]
    return TwoClasses(*map(jnp.asarray, parts))


@checked
def gauss(n: int, d: int, *, n_test: int, seed: int) -> TwoClasses:
    """Returns x ~ N(0, I) and labels that mean nothing, half of each.

    All that can be learned is the training set by heart: on test inputs any accuracy
    is 1/2, while two networks may agree.
    """
    _check_sizes(n, d, n_test, seed)
    rng = np.random.default_rng(seed)
    parts = [part for size in (n, n_test) for part in _drawn(rng, size, d)]
    return TwoClasses(*map(jnp.asarray, parts))


@checked
def orthogonal(n: int, d: int, *, n_test: int, seed: int) -> TwoClasses:
    """Returns inputs that are orthogonal to each other, of length sqrt(d).

    Labels mean nothing, half of each. The setting of the prior work (Kumano, Kera &
    Yamasaki 2024, arXiv:2402.10470); the test inputs are N(0, I), since none is left
    that is orthogonal to all where n = d. O(n^2 d).

    Raises:
        InputError: if n > d, or as for the other sets.
    """
    _check_sizes(n, d, n_test, seed)
    if n > d:
        raise InputError(
            f"`n` must be at most d, got n = {n} and d = {d}: no more are orthogonal."
        )
    rng = np.random.default_rng(seed)
    x, y = _drawn(rng, n, d)
    q, r = np.linalg.qr(x.T.astype(float))
    # without the signs of R the directions would not be uniform
    x = (q * np.sign(np.diagonal(r))).T * d**0.5
    parts = [x.astype(np.float32), y, *_drawn(rng, n_test, d)]
    return TwoClasses(*map(jnp.asarray, parts))


def images(
    name: str,
    classes: tuple[int, ...],
    *,
    n: int | None,
    n_test: int | None = None,
    seed: int = 0,
    data_dir: str | None = None,
    size: int | None = None,
) -> TwoClasses:
    """Returns two classes of a data set of `ntk_corrupt.data`, pixels less their mean.

    Args:
        name: a name of `data.NAMES`.
        classes: two labels; the first becomes 1, the second -1.
        n: training images, balanced; None is all.
        n_test: test images, balanced; None is all.
        seed: chooses the training images; the test images are the same for all.
        data_dir: see `data.load`.
        size: see `data.load`.

    Raises:
        InputError: unless there are two different classes, or as in `data.load`.
    """
    if len(classes) != 2 or classes[0] == classes[1]:
        raise InputError(f"`classes` must be two different labels, got {classes}.")
    problem = loading.load(
        name,
        n_train=n,
        n_test=n_test,
        normalise="none" if name == "gaussian_prototypes" else "unit",
        seed=seed,
        data_dir=data_dir,
        size=size,
        classes=classes,
    ).astype(jnp.float32)
    mean = _MEANS.get(name, problem.x_train.mean())
    sign = lambda labels: 1.0 - 2.0 * labels.astype(jnp.float32)
    return TwoClasses(
        problem.x_train - mean,
        sign(problem.labels_train),
        problem.x_test - mean,
        sign(problem.labels_test),
    )


def _check_sizes(n: int, d: int, n_test: int, seed: int) -> None:
    for name, value in (("n", n), ("d", d), ("n_test", n_test)):
        check_count(name, value)
    if seed < 0:
        raise InputError(f"`seed` must not be negative, got {seed}.")
    memory.check_memory(8 * (n + n_test) * d, "the inputs", "use fewer, or a smaller d")


def _drawn(rng: np.random.Generator, n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal inputs, and as many 1 as -1, up to one, in random order."""
    signs = np.where(np.arange(n) % 2 == 0, 1.0, -1.0).astype(np.float32)
    return rng.standard_normal((n, d), np.float32), rng.permutation(signs)
