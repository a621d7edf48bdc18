"""What the hidden layers of an architecture add to its kernels, layer by layer.

A network of n units a layer has the empirical covariance of its units where the kernels
of infinite width have C_l = C_w F(K_l). Here are these covariances, the derivatives of
the kernels in them, and samples of units: what docs/theory/finite_width.md needs.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.kernels.propagation import KernelPair, layer_rates
from theory.keys import stream

# Points for means over pairs.
_SAMPLE = 600


def upto(arch: Architecture, depth: int) -> Architecture:
    """Returns the first layers of an architecture, as one of their own."""
    cut = lambda rates: None if rates is None else tuple(rates[:depth])
    return dataclasses.replace(
        arch, depth=depth, w_rates=cut(arch.w_rates), b_rates=cut(arch.b_rates)
    )


class Layers(NamedTuple):
    """Kernels of the first 1, 2 ... L layers between two sets of points."""

    pairs: tuple[KernelPair, ...]

    @property
    def whole(self) -> KernelPair:
        """Of the architecture."""
        return self.pairs[-1]

    def hidden(self, arch: Architecture) -> list[Array]:
        """Covariances of the units of the hidden layers, C_1 ... C_{L-1}."""
        return [pair.nngp - arch.b_var for pair in self.pairs[1:]]


def of_points(x: Float[Array, "n d"], arch: Architecture) -> Layers:
    """Returns the kernels of points with themselves."""
    depths = range(1, arch.depth + 1)
    return Layers(tuple(matrices.gram(x, upto(arch, depth)) for depth in depths))


def between(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], arch: Architecture
) -> Layers:
    """Returns the kernels of two sets of points."""
    depths = range(1, arch.depth + 1)
    return Layers(
        tuple(matrices.nngp_ntk(x1, x2, upto(arch, depth)) for depth in depths)
    )


def diagonal(x: Float[Array, "n d"], arch: Architecture) -> Layers:
    """Returns the kernels of every point with itself."""
    depths = range(1, arch.depth + 1)
    return Layers(
        tuple(matrices.nngp_ntk_diag(x, upto(arch, depth)) for depth in depths)
    )


def slopes(
    arch: Architecture, one: Layers, two: Layers, both: Layers, *, own: bool = False
) -> list[Array]:
    """Returns C_w E[phi' phi'] of every hidden layer between two sets of points.

    Args:
        arch: the architecture.
        one: `diagonal` of the first points.
        two: `diagonal` of the second.
        both: kernels between them.
        own: whether they are the same points, whose own entries are exact then.
    """
    dual, found = arch.phi.dual, []
    for q1, q2, pair in zip(
        one.pairs[:-1], two.pairs[:-1], both.pairs[:-1], strict=True
    ):
        slope = dual.pair(q1.nngp[:, None], q2.nngp[None, :], pair.nngp).slope
        if own:
            at = jnp.arange(len(slope))
            slope = slope.at[at, at].set(dual.diag(q1.nngp).slope)
        found.append(arch.w_var * slope)
    return found


def own_slopes(arch: Architecture, own: Layers) -> list[Array]:
    """Returns C_w E[phi'^2] of every hidden layer, of every point with itself."""
    dual = arch.phi.dual
    return [arch.w_var * dual.diag(pair.nngp).slope for pair in own.pairs[:-1]]


def mean_over_pairs(matrix: Float[Array, "n n"]) -> Float[Array, ""]:
    """Returns the mean of the entries off the diagonal."""
    n = len(matrix)
    others = jnp.where(jnp.eye(n, dtype=bool), 0.0, matrix)
    return others.sum() / max(n * (n - 1), 1)


class Couplings(NamedTuple):
    """How the kernels follow the covariances of hidden units, means over pairs.

    Attributes:
        direct: derivative of the tangent kernel in each, those of later layers held.
        passed: derivative of each in the one below; zero for the first.
    """

    direct: Float[Array, " l"]
    passed: Float[Array, " l"]


def couplings(arch: Architecture, own: Layers, both: Layers) -> Couplings:
    """Returns the couplings of (W1), of points with themselves; `own` their diagonal.

    Means over pairs of at most 600 of the points. Derivatives in the variances are left
    out: they move whole rows alike, which hardly meets the regression.
    """
    n = both.whole.nngp.shape[0]
    few = jnp.arange(0, n, -(-n // _SAMPLE))
    pick = lambda leaf: leaf[few]
    own = Layers(jax.tree.map(pick, own.pairs))
    both = Layers(jax.tree.map(lambda leaf: leaf[few][:, few], both.pairs))
    rates = [a for a, _ in layer_rates(arch)]
    dual, direct, passed = arch.phi.dual, [], []
    above = 1.0  # of the layers that follow
    for at in range(arch.depth - 2, -1, -1):
        # hidden layer at + 1, whose units have the covariance of pairs[at]
        q, pair = own.pairs[at].nngp, both.pairs[at]
        found = dual.derivatives(q[:, None], q[None, :], pair.nngp)
        slope = arch.w_var * found.slope
        if at == arch.depth - 2:
            direct.append(jnp.asarray(rates[-1], slope.dtype))
        # the layer below: C_at enters through K_{at + 1} = C_b + C_at
        through = arch.w_var * found.slope_cov * pair.ntk + slope * rates[at]
        if at > 0:
            direct.append(mean_over_pairs(through * above))
        passed.append(mean_over_pairs(slope) if at > 0 else jnp.zeros((), slope.dtype))
        above = above * slope
    return Couplings(jnp.stack(direct[::-1]), jnp.stack(passed[::-1]))


def samples(arch: Architecture, both: Layers, count: int) -> Float[Array, "l n m"]:
    """Returns values of some units of every hidden layer at the points, always alike.

    Of infinitely wide networks: Gaussian pre-activations with the kernel of the layers
    below. n^3/3 multiply-adds a layer.
    """
    found = []
    for at, pair in enumerate(both.pairs[:-1]):
        key = stream(jax.random.key(at), "units")
        n, dtype = len(pair.nngp), pair.nngp.dtype
        lift = 10 * n * jnp.finfo(dtype).eps * jnp.trace(pair.nngp) / n
        root = jnp.linalg.cholesky(pair.nngp + lift * jnp.eye(n, dtype=dtype))
        gaussian = root @ jax.random.normal(key, (n, count), dtype)
        found.append(arch.phi.fn(gaussian))
    return jnp.stack(found)
