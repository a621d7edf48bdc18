"""The architecture of a network of several kinds of layers."""

import math

from jaxtyping import Array, Float

from theory.activations import registry
from theory.architectures.layers import (
    AveragePooling,
    Convolution,
    Dense,
    Flatten,
    GlobalAverage,
    Layer,
    Phi,
    Residual,
    after,
    check_order,
)
from theory.errors import InputError, check_count, unknown
from theory.kernels.propagation import HiddenLayer
from theory.numerics import doors
from theory.records import record, static

POOLINGS = ("none", "local", "global")


@record(kw_only=True)
class Stack:
    """Layers one after the other, in the NTK parametrisation; images of one shape.

    Attributes:
        layers: from the image to the outputs, static; `Phi` is named where it is, the
            last is `Dense`.
        activation: a name of `theory.activations.names()` or an `Activation`, static.
        shape: height, width and channels of an image, static; images are given as rows
            of so many numbers, channels last.
        w_var: weight variance C_w, times fan-in; traced.
        b_var: bias variance C_b; traced.
    """

    layers: tuple[Layer, ...] = static()
    activation: str | registry.Activation = static()
    shape: tuple[int, int, int] = static()
    w_var: Float[Array, ""] | float = 1.0
    b_var: Float[Array, ""] | float = 0.0

    @property
    def phi(self) -> registry.Activation:
        """The activation and its dual."""
        return registry.get(self.activation)

    @property
    def pixels(self) -> int:
        """Numbers of an image, d."""
        return math.prod(self.shape)

    @property
    def weights(self) -> HiddenLayer:
        """Variances and training rates of all layers with weights."""
        return HiddenLayer(self.w_var, self.b_var, 1.0, self.b_var)

    def check(self) -> None:
        """Raises `InputError` unless the layers can follow one another. Host only."""
        registry.get(self.activation)
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(
                f"`shape` must be height, width and channels, got {self.shape}."
            )
        positions = self.shape[:2]
        for layer in self.layers:
            positions = after(layer, positions)
        if not self.layers or not isinstance(self.layers[-1], Dense):
            raise InputError("the last of `layers` must be Dense.")
        check_order(self.layers)
        w_var, b_var = (doors.real(n, getattr(self, n)) for n in ("w_var", "b_var"))
        if w_var is not None and not 0 < w_var < math.inf:
            raise InputError(f"`w_var` must be positive and finite, got {w_var}.")
        if b_var is not None and not 0 <= b_var < math.inf:
            raise InputError(f"`b_var` must be finite and not negative, got {b_var}.")

    def check_ntk(self) -> None:
        """Raises `InputError` if the stack has no tangent kernel."""
        if Phi() in self.layers and not self.phi.trainable:
            raise InputError(
                f"{self.phi.name} has no NTK, its slope vanishes: use another "
                "activation."
            )


def convolutional(
    *,
    depth: int,
    shape: tuple[int, int, int],
    activation: str | registry.Activation,
    size: int = 3,
    padding: str = "same",
    pooling: str = "none",
    shared: bool = True,
    residual: bool = False,
    w_var: Float[Array, ""] | float = 1.0,
    b_var: Float[Array, ""] | float = 0.0,
) -> Stack:
    """Returns a stack of convolutions, each with its activation, and a dense layer.

    Args:
        depth: number of weight layers; depth - 1 of them are convolutions.
        shape: of an image, height, width and channels.
        activation: as in `Stack`.
        size: of the windows.
        padding: as in `layers.Convolution`.
        pooling: "none" (all positions are features of the last layer), "local" (2 x 2
            means after every convolution) or "global" (the mean over all positions
            before the last layer).
        shared: False for locally connected layers in place of convolutions.
        residual: whether every convolution but the first is added to what it sees.
        w_var: as in `Stack`.
        b_var: as in `Stack`.

    Raises:
        InputError: bad arguments, or windows that do not fit.
    """
    check_count("depth", depth)
    if pooling not in POOLINGS:
        raise unknown("pooling", pooling, POOLINGS)
    window = Convolution(size=size, padding=padding, shared=shared)
    layers: list[Layer] = []
    for number in range(depth - 1):
        if residual and number > 0:
            layers.append(Residual((Phi(), window)))
        else:
            layers += [window] if residual else [window, Phi()]
        if pooling == "local":
            layers.append(AveragePooling())
    if residual and depth > 1:
        layers.append(Phi())
    layers += [GlobalAverage() if pooling == "global" else Flatten(), Dense()]
    stack = Stack(
        layers=tuple(layers),
        activation=activation,
        shape=shape,
        w_var=w_var,
        b_var=b_var,
    )
    stack.check()
    return stack


def dense(
    *,
    depth: int,
    shape: tuple[int, int, int],
    activation: str | registry.Activation,
    w_var: Float[Array, ""] | float = 1.0,
    b_var: Float[Array, ""] | float = 0.0,
) -> Stack:
    """Returns the multilayer perceptron of `theory.Architecture` as a stack."""
    check_count("depth", depth)
    stack = Stack(
        layers=(Flatten(), Dense(), *(Phi(), Dense()) * (depth - 1)),
        activation=activation,
        shape=shape,
        w_var=w_var,
        b_var=b_var,
    )
    stack.check()
    return stack
