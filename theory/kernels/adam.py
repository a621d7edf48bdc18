"""Training rates of layers under Adam, from the gradients at the start.

Adam divides a gradient g by the root of its second moment: near the start a layer moves
as by gradient descent at rates a_l over the root of E g^2 of its parameters. That is
the squared norm of the gradient over the number of parameters, and of wide networks in
standard parametrisation it is known, docs/theory/kernels.md (K3)-(K4).
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from theory.errors import InputError, check_count
from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.kernels.propagation import check_ntk
from theory.numerics import doors
from theory.numerics.signatures import checked


def _of_layer(arch: Architecture, kind: str, layer: int) -> Architecture:
    """The architecture in which a layer's weights, or biases, alone are trained."""
    rates = {
        name: tuple(
            1.0 if (name, at) == (kind, layer) else 0.0 for at in range(arch.depth)
        )
        for name in ("w_rates", "b_rates")
    }
    return dataclasses.replace(arch, **rates)


@jax.jit
def _meeting(kernel: Array, pairs: Array) -> Array:
    return (kernel * pairs).sum()


@checked
def adam_rates(
    arch: Architecture,
    widths: Sequence[int],
    x: Shaped[ArrayLike, "n d"],
    y: Float[Array, "n c"],
    *,
    batch_size: int,
    biases: bool = True,
) -> Architecture:
    """Returns the architecture with the rates at which Adam trains its layers.

    Of networks in standard parametrisation, on the mean squared error over points and
    classes. Ratios between layers are those of the start; they hardly change later, as
    all second moments remember the first steps longest. Scale: learning rate times
    steps times 2/(n c) is the gradient-flow time, while they are as at the start.

    One gradient stands for all parameters of a layer: where some inputs are nearly
    dead, or many units of a rectifier, Adam moves their parameters faster than this.

    Cost: 2 depth kernels of the points, n^2 (d + depth) each.

    Args:
        arch: depth, activation and variances; its rates are ignored.
        widths: fan-in of each weight layer, as for `Architecture.standard`.
        x: training points, corrupted as they are trained on.
        y: targets.
        batch_size: points per step.
        biases: whether biases are trained.

    Raises:
        InputError: for settings that make no network.
    """
    arch.check()
    check_ntk(arch)
    if len(widths) != arch.depth:
        raise InputError(
            f"`widths` must have one entry per weight layer, {arch.depth}, got "
            f"{len(widths)}."
        )
    for each in widths:
        check_count("widths", each)
    check_count("batch_size", batch_size)
    points = doors.array("x", x, "(n, d)")
    (n, _), c = points.shape, y.shape[1]
    dtype = points.dtype
    batch = min(batch_size, n)
    # residuals at the start, f_0 - y, summed over classes, of pairs in one batch
    pairs = y.astype(dtype) @ y.astype(dtype).T + c * matrices.gram(points, arch).nngp
    both = (batch - 1) / max(n - 1, 1)
    pairs = pairs * jnp.where(jnp.eye(n, dtype=bool), 1.0, both)
    pairs = pairs * (4 * batch / n / (batch * c) ** 2)
    rates: dict[str, list[Array]] = {"w_rates": [], "b_rates": []}
    for layer, fan_in in enumerate(widths):
        fan_out = widths[layer + 1] if layer + 1 < arch.depth else c
        own = fan_in / jnp.asarray(arch.w_var, dtype)
        alone = matrices.ntk_gram(points, _of_layer(arch, "w_rates", layer))
        square = own * _meeting(alone, pairs) / (fan_in * fan_out)
        rates["w_rates"].append(own / jnp.sqrt(square))
        if biases:
            alone = matrices.ntk_gram(points, _of_layer(arch, "b_rates", layer))
            square = _meeting(alone, pairs) / fan_out
            rates["b_rates"].append(1 / jnp.sqrt(square))
        else:
            rates["b_rates"].append(jnp.zeros((), dtype))
    return dataclasses.replace(
        arch, **{name: tuple(map(float, each)) for name, each in rates.items()}
    )
