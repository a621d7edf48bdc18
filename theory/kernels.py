"""NNGP and NTK of multilayer perceptrons of any depth.

A kernel entry is a function of three numbers of the first layer: the variances q1, q2
of the two points and their covariance. `propagate` is that function, H of
theory/README.md (7); everything else here feeds it. On the diagonal it is a function
of q alone, `propagate_diag`, which keeps all digits where closed forms of kinked
activations would lose half.

References: Neal 1996; Lee et al. 2018, arXiv:1711.00165; Jacot et al. 2018,
arXiv:1806.07572.
"""

import functools

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory import blocks
from theory.errors import InputError
from theory.problem import Architecture
from theory.records import record

# Rows and columns per block: small enough to leave little below the diagonal and to
# stay in the cache, large enough for a product at 3/4 of the speed of large matrices.
# Twice as wide, N = 1 000 takes 15 to 25 % longer; N = 4 000 cannot tell sizes apart.
_BLOCK = (256, 512)
_BOTH = ("nngp", "ntk")


@record(kw_only=True)
class KernelPair:
    """Kernels of the outputs between two sets of points, or along a diagonal.

    Attributes:
        nngp: covariance of the outputs at initialisation.
        ntk: neural tangent kernel.
    """

    nngp: Float[Array, "..."]
    ntk: Float[Array, "..."]


def layer_rates(arch: Architecture):
    """Training rates of every layer: a_l of the weights, b_l of the biases."""
    weights = (1.0,) * arch.depth if arch.w_rates is None else arch.w_rates
    biases = (arch.b_var,) * arch.depth if arch.b_rates is None else arch.b_rates
    return tuple(zip(weights, biases, strict=True))


def first_layer_variance(
    x: Float[Array, "n d"], arch: Architecture
) -> Float[Array, " n"]:
    """Returns q = C_b + C_w |x|^2/d of every point."""
    return arch.b_var + arch.w_var * (x**2).sum(-1) / x.shape[-1]


def first_layer_covariance(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], arch: Architecture
) -> Float[Array, "n1 n2"]:
    """Returns k = C_b + C_w x1.x2/d of every pair, at full matmul precision."""
    product = jnp.matmul(x1, x2.T, precision=jax.lax.Precision.HIGHEST)
    return arch.b_var + arch.w_var * product / x1.shape[-1]


def _through_layers(layer, first, arch: Architecture):
    """Runs `layer` over the hidden layers; `first` and its last's NTK are the carry.

    As a loop: what is compiled, derivatives included, does not grow with depth.
    """
    (a, b), *rates = layer_rates(arch)
    dtype = jnp.result_type(*first, arch.w_var)
    carry = tuple(
        jnp.asarray(part, dtype) for part in (*first, a * (first[-1] - arch.b_var) + b)
    )
    if not rates:
        return carry
    rates = tuple(jnp.asarray(part, dtype) for part in zip(*rates, strict=True))
    return jax.lax.scan(layer, carry, rates)[0]


def propagate(
    q1: Float[Array, "..."],
    q2: Float[Array, "..."],
    cov: Float[Array, "..."],
    arch: Architecture,
) -> KernelPair:
    """Takes first-layer covariances of pairs to the output, H of theory/README.md (7).

    Elementwise; the arguments broadcast. Cost: depth - 1 evaluations of the dual.

    Args:
        q1: variances of the first points, q = C_b + C_w |x|^2/d.
        q2: variances of the second.
        cov: covariances C_b + C_w x1.x2/d.
        arch: the architecture.
    """
    dual = arch.phi.dual
    shape = jnp.broadcast_shapes(*(jnp.shape(part) for part in (q1, q2, cov)))
    cov = jnp.broadcast_to(cov, shape)

    def layer(carry, rates):
        (q1, q2, cov, ntk), (a, b) = carry, rates
        value, slope = dual.pair(q1, q2, cov)
        # Both results hold the value: compilers would compute it for each of them.
        value = jax.lax.optimization_barrier(value)
        ntk = b + a * arch.w_var * value + arch.w_var * slope * ntk
        cov = arch.b_var + arch.w_var * value
        q1, q2 = (arch.b_var + arch.w_var * dual.diag(q).value for q in (q1, q2))
        return (q1, q2, cov, ntk), None

    *_, cov, ntk = _through_layers(layer, (q1, q2, cov), arch)
    return KernelPair(nngp=cov, ntk=ntk)


