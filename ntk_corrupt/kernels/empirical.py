"""The empirical neural tangent kernel of a network, and its spectrum.

    Theta_ij(x, x') = sum over parameters of  df_i(x)/dtheta df_j(x')/dtheta

Each `models.Layer`, y = W a + b, adds the product of two Gram matrices, of what goes
into the layer and of the derivatives of the outputs by what comes out of it,

    (a . a' + 1) (delta_i . delta_j'),    delta_i = df_i/dy,

so that the Jacobian, n c times the number of parameters, is never held. A layer that is
applied at many positions of an image (a convolution) adds up its positions first; one
with weights of their own for each adds up the products.

References: Jacot et al. 2018, arXiv:1806.07572; Novak et al. 2022, arXiv:2206.08720
(structured derivatives).
"""

import functools
import math
from typing import Any, NamedTuple

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, PyTree

from ntk_corrupt.networks.layers import Layer, LocalLayer, Name, tapped
from theory.errors import InputError
from theory.numerics import doors
from theory.numerics.edges import matmul
from theory.numerics.signatures import checked

OUTPUTS = ("trace", "all")


def _check(model: nn.Module, params: PyTree, x: Array) -> dict[Name, tuple[int, ...]]:
    """Shapes of what comes out of the layers; `InputError` if there are others."""
    taps: list[tuple[Name, Layer]] = []

    def run(params, x):
        _, found = tapped(model, params, x, {})
        taps.extend(tap.settings for tap in found)
        return [tap.inputs for tap in found]

    shapes = {}
    for (name, layer), inputs in zip(taps, jax.eval_shape(run, params, x), strict=True):
        if name in shapes:
            raise InputError(
                f"a layer must be applied once, and {'/'.join(name)} is applied again: "
                "its kernel is not the sum over its applications."
            )
        shapes[name] = *inputs.shape[:-1], layer.features
    own = {
        path[1:-1]
        for path, _ in _paths(params)
        if path[1:-1] in shapes and path[-1] in ("kernel", "bias")
    }
    foreign = sorted(
        "/".join(path) for path, _ in _paths(params) if path[1:-1] not in own
    )
    if foreign:
        raise InputError(
            f"all parameters must be those of models.Layer, got {', '.join(foreign)}."
        )
    return shapes


