"""Covariances of outputs between test points, on demand: (n, n, c, c) is too much."""

from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from theory.errors import InputError
from theory.numerics import doors
from theory.records import record

# Indices of test points, from NumPy or JAX.
Points = Int[Array, " _"] | Int[np.ndarray, " _"]


def unknown_init_cov() -> InputError:
    """Returns the refusal of a law that does not know `init_cov`."""
    return InputError(
        "this law does not know the covariance between points that one initialisation "
        "adds: use another route, or networks with at least 2 initialisations."
    )


def of_classes(
    init_var: Float[Array, "*n"],
    kernel_cov: Float[Array, "*n c c"] | None,
    classes: int,
) -> Float[Array, "*n c c"]:
    """Returns the covariance of the outputs at a point that one initialisation adds."""
    own = jnp.eye(classes, dtype=init_var.dtype)
    own = init_var[..., None, None] * own.reshape((1,) * init_var.ndim + own.shape)
    return own if kernel_cov is None else own + kernel_cov


@runtime_checkable
class CrossCovariance(Protocol):
    """Covariances of the outputs at pairs of test points; a pytree."""

    def cov(self, a: Points, b: Points) -> Float[Array, "n_a n_b c c"]:
        """Returns Cov(f_i(x_a), f_j(x_b)) over draws, averaged over initialisations."""
        ...

    def init_cov(self, a: Points, b: Points) -> Float[Array, "n_a n_b"]:
        """Returns the covariance that one initialisation adds to every output.

        The same for each class, independent between classes.

        Raises:
            InputError: where it is not known.
        """
        ...


@record(kw_only=True)
class SampledCross:
    """Unbiased estimates from draws, of rank at most the number of draws less one.

    Attributes:
        outputs: of every draw and initialisation.
        init_var: variance that one initialisation adds, if it is known rather than
            sampled by the second axis.
    """

    outputs: Float[Array, "draw init n c"]
    init_var: Float[Array, " n"] | None

    def cov(self, a: Points, b: Points) -> Float[Array, "n_a n_b c c"]:
        """Returns the covariance over draws, the initialisations' share taken out.

        A single initialisation per draw cannot be told from the draw: its share stays.
        """
        draws, inits, _, c = self.outputs.shape
        at_a, at_b = (self._deviation(points) for points in (a, b))
        cov = jnp.einsum("kai,kbj->abij", at_a, at_b) / (draws - 1)
        if self.init_var is None and inits > 1:
            own = jnp.eye(c, dtype=cov.dtype)[None, None]
            cov = cov - (self.init_cov(a, b) / inits)[:, :, None, None] * own
        return cov

    def init_cov(self, a: Points, b: Points) -> Float[Array, "n_a n_b"]:
        """Returns the covariance within draws, averaged over classes.

        Raises:
            InputError: for a single initialisation per draw; with `init_var`, which
                says nothing of pairs, unless all pairs are a point and itself.
        """
        draws, inits, _, c = self.outputs.shape
        if self.init_var is not None:
            known = doors.concrete(a, b)
            if not (known and len(np.unique([*np.asarray(a), *np.asarray(b)])) == 1):
                raise unknown_init_cov()
            at_a = self.init_var[jnp.asarray(a)]
            return jnp.broadcast_to(at_a[:, None], (len(a), len(b)))
        if inits < 2:
            raise unknown_init_cov()
        within = [self.outputs[:, :, points] for points in (a, b)]
        at_a, at_b = (part - part.mean(axis=1, keepdims=True) for part in within)
        return jnp.einsum("kmai,kmbi->ab", at_a, at_b) / (draws * (inits - 1) * c)

    def _deviation(self, points):
        per_draw = self.outputs[:, :, jnp.asarray(points)].mean(axis=1)
        return per_draw - per_draw.mean(axis=0, keepdims=True)
