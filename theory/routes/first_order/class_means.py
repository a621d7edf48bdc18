"""The nearest-class-mean rule, from sums over the classes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.numerics.edges import matmul
from theory.numerics.signatures import checked
from theory.problem import Problem


def class_sums(problem: Problem) -> Float[Array, "c d"]:
    """Returns the sum of the clean training images of each class."""
    return jax.ops.segment_sum(
        problem.x_train, problem.labels_train, problem.num_classes
    )


@checked
def class_mean_scores(
    problem: Problem, weight: Float[Array, "d d"] | None = None
) -> Float[Array, "n c"]:
    """Returns <x*, mu_i - mean mu>/d of every test point and class.

    Their argmax is the nearest-class-mean rule that heavy corruption leaves. The
    squared lengths of the class means, which a Euclidean nearest mean would weigh too,
    do not enter. A class without training images scores as mu_i = 0.

    Args:
        problem: the data.
        weight: metric of the scalar product, `theory.architectures.metric`'s for
            networks that are no multilayer perceptrons; None for the identity.
    """
    problem.check()
    return _scores(problem, weight)


@jax.jit
def _scores(
    problem: Problem, weight: Float[Array, "d d"] | None
) -> Float[Array, "n c"]:
    counts = jnp.maximum(problem.class_counts, 1).astype(problem.x_train.dtype)[:, None]
    means = class_sums(problem) / counts
    centred = means - means.mean(axis=0, keepdims=True)
    if weight is not None:
        centred = matmul(centred, weight.T)
    return problem.x_test @ centred.T / problem.x_test.shape[1]
