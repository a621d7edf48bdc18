"""A convolutional network made of the same layers as the multilayer perceptrons."""

import math

from flax import linen as nn
from jaxtyping import Array, Float

from ntk_corrupt.networks.layers import PARAMETRISATIONS, Layer
from ntk_corrupt.networks.patches import patches
from theory.activations import registry
from theory.architectures.layers import Convolution
from theory.errors import InputError, check_count, unknown
from theory.numerics.signatures import checked

_WINDOW = Convolution()


class CNN(nn.Module):
    """A convolutional network: 3 x 3 convolutions, each followed by 2 x 2 max-pooling.

    Then one hidden layer of `dense` units. All weights are those of `Layer`s:
    convolutions multiply `patches`.

    Attributes:
        side: pixels of a side; inputs are images (n, side^2) of one channel.
        channels: of every convolution.
        dense: units of the hidden layer.
        num_classes: number of outputs.
        activation: between layers.
        w_var: weight variance times fan-in.
        b_var: bias variance.
        parametrisation: as in `Layer`.
    """

    side: int
    channels: tuple[int, ...]
    dense: int
    num_classes: int
    activation: registry.Activation
    w_var: float = 2.0
    b_var: float = 0.0
    parametrisation: str = "standard"

    @nn.compact
    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n c"]:
        """Returns the outputs (logits)."""
        n = x.shape[0]

        def layer(features: int, name: str):
            return Layer(
                features, self.w_var, self.b_var, self.parametrisation, name=name
            )

        x = x.reshape(n, self.side, self.side, 1)
        for number, channels in enumerate(self.channels, start=1):
            seen = patches(x, _WINDOW)
            y = layer(channels, f"conv_{number}")(seen.reshape(-1, seen.shape[-1]))
            y = y.reshape(*x.shape[:-1], channels)
            x = _max_pool(self.activation.fn(y))
        x = x.reshape(n, -1)
        x = self.activation.fn(layer(self.dense, "dense")(x))
        return layer(self.num_classes, "logits")(x)


def _max_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Largest of 2 x 2 pixels; an odd last row or column is dropped."""
    n, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))


@checked
def cnn(
    side: int,
    num_classes: int,
    *,
    channels: tuple[int, ...] = (32, 64),
    dense: int = 128,
    activation: str = "relu",
    w_var: float = 2.0,
    b_var: float = 0.0,
    parametrisation: str = "standard",
) -> CNN:
    """Returns a convolutional network for images of one channel.

    Raises:
        InputError: for settings that make no network.
    """
    if parametrisation not in PARAMETRISATIONS:
        raise unknown("parametrisation", parametrisation, PARAMETRISATIONS)
    for name, value in (("side", side), ("num_classes", num_classes), ("dense", dense)):
        check_count(name, value)
    for name, value in (("w_var", w_var), ("b_var", b_var)):
        if not 0 <= value < math.inf:
            raise InputError(f"`{name}` must be finite and not negative, got {value}.")
    if not channels or min(channels) < 1 or side < 2 ** len(channels):
        raise InputError(
            "`channels` must be positive, one for each of at most log2(side) "
            f"convolutions, got {channels} for a side of {side}."
        )
    return CNN(
        side=side,
        channels=tuple(channels),
        dense=dense,
        num_classes=num_classes,
        activation=registry.get(activation),
        w_var=float(w_var),
        b_var=float(b_var),
        parametrisation=parametrisation,
    )
