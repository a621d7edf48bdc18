"""Networks of finite width, as routes see them: their units, and what is of order 1/n.

A kernel by hidden layers is what `theory.regression.finite_width` solves; what it does
not hold, to order 1/width, is a variance of its own. Equations:
docs/theory/finite_width.md (W1)-(W2), (W8).
"""

from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.errors import InputError, NumericalError, check_count
from theory.kernels import hidden_layers
from theory.kernels.architecture import Architecture
from theory.kernels.hidden_layers import Layers
from theory.numerics import solve
from theory.numerics.edges import matmul
from theory.regression.finite_width import Units

# Units whose spread is looked at: two draws of so many move the variance of a network
# of depth 4, relu, by .2 %.
_SAMPLES = 1024
# Share of the variance that is of order 1/width up to which the law was seen to hold
# within 10 %: benchmarks/finite_width.py.
LARGEST_REMAINDER = 0.25
NARROW = "too many images for this width"
_LARGEST_RESIDUAL = 1e-2


def check_width(width: int | None, time: float | None, *given) -> None:
    """Raises `InputError` on a width that makes no sense, or cannot be served. Host."""
    if width is None:
        return
    check_count("width", width)
    if time is not None:
        raise InputError(
            "`width` and `time` exclude each other: the law of finite width is that of "
            "training to the end, or with a `ridge`."
        )
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(given)):
        raise InputError(
            "`width` needs values: its law has no derivatives, and cannot be traced. "
            "Call it outside of jit, grad and vmap."
        )


def check_residual(residual: Array, width: int) -> None:
    """Raises `NumericalError` where the shares of the layers were not found. Host."""
    last = float(residual)
    if not last < _LARGEST_RESIDUAL:
        raise NumericalError(
            f"the shares of hidden layers of {width} units were not found (last step "
            f"{last:.2g}): use more units, float64, or pass `ridge`."
        )


def units_of(
    arch: Architecture,
    coupled: hidden_layers.Couplings,
    both: Layers,
    ridge: Float[Array, ""],
) -> Units:
    """The kernel of training points, by hidden layers."""
    n, dtype = both.whole.ntk.shape[0], both.whole.ntk.dtype
    whole = both.whole.ntk + ridge * jnp.eye(n, dtype=dtype)
    return Units(
        rest=rest(arch, coupled, whole, both),
        parts=parts(arch, coupled, both),
        direct=coupled.direct,
        passed=coupled.passed,
        samples=hidden_layers.samples(arch, both, _SAMPLES),
        constant=jnp.asarray(arch.b_var, dtype),
    )


def rest(arch, coupled, kernel: Array, layers: Layers) -> Array:
    """A tangent kernel without the units of the hidden layers, (W2)."""
    return kernel - sum(
        share * part
        for share, part in zip(coupled.direct, layers.hidden(arch), strict=True)
    )


def parts(arch, coupled, layers: Layers) -> Array:
    """Covariances of hidden units less what comes from the layer below, (W2)."""
    first, *others = hidden = layers.hidden(arch)
    below = zip(others, hidden, coupled.passed[1:], strict=False)
    return jnp.stack([first, *(part - t * lower for part, lower, t in below)])


def _terms(slopes: list[Array]) -> tuple[list[Array], list[int]]:
    """Slopes of every term of (W8), and the hidden layer that it belongs to.

    Of a layer and all that follow, and, of all but the last, of the layer alone.
    """
    found, layers, after = [], [], 1.0
    for at in range(len(slopes) - 1, -1, -1):
        whole = after * slopes[at]
        found += [whole] if at == len(slopes) - 1 else [whole, slopes[at]]
        layers += [at] * (len(found) - len(layers))
        after = whole
    return found, layers


class Remainder(NamedTuple):
    """What is of order 1/width: the kernel fluctuates beyond the shared units, (W8).

    Attributes:
        smoother: inverse of the kernel at infinite width.
        kernels: of the layers below the units, by term.
        inner: slopes and products of dual weights, by term.
        slopes: by term.
        source: of the training points.
    """

    smoother: solve.Smoother
    kernels: list[Array]
    inner: list[Array]
    slopes: list[Array]
    source: Array


def remainder(arch, both: Layers, own: Layers, y, ridge, width) -> Remainder:
    """Returns what is of order 1/width, of training points with these kernels."""
    smoother, c = solve.inverse(both.whole.ntk, ridge), y.shape[1]
    weights = smoother.apply(y)
    slopes, layers = _terms(hidden_layers.slopes(arch, own, own, both, own=True))
    factors = [1 + 2 / c]  # readouts are the same at all points
    for after in [slopes[0], *slopes[1::2]][:-1]:
        factors += [1.0, 2 * hidden_layers.mean_over_pairs(after) ** 2 / c]
    pairs = matmul(weights, weights.T) / width
    inner = [f * slope * pairs for f, slope in zip(factors, slopes, strict=True)]
    kernels = [both.pairs[at].ntk for at in layers]
    source = jnp.zeros_like(pairs)
    for slope, kernel, middle in zip(slopes, kernels, inner, strict=True):
        source = source + slope * matmul(kernel, matmul(middle, kernel))
    return Remainder(smoother, kernels, inner, slopes, source)


def remaining(arch, left: Remainder, rows: Layers, own: Layers, own_train: Layers):
    """Variance at test points of what `Remainder` holds."""
    slopes, layers = _terms(hidden_layers.slopes(arch, own, own_train, rows))
    single, _ = _terms(hidden_layers.own_slopes(arch, own))
    across, itself = 0.0, 0.0
    for slope, alone, at, kernel, middle in zip(
        slopes, single, layers, left.kernels, left.inner, strict=True
    ):
        below = matmul(rows.pairs[at].ntk, middle)
        across = across + slope * matmul(below, kernel)
        itself = itself + alone * (below * rows.pairs[at].ntk).sum(axis=1)
    answer = left.smoother.apply(rows.whole.ntk.T)
    inside = (answer * matmul(left.source, answer)).sum(axis=0)
    return itself - 2 * (across * answer.T).sum(axis=1) + inside
