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

import theory.activations
from theory.errors import InputError, unknown
from theory.problem import Architecture

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
        fan_in = x.shape[-1]
        w_std, b_std = math.sqrt(self.w_var / fan_in), math.sqrt(self.b_var)
        ntk = self.parametrisation == "ntk"
        shape = (self.features, fan_in)
        kernel = self.param("kernel", _scaled_normal(1.0 if ntk else w_std), shape)
        # In this orientation reverse mode yields the gradient without a transpose; XLA
        # does not remove one under vmap, and a training step on CPU took 15 % longer.
        y = jnp.einsum("ni,oi->no", x, kernel)
        if ntk:
            y = w_std * y
        if self.biases and not (ntk and b_std == 0):
            init = _scaled_normal(1.0 if ntk else b_std)
            bias = self.param("bias", init, (1, self.features))
            y = y + (b_std * bias if ntk else bias)
        return y


class MLP(nn.Module):
    """A multilayer perceptron of `depth` weight layers; build it with `mlp`.

    Hashable, hence static under jit. Parameters: `layer_1` ... `layer_depth`, each with
    `kernel` (fan_out, fan_in) and `bias` (1, fan_out), counted as in theory/README.md.
    """

    depth: int
    activation: theory.activations.Activation
    width: int
    num_classes: int
    w_var: float
    b_var: float
    parametrisation: str = "standard"
    biases: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n c"]:
        """Returns the outputs (logits). O(n (d w + (depth - 2) w^2 + w c))."""
        for number in range(1, self.depth + 1):
            last = number == self.depth
            x = Layer(
                features=self.num_classes if last else self.width,
                w_var=self.w_var,
                b_var=self.b_var,
                parametrisation=self.parametrisation,
                biases=self.biases,
                name=f"layer_{number}",
            )(x)
            if not last:
                x = self.activation.fn(x)
        return x


def mlp(
    arch: Architecture,
    width: int | None,
    num_classes: int,
    *,
    parametrisation: str = "standard",
    biases: bool = True,
) -> MLP:
    """Returns the network of `width` whose limit the theory describes.

    `arch.w_rates` and `arch.b_rates` are ignored: they describe how fast training moves
    each layer in the theory, and a network's own parametrisation decides that. The
    theory of a network in the standard parametrisation is
    `theory.Architecture.standard`, in the NTK parametrisation the default rates.

    Args:
        arch: depth, activation and variances, the latter concrete numbers.
        width: units of each of the depth - 1 hidden layers; may be None at depth 1.
        num_classes: number of outputs.
        parametrisation: "standard" (what libraries train by default; with b_var = 0 the
            biases start at zero and are trained) or "ntk" (with b_var = 0, no biases).
        biases: False leaves them out; the theory then needs b_var = 0 and, in the
            standard parametrisation, b_rates of 0.

    Raises:
        InputError: for settings that make no network.
    """
    arch.check()
    if parametrisation not in PARAMETRISATIONS:
        raise unknown("parametrisation", parametrisation, PARAMETRISATIONS)
    if arch.depth == 1:
        width = 1  # unused: equal networks are equal modules
    for name, value in (("width", width), ("num_classes", num_classes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"`{name}` must be a positive integer, got {value!r}.")
    if not biases and float(arch.b_var) > 0:
        raise InputError(
            f"`biases` must be True for `b_var` {float(arch.b_var):g}: without biases "
            "set b_var=0."
        )
    assert width is not None
    return MLP(
        depth=arch.depth,
        activation=arch.phi,
        width=width,
        num_classes=num_classes,
        w_var=float(arch.w_var),
        b_var=float(arch.b_var),
        parametrisation=parametrisation,
        biases=biases,
    )


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
