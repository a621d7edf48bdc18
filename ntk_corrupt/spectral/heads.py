"""The linear head of a network, taken off and put back."""

import functools
import math
import operator

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PyTree

from ntk_corrupt.networks import layers, mlp
from theory.errors import InputError
from theory.numerics.signatures import checked
from theory.records import record


@record(kw_only=True)
class Head:
    """A linear layer, logits = W h + b.

    Attributes:
        w: W.
        b: b.
    """

    w: Float[Array, "c D"]
    b: Float[Array, " c"]

    def __call__(self, features: Float[Array, "n D"]) -> Float[Array, "n c"]:
        """Returns the logits. O(n c D)."""
        return features @ self.w.T + self.b[None]


@checked
@functools.partial(jax.jit, static_argnames="model")
def split(
    model: nn.Module, params: PyTree, x: Float[Array, "n d"]
) -> tuple[Float[Array, "n D"], Head]:
    """Returns the features that the last layer of a network reads, and that layer."""
    _, taps = layers.tapped(model, params, x)
    last = taps[-1]
    own = functools.reduce(operator.getitem, last.name, params["params"])
    apply = lambda h: last.layer.apply({"params": own}, h[None])[0]
    width, dtype = last.inputs.shape[1], last.inputs.dtype
    b, slope = jax.linearize(apply, jnp.zeros(width, dtype))
    return last.inputs, Head(w=jax.vmap(slope)(jnp.eye(width, dtype=dtype)).T, b=b)


@checked
def with_head(model: mlp.MLP, params: PyTree, head: Head) -> PyTree:
    """Returns parameters of the network with another last layer.

    Raises:
        InputError: if the last layer has no biases.
    """
    name = f"layer_{model.depth}"
    layer = params["params"][name]
    if "bias" not in layer:
        raise InputError("`model` must have biases: a truncated head has.")
    w_std, b_std = 1.0, 1.0
    if model.parametrisation == "ntk":
        w_std, b_std = math.sqrt(model.w_var / head.w.shape[1]), math.sqrt(model.b_var)
    new = {"kernel": head.w / w_std, "bias": head.b[None] / b_std}
    new = {key: new[key].astype(layer[key].dtype) for key in layer}
    return {**params, "params": {**params["params"], name: new}}
