"""Where the true labels and the wrong ones are in the components of the features.

For each principal component, the share of its variance over the training images that a
linear function of the labels explains: of one-hot true labels, and of one-hot noisy
less one-hot true ones. The latter are correlated with the true labels (they are -1 only
in the true class), so that a component that knows nothing of the noise has some of it;
`noise_beyond` is what they explain beside the true labels.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ntk_corrupt.spectral.kept_dimensions import accuracy
from ntk_corrupt.spectral.truncation import SpectralTruncation
from theory.errors import InputError
from theory.numerics.signatures import checked

_SHARE = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segregation:
    """Shares explained, of each component.

    Attributes:
        variance: of the component, as a share of all variance, (r,).
        true: R2 of the one-hot true labels, (r,).
        noise: R2 of one-hot noisy less one-hot true labels, (r,).
        noise_beyond: what the latter add to the former, (r,).
    """

    variance: np.ndarray
    true: np.ndarray
    noise: np.ndarray
    noise_beyond: np.ndarray

    def reach(self, name: str, share: float = _SHARE) -> float:
        """Smallest d whose components hold `share` of all variance that is explained.

        Args:
            name: "true", "noise" or "noise_beyond".
            share: in (0, 1].

        Returns:
            d, or NaN if nothing is explained.
        """
        return reach(self.variance * getattr(self, name), share)

    @property
    def index(self) -> float:
        """Reach of the noise over that of the true labels; above 1 it lies further."""
        return self.reach("noise") / self.reach("true")

    @property
    def index_beyond(self) -> float:
        """The same of `noise_beyond`."""
        return self.reach("noise_beyond") / self.reach("true")


def reach(amounts: np.ndarray, share: float) -> float:
    """Smallest d with `share` of the sum in the first d; NaN if the sum is 0."""
    if not 0 < share <= 1:
        raise InputError(f"`share` must be in (0, 1], got {share}.")
    total = np.cumsum(np.asarray(amounts, float))
    if not total[-1] > 0:
        return float("nan")
    return 1.0 + int(np.argmax(total >= share * total[-1] * (1 - 1e-12)))


@checked
def segregation(
    truncation: SpectralTruncation,
    features: Float[Array, "n D"],
    true: Int[Array, " n"],
    noisy: Int[Array, " n"],
    num_classes: int,
) -> Segregation:
    """Returns what true and wrong labels explain of each component. O(n D (D + c)).

    Args:
        truncation: fitted to these features.
        features: of the training images.
        true: right labels.
        noisy: labels that the network was trained on.
        num_classes: how many classes there are.
    """
    names = ("variance", "true", "noise", "noise_beyond")
    found = _segregation(truncation, features, true, noisy, num_classes)
    return Segregation(**dict(zip(names, map(np.asarray, found), strict=True)))


@functools.partial(jax.jit, static_argnames="num_classes")
def _segregation(truncation, features, true, noisy, num_classes):
    hot = lambda of: jax.nn.one_hot(of, num_classes, dtype=features.dtype)
    right, wrong = hot(true), hot(noisy) - hot(true)
    # what is beside the true labels is what varies inside their classes
    counts = jnp.maximum(right.sum(axis=0), 1.0)
    inside = wrong - right @ ((right.T @ wrong) / counts[:, None])
    z = truncation.transform(features)
    return truncation.shares, *(explained(z, of) for of in (right, wrong, inside))


@checked
def explained(
    z: Float[Array, "n r"], regressors: Float[Array, "n k"]
) -> Float[Array, " r"]:
    """R2 of each column of `z` by all regressors and a constant; 0 of constant columns.

    Regressors may be linearly dependent: their span is what counts. O(n k (k + r)).
    """
    centred = regressors - regressors.mean(axis=0)[None]
    z = z - z.mean(axis=0)[None]
    values, vectors = jnp.linalg.eigh(centred.T @ centred)
    # squares of singular values: the rounding error of the products, not of the sizes
    least = values[-1] * jnp.finfo(z.dtype).eps * 10 * len(values)
    real = (values > least) & (values > 0)
    inverse = jnp.where(real, 1 / jnp.where(real, values, 1.0), 0.0)
    parts = (centred @ vectors).T @ z  # (k, r)
    fitted = (inverse[:, None] * parts**2).sum(axis=0)
    total = (z**2).sum(axis=0)
    return jnp.where(total > 0, fitted / jnp.where(total > 0, total, 1.0), 0.0)


@checked
def flipped_fit(
    decisions: Int[Array | np.ndarray, "*d n"],
    true: Int[Array, " n"],
    noisy: Int[Array, " n"],
) -> np.ndarray:
    """Share of the wrong training labels that decisions reproduce; NaN without any."""
    return accuracy(decisions, noisy, np.asarray(true) != np.asarray(noisy))
