"""What the Jacobian of a network on images says: a distance budget, a spectrum."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import PyTree
from sklearn.cluster import KMeans

from experiments.harness.lines import known
from experiments.harness.run_directory import Row
from experiments.wrong_labels.images import LabelledImages
from ntk_corrupt.clusters import jacobian
from ntk_corrupt.kernels import empirical, singular

# Directions in which energies are told: as many as the source's count of large values.
_FIRST = 10


def budget(
    model: nn.Module, params: PyTree, images: LabelledImages, clusters: int
) -> float:
    """E+/beta over |W0|: the least relative distance that learns means of clusters.

    S+ are the vectors that are constant on `clusters` of the training images, found by
    k-means on pixels, without labels; E+ is what one-hot noisy labels ask on it of the
    outputs at the start, beta the largest singular value of the Jacobian there.
    """
    problem = images.problem.astype(jnp.float32)
    pixels = np.asarray(problem.x_train)
    found = KMeans(clusters, n_init=1, random_state=0).fit_predict(pixels)
    # numbers of clusters that are not empty
    _, cluster = np.unique(found, return_inverse=True)
    basis = jacobian.cluster_basis(jnp.asarray(cluster), int(cluster.max()) + 1)
    outputs = np.asarray(jax.jit(model.apply)(params, problem.x_train), float)
    wanted = np.eye(problem.num_classes)[np.asarray(problem.labels_train)] - outputs
    beta = singular.largest(
        model, params, problem.x_train, jnp.asarray(basis, jnp.float32)
    )
    square = sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(params))
    return float(np.linalg.norm(basis.T @ wanted) / float(beta) / square**0.5)


def two_classes(images: LabelledImages, each: int) -> np.ndarray:
    """Positions of the first `each` training images of classes 0 and 1."""
    truth = np.asarray(images.truth)
    return np.concatenate([np.flatnonzero(truth == c)[:each] for c in (0, 1)])


def spectrum(
    model: nn.Module, params: PyTree, images: LabelledImages, each: int
) -> tuple[Row, np.ndarray]:
    """Singular values of the Jacobian of f_0 - f_1 at images of the two classes.

    And where in its left singular vectors lie the true labels, +1 and -1, and the
    noise: what wrong labels add to them, those of other classes left out.
    """
    chosen = two_classes(images, each)
    problem = images.problem.astype(jnp.float32)
    kernel = empirical.ntk(model, params, problem.x_train[chosen], "all")
    sign = np.zeros(kernel.shape[1])
    sign[:2] = 1, -1
    gram = np.einsum("aibj,i,j->ab", np.asarray(kernel, float), sign, sign)
    left = jacobian.left_singular(jnp.asarray(gram))
    to_sign = lambda labels: np.array([1.0, -1.0, 0.0])[np.minimum(labels, 2)]
    truth, noisy = (
        to_sign(np.asarray(part)[chosen])
        for part in (images.truth, problem.labels_train)
    )
    count = min(_FIRST, len(chosen))
    row = {
        "above": left.above(),
        "rank": known(float((left.values**2).sum() / left.values[0] ** 2)),
        "clean": known(left.energy(truth, count)),
        "noise": known(left.energy(noisy - truth, count)),
    }
    return row, left.values
