"""What a two-layer network learns, and what it teaches through its perturbations alone.

f(x) = sum_j a_j phi(w_j x + b_j), phi a leaky rectifier, w ~ N(0, 1/d), b ~ N(0, 1),
a ~ N(0, 1/m) fixed; w and b are trained on y in {-1, 1} with the loss -y f, whose
gradient does not depend on what was learned. While the slopes phi' stay what they are
at initialisation, and for m -> infinity, everything is a sum over the training set:

    Phi(x, z) = E[phi'(u) phi'(u')],  u = v x + a                              (P1)
    D(z)      = 1/N sum_i y_i Phi(z, x_i) x_i                                  (P2)
    hat f(z)  = <D(z), z>,  hat g(z) = 1/N sum_n Phi(q_n, z) <D(x_n), z>        (P3)

Valid: loss -y f, wide networks, and training so short that few units change sides.
Long training changes all slopes; the signs of hat f and hat g are then predictions to
be tested, their sizes are not. hat g leaves out the length of the perturbations, what
inputs add by chance, and the trained biases: `linear_output` has all of them.

Reference: Kumano, Kera & Yamasaki 2024, arXiv:2410.23677, section 4, whose Phi is a
mean over samples; docs/theory/two_layer.md (P1)-(P5).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.activations import closed_forms
from theory.numerics import blocks
from theory.numerics.edges import matmul, ratio, safe_sqrt
from theory.numerics.signatures import checked

_BLOCK = 1024


@checked
@jax.jit
def slope_kernel(
    x: Float[Array, "n1 d"],
    z: Float[Array, "n2 d"],
    slope: Float[Array, ""] | float,
) -> Float[Array, "n1 n2"]:
    """Returns Phi of all pairs, docs/theory/two_layer.md (P1). O(n1 n2 d).

    slope + (1 - slope)^2 (pi - angle)/(2 pi), of the angle between (x, sqrt d) and
    (z, sqrt d). At x = z rounding of the angle costs half of the digits.

    Args:
        x: points.
        z: points.
        slope: of phi where it is negative, in [0, 1); traced.
    """
    d = x.shape[1]
    q1, q2 = ((points**2).sum(axis=1) / d + 1 for points in (x, z))
    cov = matmul(x, z.T) / d + 1
    # `duals.leaky_relu`, whose slope is static: E[phi' phi'] by that of relu
    both_positive = closed_forms.RELU.pair(q1[:, None], q2[None, :], cov).slope
    return slope + (1 - slope) ** 2 * both_positive


def _product(z, x, v, slope):
    """Phi(z, x) v / N, of which no block but one is held."""
    rows, columns = min(_BLOCK, len(z)), min(_BLOCK, len(x))

    def block(i, j):
        of = lambda points, at, size: jax.lax.dynamic_slice_in_dim(points, at, size)
        return slope_kernel(of(z, i, rows), of(x, j, columns), slope)

    return blocks.product(block, v, len(z), (rows, columns)) / len(x)


@checked
@jax.jit
def directions(
    z: Float[Array, "k d"],
    x: Float[Array, "n d"],
    y: Float[Array, " n"],
    slope: Float[Array, ""] | float,
) -> Float[Array, "k d"]:
    """Returns D(z), docs/theory/two_layer.md (P2): where training moves the gradient.

    The perturbation of x_n towards a target y' has the direction y' D(x_n), as far as
    training outweighs the initialisation; see `alignment`. O(k n d).

    Args:
        z: points to perturb.
        x: training inputs.
        y: their labels, -1 or 1.
        slope: of phi where it is negative.
    """
    return _product(z, x, y[:, None] * x, slope)


@checked
def first_output(
    z: Float[Array, "k d"],
    x: Float[Array, "n d"],
    y: Float[Array, " n"],
    slope: Float[Array, ""] | float,
) -> Float[Array, " k"]:
    """Returns hat f(z), docs/theory/two_layer.md (P3): what is trained on (x, y)."""
    return (directions(z, x, y, slope) * z).sum(axis=1)


@checked
@jax.jit
def second_output(
    z: Float[Array, "k d"],
    inputs: Float[Array, "n d"],
    taught: Float[Array, "n d"],
    slope: Float[Array, ""] | float,
) -> Float[Array, " k"]:
    """Returns hat g(z), docs/theory/two_layer.md (P3): trained on perturbations.

    Args:
        z: points.
        inputs: q_n, what it was trained on: perturbations, or images with them.
        taught: D(x_n), in the order of the inputs.
        slope: of phi where it is negative.
    """
    return (_product(z, inputs, taught, slope) * z).sum(axis=1)


@checked
@jax.jit
def linear_output(
    z: Float[Array, "k d"],
    x: Float[Array, "n d"],
    y: Float[Array, " n"],
    slope: Float[Array, ""] | float,
) -> Float[Array, " k"]:
    """Returns 1/N sum_i y_i Phi(z, x_i) (<x_i, z> + 1): all that is learned, over time.

    docs/theory/two_layer.md (P4). With the trained biases, of any training set: of
    perturbed images with their targets it is what hat g leaves parts of out.
    """
    d = x.shape[1]
    signed = y[:, None] * jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], axis=1)
    learned = _product(z, x, signed, slope)
    return (learned[:, :d] * z).sum(axis=1) + learned[:, d]


@checked
def heavy_ball_time(
    rate: Float[Array, ""] | float, steps: Array | int, momentum: float = 0.9
) -> Float[Array, ""] | float:
    """Returns how far T steps with momentum go along a gradient that does not change.

    rate sum_(t <= T) (1 - momentum^t)/(1 - momentum).
    """
    faded = momentum * (1 - momentum**steps) / (1 - momentum)
    return rate * (steps - faded) / (1 - momentum)


@checked
@jax.jit
def alignment(
    direction: Float[Array, "n d"],
    time: Float[Array, ""] | float,
    slope: Float[Array, ""] | float,
) -> Float[Array, " n"]:
    """Returns the cosine of D(x_n) and the gradient, docs/theory/two_layer.md (P5).

    t|D|/sqrt(t^2 |D|^2 + (1 + slope^2)/2): the gradient is t D and that of the
    initialisation, a random vector of that mean square. Neither its overlap with D,
    of order 1/sqrt(d), nor a finite width is in it, and no slope has changed.

    Args:
        direction: D(x_n).
        time: of `heavy_ball_time`.
        slope: of phi where it is negative.
    """
    square = time**2 * (direction**2).sum(axis=1)
    return safe_sqrt(ratio(square, square + (1 + slope**2) / 2))
