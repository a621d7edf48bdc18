"""Landmarks: sampled training images that carry the smooth rest of the mean kernel.

What base and features leave of the mean kernel is smooth, and small where corruption is
heavy. It enters the regression through the entries of all images with a few of them.

Equations: docs/theory/linearised.md ("Three levels").
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.errors import InputError
from theory.kernels.architecture import Architecture
from theory.linearised.image_moments import ImageMoments
from theory.linearised.linearise import linear
from theory.linearised.training_kernel import TrainingKernel, measure
from theory.numerics import doors, memory
from theory.numerics.edges import matmul

# Numbers of landmarks tried in turn, and then all training images up to so many.
_TRIED, _MOST_FOR_ALL = (400, 1000), 5000
# Share of the base that landmarks may leave unexplained of an image's own entry.
UNEXPLAINED = 0.1
# Share of the base below which a combination of landmarks is dropped.
_NEGLIGIBLE = 0.01
# Combinations come in multiples of this, so that a sweep compiles few sizes.
_ROUND = 50


class Landmarks(NamedTuple):
    """The level of the reduction, and what it is made of.

    Attributes:
        level: "diagonal" (none), "landmarks", "full" (every image is one) or
            "noiseless" (no features, the whole mean kernel).
        measured: the kernel on the sampled images.
        basis: the combinations of landmarks in use, None for none.
        unexplained: mean share that they leave of an image's own entry, over the base.
    """

    level: str
    measured: TrainingKernel
    basis: Float[Array, "r k"] | None
    unexplained: Float[Array, ""] | float


def sample(n: int, size: int) -> np.ndarray:
    """Returns `size` of `n` row numbers, ascending, always the same."""
    if size >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).permutation(n)[:size])


def measured_on(arch: Architecture, train: ImageMoments, size: int) -> TrainingKernel:
    """Returns the kernel of the images, measured on `size` sampled ones.

    Raises:
        InputError: if its entries do not fit the memory.
    """
    n, dtype = len(train.q), train.q.dtype
    columns = sample(n, size)
    # both kernels, the rest of one, and what rows take of it
    memory.check_memory(
        6 * n * len(columns) * dtype.itemsize,
        f"the mean kernel of {n} training images with {len(columns)} of them",
        "use a smaller n_train or `landmarks`, or float32",
    )
    return measure(arch, train, jnp.asarray(columns))


@jax.jit
def _used(basis: Float[Array, "r r"]) -> Array:
    return (jnp.abs(basis).sum(axis=0) > 0).sum()


@jax.jit
def landmark_basis(
    arch: Architecture, measured: TrainingKernel, ridge: Float[Array, ""] | float = 0.0
) -> tuple[Float[Array, "r r"], Float[Array, "2"]]:
    """Returns the combinations of landmarks that carry the rest of the mean kernel.

    Eigenvectors of the rest between landmarks over the root of their eigenvalues. The
    rest is indefinite, and an eigenvalue near zero would carry large entries to all
    other rows: what is small against the base, scaled up to all rows, is dropped.
    Nothing is where every row is a landmark.

    Returns:
        The combinations, the important ones last, zero columns for what is dropped;
        and the mean of the rest of an image's own entry, before and after, over the
        base: what the reduced kernel does not see.
    """
    part = linear(arch, measured, 0.0, ridge)
    block = part.rest[measured.columns]
    values, vectors = jnp.linalg.eigh((block + block.T) / 2)
    n, r = part.rest.shape
    smallest = 1e-12 * jnp.abs(values).max()
    if r < n:
        smallest = jnp.maximum(smallest, _NEGLIGIBLE * part.base.mean() * r / n)
    kept = jnp.abs(values) > smallest
    order = jnp.argsort(jnp.where(kept, jnp.abs(values), 0.0))
    root = jnp.sqrt(jnp.where(kept, jnp.abs(values), 1.0))
    basis = jnp.where(kept[None, :], vectors / root[None, :], 0.0)[:, order]
    signs = jnp.where(kept, jnp.sign(values), 0.0)[order]
    extra = matmul(part.rest, basis)
    missing = part.own_rest - matmul(extra**2, signs)
    scale = jnp.abs(part.base).mean()
    return basis, jnp.stack([part.own_rest.mean(), missing.mean()]) / scale


def _chosen_blindly(arch, train, landmarks, ridge) -> Landmarks:
    n = len(train.q)
    if landmarks is None and n > _MOST_FOR_ALL:
        raise InputError(
            f"`landmarks` must be given for {n} images under jit or vmap: how many are "
            f"needed is not known there, and all are too many beyond {_MOST_FOR_ALL}."
        )
    size = n if landmarks is None else landmarks
    measured = measured_on(arch, train, size or _TRIED[0])
    basis, missing = landmark_basis(arch, measured, ridge)
    basis = jax.lax.stop_gradient(basis)
    if size == 0:
        return Landmarks("diagonal", measured, None, missing[0])
    return Landmarks("full" if size >= n else "landmarks", measured, basis, missing[1])


def choose(
    arch: Architecture,
    train: ImageMoments,
    landmarks: int | None,
    ridge: Float[Array, ""],
) -> Landmarks:
    """Returns `landmarks` of them, or the fewest that explain what they must.

    Host only: what is computed next is compiled for the level. Of traced images, whose
    rest is not known, every one is a landmark unless `landmarks` says how many.

    Raises:
        InputError: for more traced images than can all be landmarks.
    """
    n = len(train.q)
    if not doors.known(arch, train, ridge):
        return _chosen_blindly(arch, train, landmarks, ridge)
    sizes = _TRIED if landmarks is None else (landmarks,)
    if landmarks is None and n <= _MOST_FOR_ALL:
        sizes = (*sizes, n)
    for size in sizes:
        measured = measured_on(arch, train, size or _TRIED[0])
        # what they are does not matter where nothing is dropped: no derivative
        basis, missing = jax.lax.stop_gradient(landmark_basis(arch, measured, ridge))
        used = int(_used(basis))
        if size == 0 or used == 0:
            return Landmarks("diagonal", measured, None, float(missing[0]))
        # ascending by size: what is used comes last
        wide = min(-(-used // _ROUND) * _ROUND, basis.shape[1])
        basis = basis[:, basis.shape[1] - wide :]
        level = "full" if size >= n else "landmarks"
        found = Landmarks(level, measured, basis, float(missing[1]))
        if found.unexplained <= UNEXPLAINED or size >= n:
            break
    return found
