"""The architecture of a network, for kernels and for networks alike."""

import math
import numbers
from collections.abc import Sequence

from jaxtyping import Array, Float

from theory.activations import registry
from theory.errors import InputError
from theory.numerics import doors
from theory.records import record, static


@record(kw_only=True)
class Architecture:
    """A multilayer perceptron: `depth` weight layers, one activation between them.

    Pre-activations have weight variance `w_var`/fan_in and bias variance `b_var`. The
    training rates of docs/theory/kernels.md (2) multiply the learning rate of each
    layer's weights (in the NTK parametrisation) and biases; `None` is the NTK
    parametrisation, rates 1 and `b_var`.

    Attributes:
        depth: number of weight layers, static; 1 is a linear model, 3 has two hidden
            layers.
        activation: a name of `theory.activations.names()` or an `Activation`, static.
        w_var: weight variance C_w > 0, times fan_in; traced.
        b_var: bias variance C_b >= 0; traced.
        w_rates: a_l of each layer, length `depth`, or None for 1.
        b_rates: b_l of each layer, length `depth`, or None for `b_var`. Biases that
            start at zero and are trained: `b_var=0.0` and `b_rates` of 1.
    """

    depth: int = static()
    activation: str | registry.Activation = static()
    w_var: Float[Array, ""] | float = 1.0
    b_var: Float[Array, ""] | float = 0.0
    w_rates: Sequence[float] | None = None
    b_rates: Sequence[float] | None = None

    @classmethod
    def standard(
        cls,
        *,
        widths: Sequence[int],
        activation: str | registry.Activation,
        w_var: float = 1.0,
        b_var: float = 0.0,
    ) -> "Architecture":
        """Rates of ordinary layers y = W x + b with trained biases.

        In the standard parametrisation W itself, of variance `w_var`/fan_in, is the
        parameter. Gradient descent then moves the kernel at rate a_l = fan_in_l/`w_var`
        and b_l = 1 (Sohl-Dickstein et al. 2020, arXiv:2001.07301).

        Args:
            widths: fan-in of each weight layer: (d, width, ..., width), length `depth`.
            activation: as in the class.
            w_var: as in the class.
            b_var: as in the class; 0 starts the biases at zero.
        """
        return cls(
            depth=len(widths),
            activation=activation,
            w_var=w_var,
            b_var=b_var,
            w_rates=tuple(fan_in / w_var for fan_in in widths),
            b_rates=(1.0,) * len(widths),
        )

    @property
    def phi(self) -> registry.Activation:
        """The activation and its dual."""
        return registry.get(self.activation)

    def check(self) -> None:
        """Raises `InputError` unless the settings make sense. Host only."""
        whole = isinstance(self.depth, numbers.Integral)
        if isinstance(self.depth, bool) or not whole:
            raise InputError(f"`depth` must be an integer, got {self.depth!r}.")
        if self.depth < 1:
            raise InputError(
                f"`depth` must be at least 1 (a linear model), got {self.depth}."
            )
        registry.get(self.activation)
        w_var, b_var = (doors.real(n, getattr(self, n)) for n in ("w_var", "b_var"))
        if w_var is not None and not 0 < w_var < math.inf:
            raise InputError(f"`w_var` must be positive and finite, got {self.w_var}.")
        if b_var is not None and not 0 <= b_var < math.inf:
            raise InputError(
                f"`b_var` must be finite and not negative, got {self.b_var}."
            )
        for name in ("w_rates", "b_rates"):
            rates = getattr(self, name)
            if rates is None:
                continue
            if len(rates) != self.depth:
                raise InputError(
                    f"`{name}` must have one entry per weight layer, {self.depth}, "
                    f"got {len(rates)}."
                )
            known = [doors.real(name, rate) for rate in rates]
            if None in known:
                continue
            if not all(0 <= rate < math.inf for rate in known if rate is not None):
                raise InputError(
                    f"`{name}` must be finite and not negative, got {tuple(rates)}."
                )
        if self.w_rates is None or self.b_rates is None:
            return
        rates = [*self.w_rates, *self.b_rates]
        if doors.concrete(rates) and not any(float(rate) for rate in rates):
            raise InputError(
                "`w_rates` and `b_rates` must not all be zero: nothing is trained."
            )