def _paths(params: PyTree) -> list[tuple[Name, Array]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return [(tuple(str(key.key) for key in path), leaf) for path, leaf in leaves]


def _rates(layer: Layer, fan_in: int) -> tuple[float, float]:
    """What a unit of W and of b is worth in the layer's outputs, squared."""
    if layer.parametrisation == "standard":
        return 1.0, float(layer.biases)
    return layer.w_var / fan_in, layer.b_var if layer.biases else 0.0


def _by_point(array: Array, n: int) -> Array:
    """(n, positions, features) of what a layer takes or gives."""
    return array.reshape(n, -1, array.shape[-1])


def _layer_kernel(
    layer: Layer, inputs: Array, deltas: Array, trace: bool, faster: Any
) -> Array:
    """What one layer adds: (n, n) or (n, k, n, k).

    Args:
        layer: the layer.
        inputs: (n, positions, fan_in).
        deltas: (n, k, positions, features), by the outputs asked for.
        trace: whether to sum over equal outputs.
        faster: factors of the rates of its kernel and bias.
    """
    n, k = deltas.shape[:2]
    w_rate, b_rate = _rates(layer, inputs.shape[-1])
    w_rate, b_rate = w_rate * faster["kernel"], b_rate * faster.get("bias", 0.0)
    if inputs.shape[1] == 1:
        ways = w_rate * matmul(inputs[:, 0], inputs[:, 0].T) + b_rate
        flat = deltas[:, :, 0]
        if trace:
            rows = flat.reshape(n, -1)
            return ways * matmul(rows, rows.T)
        rows = flat.reshape(n * k, -1)
        return ways[:, None, :, None] * matmul(rows, rows.T).reshape(n, k, n, k)
    highest = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    if isinstance(layer, LocalLayer):
        ways = w_rate * highest("npi,mpi->pnm", inputs, inputs) + b_rate
        if trace:
            back = highest("nkpo,mkpo->pnm", deltas, deltas)
            return (ways * back).sum(axis=0)
        back = highest("nkpo,mlpo->pnkml", deltas, deltas)
        return (ways[:, :, None, :, None] * back).sum(axis=0)
    weights = jnp.sqrt(w_rate) * highest("npi,nkpo->nkoi", inputs, deltas)
    rows = jnp.concatenate(
        [weights.reshape(n, k, -1), jnp.sqrt(b_rate) * deltas.sum(axis=2)], axis=2
    )
    if trace:
        rows = rows.reshape(n, -1)
        return matmul(rows, rows.T)
    rows = rows.reshape(n * k, -1)
    return matmul(rows, rows.T).reshape(n, k, n, k)


@functools.partial(jax.jit, static_argnames=("model", "shapes", "trace"))
def _ntk(model, params, x, cotangents, rates, *, shapes, trace):
    """`cotangents` (k, n, c): which outputs to differentiate."""
    n = x.shape[0]
    zeros = {name: jnp.zeros(shape, cotangents.dtype) for name, shape in shapes}
    layers: list[tuple[Name, Layer]] = []

    def outputs(added):
        found, taps = tapped(model, params, x, added)
        layers.extend(tap.settings for tap in taps)
        return found, [tap.inputs for tap in taps]

    _, pull, inputs = jax.vjp(outputs, zeros, has_aux=True)
    # one pass for each output: points do not see each other
    (deltas,) = jax.vmap(pull)(cotangents)
    total = 0.0
    for (name, layer), taken in zip(layers, inputs, strict=True):
        given = jax.vmap(lambda part: _by_point(part, n))(deltas[name])
        total = total + _layer_kernel(
            layer,
            _by_point(taken, n),
            given.swapaxes(0, 1),
            trace,
            functools.reduce(lambda tree, part: tree[part], name, rates["params"]),
        )
    return total


def checked_rates(params: PyTree, rates: PyTree | None, dtype: Any) -> PyTree:
    """Returns a factor for every array of the parameters.

    Raises:
        InputError: for rates of another structure, or that are no factors.
    """
    if rates is None:
        return jax.tree.map(lambda _: jnp.ones((), dtype), params)
    if jax.tree.structure(rates) != jax.tree.structure(params):
        raise InputError("`rates` must have a number for each array of `params`.")
    for leaf in jax.tree.leaves(rates):
        value = doors.real("rates", leaf)
        if value is not None and not 0 <= value < math.inf:
            raise InputError(f"`rates` must be finite and not negative, got {value}.")
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), rates)


