"""Finite networks of a `theory.Architecture`, as Flax Linen modules.

Both parametrisations give the same distribution of functions at initialisation (weight
variance w_var/fan_in, bias variance b_var) and differ in how gradient descent moves the
function. Parameters are float32; `apply`
promotes to the dtype of its input.
"""

import math
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, PyTree

PARAMETRISATIONS = ("standard", "ntk")
Name = tuple[str, ...]  # of a module inside a network


def _scaled_normal(std: float):
    """Returns an initialiser drawing float32 N(0, std^2).

    The shape is folded into the key: normal(key, (m, n)) of two shapes may share their
    leading numbers, and networks of two widths must be independent.
    """

    def init(key: Array, shape: tuple[int, ...]) -> Array:
        if std == 0:
            return jnp.zeros(shape, jnp.float32)
        key = jax.random.fold_in(key, np.uint32(zlib.crc32(repr(shape).encode())))
        return std * jax.random.normal(key, shape, jnp.float32)

    return init


class Layer(nn.Module):
    """One weight layer, y = W x + b, in either parametrisation.

    Attributes:
        features: number of outputs.
        w_var: weight variance times fan_in.
        b_var: bias variance.
        parametrisation: "standard": the parameters are W ~ N(0, w_var/fan_in) and
            b ~ N(0, b_var). "ntk": they are unit normal, and y = sqrt(w_var/fan_in) w x
            + sqrt(b_var) beta.
        biases: whether there is b; in the NTK parametrisation only if b_var > 0.
    """

    features: int
    w_var: float
    b_var: float
    parametrisation: str = "standard"
    biases: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "n fan_in"]) -> Float[Array, "n features"]:
        """Returns the pre-activations. O(n fan_in features)."""
        # In this orientation reverse mode yields the gradient without a transpose; XLA
        # does not remove one under vmap, and a training step on CPU took 15 % longer.
        return _affine(self, x, "ni,oi->no", ())


class LocalLayer(Layer):
    """A `Layer` at every position of an image, each with weights of its own."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "n positions fan_in"]
    ) -> Float[Array, "n positions features"]:
        """Returns the pre-activations. O(n positions fan_in features)."""
        return _affine(self, x, "npi,poi->npo", (x.shape[1],))


def _affine(layer: Layer, x: Array, form: str, positions: tuple[int, ...]) -> Array:
    """W x + b inside a layer, with weights and biases for each of some positions."""
    fan_in = x.shape[-1]
    w_std, b_std = math.sqrt(layer.w_var / fan_in), math.sqrt(layer.b_var)
    ntk = layer.parametrisation == "ntk"
    shape = (*positions, layer.features, fan_in)
    kernel = layer.param("kernel", _scaled_normal(1.0 if ntk else w_std), shape)
    y = jnp.einsum(form, x, kernel)
    if ntk:
        y = w_std * y
    if layer.biases and not (ntk and b_std == 0):
        init = _scaled_normal(1.0 if ntk else b_std)
        bias = layer.param("bias", init, (1, *positions, layer.features))
        y = y + (b_std * bias if ntk else bias)
    return y


class Tap(NamedTuple):
    """A layer of a network, as it was applied.

    Attributes:
        name: where it is in the network.
        layer: its settings.
        inputs: what it was applied to.
    """

    name: Name
    layer: Layer
    inputs: Array

    @property
    def settings(self) -> tuple[Name, Layer]:
        """What does not belong to one pass through the network."""
        return self.name, self.layer


def tapped(
    model: nn.Module,
    params: PyTree,
    x: Float[Array, "n d"],
    added: dict[Name, Array] | None = None,
) -> tuple[Float[Array, "n c"], list[Tap]]:
    """Returns the outputs of a network, and its layers as they were applied.

    Args:
        model: the network.
        params: its parameters.
        x: inputs.
        added: by the name of a layer, what is added to its outputs.
    """
    taps: list[Tap] = []

    def intercept(call, args, kwargs, context):
        module = context.module
        if not (isinstance(module, Layer) and context.method_name == "__call__"):
            return call(*args, **kwargs)
        # a copy bound to no network: its settings
        taps.append(Tap(module.path, module.copy(parent=None), args[0]))
        y = call(*args, **kwargs)
        return y + added[module.path] if added and module.path in added else y

    with nn.intercept_methods(intercept):
        outputs: Any = model.apply(params, x)
    return outputs, taps
