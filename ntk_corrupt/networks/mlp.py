"""The fully connected network of an architecture."""

from flax import linen as nn
from jaxtyping import Array, Float

from ntk_corrupt.networks.layers import PARAMETRISATIONS, Layer
from theory.activations import registry
from theory.errors import InputError, check_count, unknown
from theory.kernels.architecture import Architecture
from theory.numerics.signatures import checked


class MLP(nn.Module):
    """A multilayer perceptron of `depth` weight layers; build it with `mlp`.

    Hashable, hence static under jit. Parameters: `layer_1` ... `layer_depth`, each with
    `kernel` (fan_out, fan_in) and `bias` (1, fan_out), counted as in
    docs/theory/kernels.md.
    """

    depth: int
    activation: registry.Activation
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


@checked
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
        check_count(name, value)
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