@checked
def ntk(
    model: nn.Module,
    params: PyTree,
    x: Float[Array, "n d"],
    outputs: str | Int[Array, " n"] = "trace",
    *,
    rates: PyTree | None = None,
) -> Float[Array, "n n"] | Float[Array, "n c n c"]:
    """Returns the empirical NTK of a network between points.

    Cost, of an MLP of width w with c outputs: c passes back and n^2 c w multiply-adds a
    layer (n^2 c^2 w for "all"). Memory: n c times the units of all layers, and two of
    the results, of a `LocalLayer` one for every position; no Jacobian.

    Args:
        model: a network whose parameters all belong to layers `models.Layer`, each
            applied once; points may not see each other.
        params: its parameters.
        x: points; the kernel has their dtype if the parameters have it too.
        outputs: "trace", the sum of the kernels of all outputs, (n, n); "all", every
            pair of outputs, (n, c, n, c); or one class for every point, whose output
            is taken: (n, n).
        rates: factors by which parameters learn faster, a number for each array of
            `params`: those of Adam, or 0 for what is not trained. None is 1.

    Raises:
        InputError: for a network that is not made of such layers, or other `outputs`.
    """
    n = x.shape[0]
    try:
        shapes = tuple(_check(model, params, x).items())
        whole = jax.eval_shape(model.apply, params, x)
    except flax.errors.ScopeParamShapeError:
        raise InputError(
            f"`x` must have as many pixels as the network takes, got {x.shape[1]}."
        ) from None
    c, dtype = whole.shape[-1], whole.dtype
    rates = checked_rates(params, rates, dtype)
    if isinstance(outputs, str):
        if outputs not in OUTPUTS:
            raise InputError(
                f"`outputs` must be one of {', '.join(OUTPUTS)}, or a class for every "
                f"point, got {outputs!r}."
            )
        every = jnp.broadcast_to(jnp.eye(c, dtype=dtype)[:, None], (c, n, c))
        trace = outputs == "trace"
        return _ntk(model, params, x, every, rates, shapes=shapes, trace=trace)
    if outputs.shape != (n,):
        raise InputError(
            f"`outputs` must hold a class for each of {n} points, got {outputs.shape}."
        )
    if doors.concrete(outputs) and not doors.holds(
        lambda out: (out >= 0) & (out < c), outputs
    ):
        raise InputError(f"`outputs` must be classes in 0 ... {c - 1}.")
    of_class = jax.nn.one_hot(outputs, c, dtype=dtype)[None]
    return _ntk(model, params, x, of_class, rates, shapes=shapes, trace=True)


class Spectrum(NamedTuple):
    """Eigenvalues of a kernel, and what they say.

    Attributes:
        eigenvalues: ascending, none below zero.
        negative: smallest eigenvalue over the largest before they were cut at zero; of
            the size of rounding if the kernel is one.
        trace: sum of the eigenvalues.
        entropy: -sum l ln l of the eigenvalues over their sum.
        effective_rank: its exponential, between 1 and n; NaN for a kernel of zeros.
    """

    eigenvalues: np.ndarray
    negative: float
    trace: float
    entropy: float
    effective_rank: float


@checked
def spectrum(kernel: Any) -> Spectrum:
    """Returns the spectrum of a kernel (n, n) or (n, c, n, c), in float64. O(n^3)."""
    matrix = doors.host("kernel", kernel)
    if not matrix.size or not np.isfinite(matrix).all():
        raise InputError("`kernel` must hold finite numbers.")
    size = math.isqrt(matrix.size)
    matrix = matrix.reshape(size, size)
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    kept = np.maximum(values, 0.0)
    total = kept.sum()
    if total == 0:
        return Spectrum(kept, 0.0, 0.0, math.nan, math.nan)
    share = kept[kept > 0] / total
    entropy = float(-(share * np.log(share)).sum())
    negative = float(min(values[0], 0.0) / values[-1])
    return Spectrum(kept, negative, float(total), entropy, math.exp(entropy))


@checked
def distance(one: Any, other: Any) -> float:
    """Returns |one - other| / |other| of two kernels, in the Frobenius norm."""
    one, other = _two_kernels(one, other)
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def _two_kernels(*kernels: Any) -> list[np.ndarray]:
    one, other = (doors.host("kernels", part) for part in kernels)
    whole = one.ndim in (2, 4) and one.shape[: one.ndim // 2] * 2 == one.shape
    if not (whole and one.size and one.shape == other.shape):
        raise InputError(
            "kernels must be two of one shape (n, n) or (n, c, n, c), got "
            f"{one.shape} and {other.shape}."
        )
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise InputError("kernels must be finite, got NaN or infinity.")
    return [one, other]


@checked
def alignment(one: Any, other: Any) -> float:
    """Returns the cosine of two kernels: 1 where they differ in scale alone."""
    one, other = (part.ravel() for part in _two_kernels(one, other))
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
