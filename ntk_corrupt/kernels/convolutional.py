"""The NTK of infinitely wide convolutional networks, by neural-tangents."""

import functools
import math
from collections.abc import Callable

import jax

from ntk_corrupt import neural_tangents
from theory.errors import InputError, check_count, unknown
from theory.numerics import blocks
from theory.numerics.signatures import checked

ACTIVATIONS = ("relu", "erf")
_BLOCK = 20  # images; a pair of 8 x 8 ones has 4096 covariances in the first layer


@checked
@functools.lru_cache(maxsize=2)
def ntk(
    convolutions: int, *, pooled: bool, activation: str, w_var: float, b_var: float
) -> Callable:
    """Returns the NTK of infinite width, of square images (n1, d) and (n2, d).

    3 x 3 convolutions, each followed by 2 x 2 pooling of averages (of maxima there is
    no kernel in closed form) or by none, one hidden layer and the output, as in
    `ntk_corrupt.networks.cnn`. Pooled, O(n1 n2 d^2); otherwise O(n1 n2 d).

    Raises:
        InputError: another activation, or settings that make no network.
    """
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    check_count("convolutions", convolutions, least=0)
    for name, value in (("w_var", w_var), ("b_var", b_var)):
        if not 0 <= value < math.inf:
            raise InputError(f"`{name}` must be finite and not negative, got {value}.")
    stax = neural_tangents.load().stax
    phi = {"relu": stax.Relu, "erf": stax.Erf}[activation]
    std = {"W_std": math.sqrt(w_var), "b_std": math.sqrt(b_var)}
    layers = []
    for _ in range(convolutions):
        layers += [stax.Conv(1, (3, 3), padding="SAME", **std), phi()]
        if pooled:
            layers.append(stax.AvgPool((2, 2), strides=(2, 2)))
    layers += [stax.Flatten(), stax.Dense(1, **std), phi(), stax.Dense(1, **std)]
    _, _, of_images = stax.serial(*layers)

    def of_block(x1, x2):
        side = math.isqrt(x1.shape[1])
        x1, x2 = (x.reshape(-1, side, side, 1) for x in (x1, x2))
        return of_images(x1, x2, "ntk")

    @jax.jit
    def kernel(x1, x2):
        row = lambda part: blocks.map_rows(
            lambda other: of_block(other, part), x2, _BLOCK
        )
        return blocks.map_rows(lambda part: row(part).T, x1, _BLOCK)

    return kernel
