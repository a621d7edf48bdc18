"""Convolutional networks made of the same layers as the multilayer perceptrons."""

import math

from flax import linen as nn
from jaxtyping import Array, Float

from ntk_corrupt.networks.layers import PARAMETRISATIONS, Layer
from ntk_corrupt.networks.patches import patches
from theory.activations import registry
from theory.architectures.layers import Convolution, after
from theory.errors import InputError, check_count, unknown
from theory.numerics.signatures import checked

# After every convolution, or after the last alone.
POOLINGS = ("each", "last")


class CNN(nn.Module):
    """A convolutional network: convolutions, 2 x 2 max-pooling, hidden layers.

    All weights are those of `Layer`s: convolutions multiply `patches`.

    Attributes:
        side: pixels of a side; inputs are images (n, side^2) of one channel.
        channels: of every convolution.
        dense: units of every hidden layer after them.
        num_classes: number of outputs.
        activation: between layers.
        w_var: weight variance times fan-in.
        b_var: bias variance.
        parametrisation: as in `Layer`.
        window: of the convolutions.
        pooling: one of `POOLINGS`.
    """

    side: int
    channels: tuple[int, ...]
    dense: tuple[int, ...]
    num_classes: int
    activation: registry.Activation
    w_var: float = 2.0
    b_var: float = 0.0
    parametrisation: str = "standard"
    window: Convolution = Convolution()
    pooling: str = "each"

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
            seen = patches(x, self.window)
            y = layer(channels, f"conv_{number}")(seen.reshape(-1, seen.shape[-1]))
            x = self.activation.fn(y.reshape(*seen.shape[:-1], channels))
            if self.pooling == "each" or number == len(self.channels):
                x = _max_pool(x)
        x = x.reshape(n, -1)
        for number, units in enumerate(self.dense, start=1):
            name = "dense" if number == 1 else f"dense_{number}"
            x = self.activation.fn(layer(units, name)(x))
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
    dense: int | tuple[int, ...] = 128,
    activation: str = "relu",
    w_var: float = 2.0,
    b_var: float = 0.0,
    parametrisation: str = "standard",
    size: int = 3,
    padding: str = "same",
    pooling: str = "each",
) -> CNN:
    """Returns a convolutional network for images of one channel.

    LeNet is channels (6, 16), dense (120, 84), size 5, "valid"; the four layers of
    arXiv:1903.11680, Fig. 1, are channels (64, 128), dense 256, "valid", "last": of 28
    x 28 pixels 4 795 914 weights, which it gives as 4.8 million.

    Args:
        side: pixels of a side.
        num_classes: number of outputs.
        channels: of every convolution.
        dense: units of the hidden layer, or of every one, after them.
        activation: between layers.
        w_var: weight variance times fan-in.
        b_var: bias variance.
        parametrisation: as in `Layer`.
        size: of the windows.
        padding: "same" or "valid", as in `theory.architectures.Convolution`.
        pooling: 2 x 2, after "each" convolution or after the "last".

    Raises:
        InputError: for settings that make no network.
    """
    if parametrisation not in PARAMETRISATIONS:
        raise unknown("parametrisation", parametrisation, PARAMETRISATIONS)
    hidden = (dense,) if isinstance(dense, int) else tuple(dense)
    for name, value in (("side", side), ("num_classes", num_classes),
                        *(("dense", units) for units in hidden)):  # fmt: skip
        check_count(name, value)
    for name, value in (("w_var", w_var), ("b_var", b_var)):
        if not 0 <= value < math.inf:
            raise InputError(f"`{name}` must be finite and not negative, got {value}.")
    if pooling not in POOLINGS:
        raise unknown("pooling", pooling, POOLINGS)
    if not channels or min(channels) < 1:
        raise InputError(f"`channels` must be positive, one at least, got {channels}.")
    window, left = Convolution(size=size, padding=padding), side
    for number in range(1, len(channels) + 1):
        left = min(after(window, (left, left)))
        if pooling == "each" or number == len(channels):
            left //= 2
        if left < 1:
            raise InputError(
                "`channels` must be positive, one for each convolution that leaves a "
                f"position, got {channels} for a side of {side}."
            )
    return CNN(
        side=side,
        channels=tuple(channels),
        dense=hidden,
        num_classes=num_classes,
        activation=registry.get(activation),
        w_var=float(w_var),
        b_var=float(b_var),
        parametrisation=parametrisation,
        window=window,
        pooling=pooling,
    )
