"""Layers of which a `Stack` is made, and the shapes that they lead to."""

import dataclasses
import math
from typing import ClassVar

import jax

from theory.errors import InputError, check_count, unknown

PADDINGS = ("same", "valid", "circular")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convolution:
    """Weights over windows of size x size positions, variance w_var/(size^2 channels).

    Attributes:
        size: of the window.
        stride: positions from one window to the next.
        padding: "same" (zeros around the image), "valid" (none) or "circular".
        shared: whether all windows have the same weights and biases; else the layer is
            locally connected.
    """

    size: int = 3
    stride: int = 1
    padding: str = "same"
    shared: bool = True

    def pads(self, shape: tuple[int, int]) -> list[tuple[int, int]]:
        """Returns positions to add before and after, for every axis."""
        if self.padding == "valid":
            return [(0, 0), (0, 0)]
        window, stride = (self.size,) * 2, (self.stride,) * 2
        return [
            (int(low), int(high))
            for low, high in jax.lax.padtype_to_pads(shape, window, stride, "SAME")
        ]


@dataclasses.dataclass(frozen=True)
class Phi:
    """The activation of the stack."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AveragePooling:
    """Means over windows of size x size positions that do not overlap."""

    size: int = 2


@dataclasses.dataclass(frozen=True)
class GlobalAverage:
    """The mean over all positions."""


@dataclasses.dataclass(frozen=True)
class Flatten:
    """All positions, as features of a dense layer."""


@dataclasses.dataclass(frozen=True)
class Dense:
    """Weights over all features, of variance w_var over their number."""


@dataclasses.dataclass(frozen=True)
class Residual:
    """What goes in, and what some layers make of it, added.

    Attributes:
        layers: the branch; keeps the shape and ends in weights, so that it is
            independent of what it is added to.
    """

    layers: tuple["Layer", ...]
    weighted: ClassVar = (Convolution, Dense)


Layer = Convolution | Phi | AveragePooling | GlobalAverage | Flatten | Dense | Residual
# Layers that mix positions of equal weight, so that all pairs of positions count.
POOLING = (AveragePooling, GlobalAverage)
# Height and width; none after `Flatten` and `GlobalAverage`.
Shape = tuple[int, int] | tuple[()]


def _windows(layer: Convolution, shape: tuple[int, int]) -> tuple[int, int]:
    if layer.padding not in PADDINGS:
        raise unknown("padding", layer.padding, PADDINGS)
    check_count("size", layer.size)
    check_count("stride", layer.stride)
    padded = [n + sum(pad) for n, pad in zip(shape, layer.pads(shape), strict=True)]
    if min(padded) < layer.size:
        raise InputError(
            f"windows of {layer.size} x {layer.size} do not fit {shape[0]} x "
            f'{shape[1]} positions: use a smaller `size` or `padding="same"`.'
        )
    if layer.padding == "circular" and max(max(p) for p in layer.pads(shape)) > min(
        shape
    ):
        raise InputError(
            f"windows of {layer.size} x {layer.size} go around {shape[0]} x {shape[1]} "
            "positions more than once: use a smaller `size`."
        )
    height, width = ((n - layer.size) // layer.stride + 1 for n in padded)
    return height, width


def _pooled(layer: AveragePooling, shape: tuple[int, int]) -> tuple[int, int]:
    check_count("size", layer.size)
    if any(n % layer.size for n in shape):
        raise InputError(
            f"windows of {layer.size} x {layer.size} do not divide {shape[0]} x "
            f"{shape[1]} positions: choose a `size` that does."
        )
    return shape[0] // layer.size, shape[1] // layer.size


def after(layer: Layer, shape: Shape) -> Shape:
    """Returns the positions after a layer.

    Raises:
        InputError: a layer that cannot follow.
    """
    name = type(layer).__name__
    if isinstance(layer, Phi):
        return shape
    if isinstance(layer, Dense):
        if shape:
            raise InputError(
                f"Dense follows Flatten or GlobalAverage, got {shape[0]} x {shape[1]} "
                "positions before it."
            )
        return shape
    if isinstance(layer, Residual):
        out = shape
        for inner in layer.layers:
            if isinstance(inner, (*POOLING, Flatten)):
                raise InputError(
                    f"a Residual keeps its shape: {type(inner).__name__} cannot be in "
                    "it."
                )
            out = after(inner, out)
        if out != shape:
            raise InputError(
                f"a Residual keeps its shape, got {math.prod(shape)} positions before "
                f"and {math.prod(out)} after: use stride 1 and another `padding`."
            )
        if not layer.layers or not isinstance(layer.layers[-1], Residual.weighted):
            raise InputError("a Residual must end in Convolution or Dense.")
        return out
    if not shape:
        raise InputError(f"{name} needs positions: it must come before Flatten.")
    if isinstance(layer, Convolution):
        return _windows(layer, shape)
    if isinstance(layer, AveragePooling):
        return _pooled(layer, shape)
    return ()


def check_order(layers: tuple[Layer, ...], given: str = "image") -> str:
    """Returns what the features are after layers, of those that are `given`.

    Args:
        layers: of fitting shapes, see `after`.
        given: "image", "sums" (of many weights: Gaussian, alike at all channels) or
            "features" (anything else).

    Raises:
        InputError: an activation of what is not Gaussian, of which the kernels would be
            those of no network; a branch that is added to the image.
    """
    for layer in layers:
        if isinstance(layer, Convolution | Dense):
            given = "sums"
        elif isinstance(layer, Phi):
            if given != "sums":
                raise InputError(
                    "Phi must follow Convolution or Dense, with at most poolings and "
                    "residual branches between them: move it."
                )
            given = "features"
        elif isinstance(layer, Residual):
            if given == "image":
                raise InputError(
                    "a Residual adds to many channels: put a Convolution between the "
                    "image and it."
                )
            check_order(layer.layers, given)
        elif isinstance(layer, Flatten) and given == "sums":
            # positions have variances of their own
            given = "features"
    return given