def propagate_diag(q: Float[Array, "..."], arch: Architecture) -> KernelPair:
    """Takes first-layer variances to the output: h of theory/README.md (7)."""
    dual = arch.phi.dual

    def layer(carry, rates):
        (q, ntk), (a, b) = carry, rates
        value, slope = dual.diag(q)
        ntk = b + a * arch.w_var * value + arch.w_var * slope * ntk
        return (arch.b_var + arch.w_var * value, ntk), None

    q, ntk = _through_layers(layer, (q,), arch)
    return KernelPair(nngp=q, ntk=ntk)


def truncation_error(x: Float[Array, "n d"], arch: Architecture) -> Float[Array, ""]:
    """Returns the largest relative truncation error of the dual over points and layers.

    Zero for closed forms. A bound near correlation one, see `theory.duals.Dual.error`.
    """
    dual = arch.phi.dual
    q = first_layer_variance(x, arch)
    worst = jnp.zeros((), x.dtype)
    for _ in range(arch.depth - 1):
        worst = jnp.maximum(worst, dual.error(q).max())
        q = arch.b_var + arch.w_var * dual.diag(q).value
    return worst


def check_ntk(arch: Architecture) -> None:
    """Raises `InputError` if the architecture has no tangent kernel."""
    if arch.depth > 1 and not arch.phi.trainable:
        raise InputError(
            f"{arch.phi.name} has no NTK, its slope vanishes: use theory.nngp, or "
            "another activation."
        )


def _check(arch: Architecture, *xs: Array, ntk: bool = True) -> None:
    """Host checks of the public entries; shapes are known under tracing too."""
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arch)):
        arch.check()
    if ntk:
        check_ntk(arch)
    for x in xs:
        if x.ndim != 2 or 0 in x.shape or x.shape[1] != xs[0].shape[1]:
            raise InputError(
                "points must be arrays (n, d) with n, d >= 1 and equal d, got "
                f"{' and '.join(str(x.shape) for x in xs)}."
            )


def _check_memory(*xs: Array, kernels: int = 2) -> None:
    """Raises `InputError` if so many kernels of the points do not fit. Host only."""
    n1, n2 = xs[0].shape[0], xs[-1].shape[0]
    blocks.check_memory(
        kernels * n1 * n2 * xs[0].dtype.itemsize,
        f"a kernel of {n1} x {n2} points in {xs[0].dtype}",
        "use fewer points, float32, or theory.blocks.map_rows over a block of rows",
    )


def _kept(pair: KernelPair, kinds: tuple[str, ...]) -> dict[str, Array]:
    """The kernels named in `kinds`."""
    return {kind: getattr(pair, kind) for kind in kinds}


def _tile(x1, x2, arch, kinds):
    """The function (i, j) -> kernels of the block of x1 at i with that of x2 at j."""

    def part(x, start, block):
        size = min(block, x.shape[0])
        rows = jax.lax.dynamic_slice_in_dim(x, start, size)
        return rows, first_layer_variance(rows, arch)

    def at(i, j):
        rows, q_rows = part(x1, i, _BLOCK[0])
        columns, q_columns = part(x2, j, _BLOCK[1])
        cov = first_layer_covariance(rows, columns, arch)
        return _kept(propagate(q_rows[:, None], q_columns[None, :], cov, arch), kinds)

    return at


@functools.partial(jax.jit, static_argnames="kinds")
def _cross(x1, x2, arch, *, kinds):
    at = _tile(x1, x2, arch, kinds)
    return blocks.fill(at, x1.shape[0], x2.shape[0], _BLOCK)


def nngp_ntk(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], arch: Architecture
) -> KernelPair:
    """Returns both kernels between two sets of points.

    Rows are `x1`. Computed block by block: beside the result, memory is one block of
    rows. For a kernel of points with themselves, `gram` costs half and is exact on the
    diagonal; entries of coinciding points lose half of the digits here if the
    activation has a kink.

    Args:
        x1: points.
        x2: points.
        arch: the architecture.

    Returns:
        nngp and ntk, each (n1, n2), in the dtype of the points.

    Raises:
        InputError: shapes that disagree, a bad architecture, an activation without
            NTK, or a kernel larger than the memory.
    """
    _check(arch, x1, x2)
    _check_memory(x1, x2)
    return KernelPair(**_cross(x1, x2, arch, kinds=_BOTH))


