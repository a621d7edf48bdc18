"""A small residual network, as a stack: its layers are those of all others."""

import math

from ntk_corrupt.networks import stacked
from theory import architectures
from theory.activations import registry
from theory.errors import InputError, check_count
from theory.numerics.signatures import checked


@checked
def resnet(
    shape: tuple[int, int, int],
    num_classes: int,
    *,
    blocks: tuple[int, ...] = (1, 1, 1),
    channels: int = 16,
    activation: str | registry.Activation = "relu",
    w_var: float = 2.0,
    b_var: float = 0.0,
    parametrisation: str = "standard",
) -> stacked.Stacked:
    """Returns a convolution, stages of residual blocks, a mean over positions, a layer.

    Blocks are phi, convolution, phi, convolution, added to what goes in; between two
    stages a convolution of stride 2. Other than He et al. 2016, arXiv:1603.05027: as
    many channels in all stages, and nothing is normalised, so that points do not see
    each other. (3, 3, 3) blocks have 22 layers with weights.

    Args:
        shape: of an image, height, width and channels.
        num_classes: number of outputs.
        blocks: of every stage.
        channels: of every convolution.
        activation: phi.
        w_var: weight variance times fan-in; 2 keeps a rectifier's signal alive, and
            every block doubles its variance.
        b_var: bias variance.
        parametrisation: as in `Layer`.

    Raises:
        InputError: for settings that make no network.
    """
    check_count("channels", channels)
    if not blocks or min(blocks) < 1:
        raise InputError(f"`blocks` must be positive, one at least, got {blocks}.")
    if min(shape[:2]) < 2 ** (len(blocks) - 1):
        raise InputError(
            f"`blocks` must be at most {1 + int(math.log2(min(shape[:2])))} stages for "
            f"images of shape {shape}, got {len(blocks)}."
        )
    phi, window = architectures.Phi(), architectures.Convolution()
    layers: list[architectures.layers.Layer] = [window]
    for number, count in enumerate(blocks):
        if number:
            layers += [phi, architectures.Convolution(stride=2)]
        layers += [architectures.Residual((phi, window, phi, window))] * count
    layers += [phi, architectures.GlobalAverage(), architectures.Dense()]
    stack = architectures.Stack(
        layers=tuple(layers),
        activation=activation,
        shape=shape,
        w_var=w_var,
        b_var=b_var,
    )
    return stacked.network(
        stack, channels, num_classes, parametrisation=parametrisation
    )
