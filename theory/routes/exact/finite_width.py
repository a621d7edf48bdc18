"""A corruption draw of the exact route, for networks of finite width near their start.

Units are shared between the function that a network starts from and its tangent kernel,
so that training removes more of the one than a kernel of its own would. The parameter
is n_train/width. Equations: docs/theory/finite_width.md.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.errors import NumericalError
from theory.kernels import hidden_layers, truncation
from theory.kernels.architecture import Architecture
from theory.kernels.hidden_layers import Layers
from theory.numerics import blocks, solve
from theory.numerics.edges import matmul
from theory.problem import Problem
from theory.regression import finite_width
from theory.regression.finite_width import Units
from theory.routes.exact import draw_loop

# Units whose spread is looked at: two draws of so many move the variance of a network
# of depth 4, relu, by .2 %.
_SAMPLES = 1024
_LARGEST_RESIDUAL = 1e-2
# Share of the variance that is of order 1/width up to which the law was seen to hold
# within 10 %: benchmarks/finite_width.py.
LARGEST_REMAINDER = 0.25


class Outputs(NamedTuple):
    """Of one draw: mean outputs, and what one initialisation adds."""

    mean: Float[Array, "n c"]
    init_var: Float[Array, " n"] | None
    kernel_cov: Float[Array, "n c c"] | None


def _units(
    arch: Architecture,
    coupled: hidden_layers.Couplings,
    both: Layers,
    ridge: Float[Array, ""],
) -> Units:
    """The kernel of training points, by hidden layers."""
    n, dtype = both.whole.ntk.shape[0], both.whole.ntk.dtype
    whole = both.whole.ntk + ridge * jnp.eye(n, dtype=dtype)
    return Units(
        rest=_rest(arch, coupled, whole, both),
        parts=_parts(arch, coupled, both),
        direct=coupled.direct,
        passed=coupled.passed,
        samples=hidden_layers.samples(arch, both, _SAMPLES),
        constant=jnp.asarray(arch.b_var, dtype),
    )


def _rest(arch, coupled, kernel: Array, layers: Layers) -> Array:
    """A tangent kernel without the units of the hidden layers, (W2)."""
    return kernel - sum(
        share * part
        for share, part in zip(coupled.direct, layers.hidden(arch), strict=True)
    )


def _parts(arch, coupled, layers: Layers) -> Array:
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


class _Remainder(NamedTuple):
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


def _remainder(arch, both: Layers, own: Layers, y, ridge, width) -> _Remainder:
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
    return _Remainder(smoother, kernels, inner, slopes, source)


def _remaining(arch, left: _Remainder, rows: Layers, own: Layers, own_train: Layers):
    """Variance at test points of what `_Remainder` holds."""
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


def check(diagnostics: dict[str, Array], width: int) -> None:
    """Raises `NumericalError` where the shares of the layers were not found. Host."""
    residual = float(diagnostics["width_residual"])
    if not residual < _LARGEST_RESIDUAL:
        raise NumericalError(
            f"the shares of hidden layers of {width} units were not found (last step "
            f"{residual:.2g}): use more units, float64, or pass `ridge`."
        )


def one_draw(
    arch: Architecture, seen: Problem, ridge: Array, width: Array, *, variances: bool
) -> tuple[Outputs, dict[str, Array]]:
    """Returns the outputs of one draw, and diagnostics."""
    x, y = seen.x_train, seen.y
    both, own = hidden_layers.of_points(x, arch), hidden_layers.diagonal(x, arch)
    coupled = hidden_layers.couplings(arch, own, both)
    parts = _units(arch, coupled, both, ridge)
    solved, smoother = finite_width.solve_shares(parts, y, width)
    weights = smoother.apply(y)
    left = _remainder(arch, both, own, y, ridge, width) if variances else None

    def predict(x_test):
        rows = hidden_layers.between(x_test, x, arch)
        pieces = _parts(arch, coupled, rows)
        kernel = _rest(arch, coupled, rows.whole.ntk, rows)
        kernel = kernel + jnp.einsum("l,ltn->tn", solved.shares, pieces)
        mean = matmul(kernel, weights)
        if left is None:
            return mean, None
        alone = hidden_layers.diagonal(x_test, arch)
        start, learned = finite_width.variances(
            parts,
            solved,
            smoother.apply(kernel.T),
            pieces,
            _parts(arch, coupled, alone),
        )
        remains = _remaining(arch, left, rows, alone, own)
        return mean, (start, learned, remains)

    mean, found = blocks.map_rows(predict, seen.x_test, draw_loop.BLOCK)
    diagnostics = {
        "margin": smoother.margin,
        "train_mse": ((matmul(solved.kernel, weights) - y) ** 2).mean(),
        "truncation_error": truncation.worst_truncation(arch, seen),
        "width_residual": solved.residual,
    }
    if found is None:
        return Outputs(mean, None, None), diagnostics
    start, learned, remains = found
    init_var = start + remains
    total = init_var + jnp.trace(learned, axis1=1, axis2=2) / y.shape[1]
    diagnostics["remainder"] = remains.mean() / total.mean()
    return Outputs(mean, init_var, learned), diagnostics