def nngp(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], arch: Architecture
) -> Float[Array, "n1 n2"]:
    """Returns the NNGP kernel alone, for any activation; see `nngp_ntk`."""
    _check(arch, x1, x2, ntk=False)
    _check_memory(x1, x2, kernels=1)
    return _cross(x1, x2, arch, kinds=("nngp",))["nngp"]


def ntk(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], arch: Architecture
) -> Float[Array, "n1 n2"]:
    """Returns the NTK alone, in half the memory of both; see `nngp_ntk`."""
    _check(arch, x1, x2)
    _check_memory(x1, x2, kernels=1)
    return _cross(x1, x2, arch, kinds=("ntk",))["ntk"]


@functools.partial(jax.jit, static_argnames="kind")
def _product(x1, x2, v, arch, *, kind):
    tile = _tile(x1, x2, arch, (kind,))
    at = lambda i, j: tile(i, j)[kind]
    return blocks.product(at, v, x1.shape[0], _BLOCK)


def _check_product(x1, x2, v, arch, ntk=True):
    _check(arch, x1, x2, ntk=ntk)
    if v.ndim != 2 or len(v) != len(x2):
        raise InputError(
            f"`v` must be an array ({len(x2)}, m), one row per point of `x2`, got "
            f"{v.shape}."
        )


def ntk_product(
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"],
    v: Float[Array, "n2 m"],
    arch: Architecture,
) -> Float[Array, "n1 m"]:
    """Returns the NTK between two sets of points times `v`, without holding it.

    O(n1 n2 (d + depth + m)) time; memory beside the result is one block. With the dual
    weights of a trained network as `v`, its outputs at the points `x1`.

    Raises:
        InputError: as `nngp_ntk`, and for `v` of another length than `x2`.
    """
    _check_product(x1, x2, v, arch)
    return _product(x1, x2, v, arch, kind="ntk")


def nngp_product(
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"],
    v: Float[Array, "n2 m"],
    arch: Architecture,
) -> Float[Array, "n1 m"]:
    """Returns the NNGP kernel times `v`, see `ntk_product`."""
    _check_product(x1, x2, v, arch, ntk=False)
    return _product(x1, x2, v, arch, kind="nngp")


@jax.jit
def _diag(x, arch):
    return propagate_diag(first_layer_variance(x, arch), arch)


def nngp_ntk_diag(x: Float[Array, "n d"], arch: Architecture) -> KernelPair:
    """Returns both kernels of every point with itself, each (n,). O(n d).

    Raises:
        InputError: as `nngp_ntk`, but for the memory.
    """
    _check(arch, x)
    return _diag(x, arch)


@functools.partial(jax.jit, static_argnames="kinds")
def _upper(x, arch, *, kinds):
    """Right on and above the diagonal."""
    n = x.shape[0]
    pair = blocks.fill_upper(_tile(x, x, arch, kinds), n, _BLOCK)
    diag = _kept(propagate_diag(first_layer_variance(x, arch), arch), kinds)
    index = jnp.arange(n)
    return jax.tree.map(lambda m, d: m.at[index, index].set(d), pair, diag)


@functools.partial(jax.jit, donate_argnums=0)
def _mirrored(pair):
    return jax.tree.map(lambda matrix: blocks.mirror(matrix, _BLOCK[0]), pair)


def _symmetric(x, arch, kinds):
    _check(arch, x)
    _check_memory(x, kernels=len(kinds))
    return _mirrored(_upper(x, arch, kinds=kinds))


def gram(x: Float[Array, "n d"], arch: Architecture) -> KernelPair:
    """Returns both kernels of a set of points with itself.

    Symmetric bit for bit (under an outer jit, to rounding), each block above the
    diagonal computed once, the diagonal exact. O(n^2 (d + depth)) time, two n x n
    matrices of memory.

    Args:
        x: points.
        arch: the architecture.

    Returns:
        nngp and ntk, each (n, n), in the dtype of the points.

    Raises:
        InputError: as `nngp_ntk`.
    """
    return KernelPair(**_symmetric(x, arch, _BOTH))


def ntk_gram(x: Float[Array, "n d"], arch: Architecture) -> Float[Array, "n n"]:
    """Returns the NTK of a set of points with itself, in half the memory of `gram`."""
    return _symmetric(x, arch, ("ntk",))["ntk"]
