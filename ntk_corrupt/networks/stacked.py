"""The network of a `theory.architectures.Stack`: the same layers, finitely wide.

In the NTK parametrisation `theory.architectures.nngp_ntk` has the covariance of its
outputs and its tangent kernel in the limit of many channels.
"""

import itertools
import math

from flax import linen as nn
from jaxtyping import Array, Float

from ntk_corrupt.networks.layers import PARAMETRISATIONS, Layer, LocalLayer
from ntk_corrupt.networks.patches import patches
from theory import architectures
from theory.activations import registry
from theory.architectures.layers import Layer as Described
from theory.errors import InputError, check_count, unknown
from theory.numerics.signatures import checked


class Stacked(nn.Module):
    """The network of a stack; build it with `network`.

    Hashable, hence static under jit. Parameters: `layer_1`, `layer_2`, ..., those of
    every layer with weights in the order of the stack, the layers of a branch where the
    branch is; a perceptron's are those of `MLP`.

    Attributes:
        layers: of the stack.
        activation: of the stack.
        shape: of an image, height, width and channels; inputs are (n, their product).
        channels: of every convolution, and units of every dense layer but the last; a
            branch ends in as many as it is added to.
        num_classes: number of outputs.
        w_var: weight variance times fan-in.
        b_var: bias variance.
        parametrisation: as in `Layer`.
    """

    layers: tuple[Described, ...]
    activation: registry.Activation
    shape: tuple[int, int, int]
    channels: int
    num_classes: int
    w_var: float
    b_var: float
    parametrisation: str = "standard"

    @nn.compact
    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n c"]:
        """Returns the outputs (logits).

        O(n s size^2 channels^2) a convolution of s positions, shared weights or not.

        Raises:
            InputError: images of another shape.
        """
        pixels = math.prod(self.shape)
        if x.shape[1] != pixels:
            raise InputError(
                f"images of shape {self.shape} are rows of {pixels} numbers, got "
                f"{x.shape[1]}."
            )
        numbers = itertools.count(1)

        def weighted(x: Array, kind: type[Layer], features: int) -> Array:
            return kind(
                features=features,
                w_var=self.w_var,
                b_var=self.b_var,
                parametrisation=self.parametrisation,
                name=f"layer_{next(numbers)}",
            )(x)

        def through(x: Array, layers: tuple[Described, ...], last: int) -> Array:
            """Through some layers, the last of which has so many features."""
            for number, layer in enumerate(layers, start=1):
                features = last if number == len(layers) else self.channels
                match layer:
                    case architectures.Phi():
                        x = self.activation.fn(x)
                    case architectures.Dense():
                        x = weighted(x, Layer, features)
                    case architectures.Convolution():
                        x = convolved(x, layer, features)
                    case architectures.Residual():
                        x = x + through(x, layer.layers, x.shape[-1])
                    case _:
                        x = _fewer_positions(x, layer)
            return x

        def convolved(x: Array, window: architectures.Convolution, features: int):
            seen = patches(x, window)
            n, height, width, fan_in = seen.shape
            kind = Layer if window.shared else LocalLayer
            rows = (-1,) if window.shared else (n, height * width)
            y = weighted(seen.reshape(*rows, fan_in), kind, features)
            return y.reshape(n, height, width, features)

        return through(x.reshape(-1, *self.shape), self.layers, self.num_classes)


def _weighted_layers(layers: tuple[Described, ...]) -> int:
    """Number of layers with weights, those of branches too."""
    kinds = architectures.Convolution, architectures.Dense
    return sum(
        _weighted_layers(layer.layers)
        if isinstance(layer, architectures.Residual)
        else isinstance(layer, kinds)
        for layer in layers
    )


def _fewer_positions(x: Float[Array, "n h w c"], layer: Described) -> Array:
    n, height, width, channels = x.shape
    if isinstance(layer, architectures.Flatten):
        return x.reshape(n, -1)
    if isinstance(layer, architectures.GlobalAverage):
        return x.mean(axis=(1, 2))
    assert isinstance(layer, architectures.AveragePooling)
    size = layer.size
    parts = n, height // size, size, width // size, size, channels
    return x.reshape(parts).mean(axis=(2, 4))


@checked
def network(
    stack: architectures.Stack,
    channels: int | None,
    num_classes: int,
    *,
    parametrisation: str = "standard",
) -> Stacked:
    """Returns the network whose limit of many channels the kernels of a stack describe.

    Of the standard parametrisation the covariance is that of the theory, its rates are
    not: the tangent kernel of a `Stack` is that of "ntk".

    Args:
        stack: the architecture, its variances concrete numbers.
        channels: of every convolution, and units of every dense layer but the last; may
            be None if there is one layer with weights.
        num_classes: number of outputs.
        parametrisation: "standard" (what libraries train by default; with b_var = 0 the
            biases start at zero and are trained) or "ntk" (with b_var = 0, no biases).

    Raises:
        InputError: for settings that make no network.
    """
    stack.check()
    if parametrisation not in PARAMETRISATIONS:
        raise unknown("parametrisation", parametrisation, PARAMETRISATIONS)
    if _weighted_layers(stack.layers) == 1:
        channels = 1  # unused: equal networks are equal modules
    for name, value in (("channels", channels), ("num_classes", num_classes)):
        check_count(name, value)
    assert channels is not None
    return Stacked(
        layers=stack.layers,
        activation=stack.phi,
        shape=stack.shape,
        channels=channels,
        num_classes=num_classes,
        w_var=float(stack.w_var),
        b_var=float(stack.b_var),
        parametrisation=parametrisation,
    )
