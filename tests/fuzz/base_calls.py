"""What a base call is, and the small problem that many are about."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from arguments import Argument

import theory

N, M, D, C = 12, 5, 6, 3


@dataclasses.dataclass(frozen=True)
class Call:
    """A public function and arguments that are right.

    Attributes:
        name: of the function, as a user finds it.
        function: itself.
        arguments: by name.
        fixed: what is passed on as it is.
        unknown: whether the result may hold NaN, for what is not known.
    """

    name: str
    function: Callable[..., Any]
    arguments: dict[str, Argument]
    fixed: dict[str, Any] = dataclasses.field(default_factory=dict)
    unknown: bool = False

    def run(self, **changed: Any) -> Any:
        """Calls the function, with some arguments changed."""
        values = {name: each.value for name, each in self.arguments.items()}
        return self.function(**(values | self.fixed | changed))


def points(rng, *shape):
    """Multiples of 1/8 of at most 2: half precision holds them."""
    return jnp.asarray(rng.integers(-16, 17, shape) / 8)


def problem(rng) -> theory.Problem:
    """A small problem in float64."""
    return theory.Problem(
        x_train=points(rng, N, D),
        labels_train=jnp.asarray(np.arange(N) % C),
        x_test=points(rng, M, D),
        labels_test=jnp.asarray(np.arange(M) % C),
        num_classes=C,
    )
