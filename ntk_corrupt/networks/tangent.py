"""A network that is linear in its parameters: the tangent at its start.

Trained in its place it shows what is left of training when the kernel cannot move: the
optimiser, its steps, and when it stops.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
from flax import linen as nn
from jaxtyping import Array, Float, PyTree


@runtime_checkable
class Trainable(Protocol):
    """What is trained: a hashable Flax module, or what is called as one."""

    @property
    def init(self) -> Any:
        """(key, x) -> parameters."""
        ...

    @property
    def apply(self) -> Any:
        """(parameters, x) -> outputs."""
        ...


@dataclasses.dataclass(frozen=True)
class Tangent:
    """f(start) + df/dtheta (moved - start) of a Flax module; called as one.

    Its parameters are those of the network, `moved`, and where they started, `start`,
    which no gradient reaches; optimisers without weight decay leave it. Training takes
    up to twice as long as that of the network.

    Attributes:
        network: the module.
    """

    network: nn.Module

    def init(self, key: Array, x: Float[Array, "n d"]) -> PyTree:
        """Returns the parameters: those that the network starts from, twice."""
        start: Any = self.network.init(key, x)["params"]
        return {"params": {"start": start, "moved": start}}

    def apply(self, params: PyTree, x: Float[Array, "n d"]) -> Any:
        """Returns the outputs (n, c)."""
        start, moved = params["params"]["start"], params["params"]["moved"]
        start = jax.lax.stop_gradient(start)
        change = jax.tree.map(lambda one, other: one - other, moved, start)
        of = lambda part: self.network.apply({"params": part}, x)
        outputs, along = jax.jvp(of, (start,), (change,))
        return outputs + along
