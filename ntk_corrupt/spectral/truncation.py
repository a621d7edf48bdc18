"""Heads cut to the leading principal components of the features that they read.

A network ends in logits = W h + b on features h in R^D. With the mean mu of the
features of the training images and their principal components V_d, the first d,

    h_d = mu + V_d V_d^T (h - mu)                        (features, truncated)
    W h_d + b = W V_d V_d^T h + b + W (I - V_d V_d^T) mu   (the same as a head)

The truncation of Wang 2026, arXiv:2603.02293, which its author withdrew. Logits at all
d are one cumulative sum over components; the same sum serves any basis and any head.
"""

import functools

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Float, Int

from ntk_corrupt.spectral.heads import Head
from theory.errors import InputError
from theory.numerics import doors
from theory.numerics.signatures import checked
from theory.records import record


@jax.jit
def cumulative_decisions(
    start: Float[Array, "n c"],
    coordinates: Float[Array, "n r"],
    steps: Float[Array, "r c"],
) -> Int[Array, "r1 n"]:
    """The class decided for by start + sum_(j <= d) coordinates_j steps_j, d = 0 ... r.

    O(n c r) time; memory beside the results is that of one d.
    """

    def step(logits, term):
        coordinate, direction = term
        logits = logits + direction[:, None] * coordinate[None]
        return logits, logits.argmax(axis=0)

    first = start.T  # (c, n): the long axis is the contiguous one
    _, decided = jax.lax.scan(step, first, (coordinates.T, steps))
    return jnp.concatenate([first.argmax(axis=0)[None], decided]).astype(jnp.int32)


@record(kw_only=True)
class Truncation:
    """Projectors mu + V_d V_d^T (h - mu) onto the first d directions of a basis.

    Attributes:
        mean: mu.
        components: V, orthonormal columns; columns of zeros are left out of everything.
    """

    mean: Float[Array, " D"]
    components: Float[Array, "D r"]

    def transform(self, features: Float[Array, "n D"]) -> Float[Array, "n r"]:
        """Returns the coordinates V^T (h - mu)."""
        return (features - self.mean[None]) @ self.components

    def features(
        self, features: Float[Array, "n D"], d: Int[Array, ""] | int
    ) -> Float[Array, "n D"]:
        """Returns h_d; `d` is traced."""
        kept = self._first(d)
        return self.mean[None] + self.transform(features) @ kept.T

    def fold(self, head: Head, d: Int[Array, ""] | int) -> Head:
        """Returns the head that makes of h what `head` makes of h_d; `d` is traced."""
        w = (head.w @ self.components) @ self._first(d).T
        return Head(w=w, b=head.b + (head.w - w) @ self.mean)

    @jax.jit
    def decisions(self, head: Head, features: Float[Array, "n D"]):
        """Classes that `head` decides for on h_d, d = 0 ... r: (r + 1, n)."""
        start = jnp.broadcast_to(
            head(self.mean[None]), (len(features), len(head.b))
        ).astype(features.dtype)
        steps = (head.w @ self.components).T
        return cumulative_decisions(start, self.transform(features), steps)

    @jax.jit
    def tail_decisions(self, head: Head, features: Float[Array, "n D"]):
        """The same on h - h_d + mu, where the first d directions are left out.

        At d = 0 it is the whole head. What lies outside the basis is in the tail.
        """
        steps = -(head.w @ self.components).T
        return cumulative_decisions(head(features), self.transform(features), steps)

    def _first(self, d):
        return self.components * (jnp.arange(self.components.shape[1]) < d)[None]


@record(kw_only=True)
class SpectralTruncation(Truncation):
    """The truncation to principal components; make it with `fit`.

    Attributes:
        singular_values: of the centred features, falling; 0 beyond the rank, where the
            components are zero too: d above the rank is d = rank.
    """

    singular_values: Float[Array, " r"]

    @classmethod
    @checked
    def fit(cls, features: Float[Array, "n D"]) -> "SpectralTruncation":
        """Returns the principal components of (training) features.

        r = min(n, D). O(n D^2): a decomposition n x D is reduced to D x D at first.

        Raises:
            InputError: unless there are features, all of them finite.
        """
        if features.ndim != 2 or 0 in features.shape:
            raise InputError(
                f"`features` must have shape (n, D), n, D >= 1, got {features.shape}."
            )
        if not bool(jnp.isfinite(features).all()):
            raise InputError("`features` must be finite, got NaN or infinity.")
        mean, components, values = _principal(features)
        return cls(mean=mean, components=components, singular_values=values)

    @property
    @jax.jit
    def shares(self) -> Float[Array, " r"]:
        """The share of the variance in each component; zeros if there is none."""
        variance = self.singular_values**2
        total = variance.sum()
        return variance / jnp.where(total > 0, total, 1.0)

    @property
    @jax.jit
    def rank(self) -> Int[Array, ""]:
        """Components with variance above the rounding error."""
        return (self.singular_values > 0).sum()

    @property
    @jax.jit
    def effective_rank(self) -> Float[Array, ""]:
        """exp(-sum_j l_j ln l_j) of the shares l_j (Roy & Vetterli 2007)."""
        shares = self.shares
        entropy = -xlogy(shares, shares).sum()
        return jnp.where(self.rank > 0, jnp.exp(entropy), 0.0)

    def random(self, key: Array) -> Truncation:
        """Returns random subspaces of every dimension about the same mean, nested."""
        return Truncation(mean=self.mean, components=orthogonal(self.mean, key))

    @functools.partial(jax.jit, static_argnames="draws")
    def random_accuracies(
        self,
        head: Head,
        features: Float[Array, "n D"],
        labels: Int[Array, " n"],
        *,
        draws: int,
        key: Array,
    ) -> Float[Array, "draws D1"]:
        """Accuracies of `head` on features cut to random subspaces, d = 0 ... D."""

        def draw(key):
            decided = self.random(key).decisions(head, features)
            return (decided == labels[None]).mean(axis=1, dtype=features.dtype)

        return jax.lax.map(draw, jax.random.split(key, draws))


@jax.jit
def _principal(features):
    mean = features.mean(axis=0)
    triangle = jnp.linalg.qr(features - mean[None], mode="r")
    _, values, rows = jnp.linalg.svd(triangle, full_matrices=False)
    # numpy.linalg.matrix_rank's rule, with the features' own size against rounding
    # in the mean: constant features have no component.
    size = jnp.maximum(values[0], jnp.linalg.norm(features))
    noise = size * jnp.finfo(features.dtype).eps * max(features.shape) ** 0.5
    real = values > noise
    return mean, jnp.where(real[:, None], rows, 0).T, jnp.where(real, values, 0)


def orthogonal(like: Float[Array, " D"], key: Array) -> Float[Array, "D D"]:
    """Returns a random orthonormal basis, uniform over all, in the dtype of `like`."""
    basis, triangle = jnp.linalg.qr(
        jax.random.normal(key, (like.shape[0],) * 2, like.dtype)
    )
    # signs of the diagonal: Mezzadri 2007, arXiv:math-ph/0609050
    return basis * jnp.sign(jnp.diagonal(triangle))[None]


@checked
def of_head(head: Head) -> Truncation:
    """The truncation by which `head` becomes its best approximations of rank 0 ... c.

    About no mean: W V_d V_d^T, V the right singular vectors of W.
    """
    w = doors.array("head.w", head.w, "(c, D)")
    _, _, rows = jnp.linalg.svd(w, full_matrices=False)
    return Truncation(mean=jnp.zeros_like(w[0]), components=rows.T)
