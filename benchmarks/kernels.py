"""Speed of `theory.kernels.gram` against neural-tangents and the hardware limit.

    python -m benchmarks.kernels [--n 1000,2000,4000]

All sides compute the NTK gram of N standard normal points in float64 from compiled
code, in one process, in turns; compilation is reported apart. Floor: one symmetric
product X X^T by BLAS (dsyrk), half of the multiply-adds of a plain product, and what
any kernel of these inputs has to do. Ratios above 1 mean that neural-tangents is
slower. Quadrature (and gelu) is timed at the smallest N alone: the reference,
`ElementwiseNumerical`, takes deg^2 evaluations per entry, one block of rows at a time.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from ntk_corrupt import neural_tangents
from theory import activations, kernels
from theory.problem import Architecture

W_VAR, B_VAR = 1.5, 0.1


def ours(arch: Architecture) -> Callable[[jax.Array], jax.Array]:
    """Returns x -> NTK by `theory`."""
    return lambda x: kernels.gram(x, arch).ntk


def theirs(arch: Architecture, deg: int, rows: int) -> Callable[[jax.Array], jax.Array]:
    """Returns x -> NTK by neural-tangents' jitted kernel function.

    By its own formula for erf and relu. Others by Gauss-Hermite quadrature with `deg`
    nodes per dimension, which does not fit in memory at once: a loop over `rows` rows.
    """
    stax = neural_tangents.load().stax
    formula = {"erf": stax.Erf, "relu": stax.Relu}.get(str(arch.activation))

    def phi():
        if formula is not None:
            return formula()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it says it is numerical
            return stax.ElementwiseNumerical(arch.phi.fn, deg)

    dense = lambda: stax.Dense(1, W_VAR**0.5, B_VAR**0.5)
    hidden = [layer for _ in range(arch.depth - 1) for layer in (dense(), phi())]
    kernel_fn = stax.serial(*hidden, dense())[2]
    if formula is not None:
        return jax.jit(lambda x: kernel_fn(x, None, "ntk"))

    block = jax.jit(lambda x1, x2: kernel_fn(x1, x2, "ntk"))
    return lambda x: jnp.concatenate(
        [block(x[i : i + rows], x) for i in range(0, x.shape[0], rows)]
    )


def floor(x: np.ndarray) -> Callable[[jax.Array], np.ndarray]:
    """Returns the symmetric product x x^T, lower half, by BLAS."""
    transposed = np.asfortranarray(x.T)
    syrk = scipy.linalg.get_blas_funcs("syrk", (transposed,))
    return lambda _: syrk(1.0, transposed, trans=1, lower=1)


def seconds(side: Callable[[jax.Array], object], x: jax.Array) -> float:
    """Returns the wall time of one evaluation."""
    begin = time.perf_counter()
    jax.block_until_ready(side(x))
    return time.perf_counter() - begin


def report(name: str, n: int, sides: dict[str, Callable], x: jax.Array, repeats: int):
    """Times the sides in turns and prints one block."""
    first = {side: seconds(fn, x) for side, fn in sides.items()}
    times = np.array(
        [[seconds(fn, x) for fn in sides.values()] for _ in range(repeats)]
    )
    spread = lambda values, digits: (
        f"{np.median(values):.{digits}f} [{values.min():.{digits}f}, "
        f"{values.max():.{digits}f}]"
    )
    print(f"{name}, N = {n}")
    for side, column in zip(sides, times.T, strict=True):
        extra = max(first[side] - np.median(column), 0.0)
        print(f"  {side:<15} {spread(1e3 * column, 1)} ms, compilation {extra:.1f} s")
    one = times[:, 0]
    for i, side in enumerate(list(sides)[1:], 1):
        label = f"ours / {side}" if side == "floor" else f"{side} / ours"
        ratio = one / times[:, i] if side == "floor" else times[:, i] / one
        print(f"  {label:<22} {spread(ratio, 2)}")


def main() -> None:
    """Runs all sides and prints times and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", default="1000,2000,4000", help="sizes, by commas")
    parser.add_argument("--inputs", type=int, default=784)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--deg", type=int, default=25, help="nodes of the quadrature")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)

    sizes = sorted(int(n) for n in args.n.split(","))
    print(f"depth {args.depth}, {args.inputs} inputs, float64, {jax.devices()[0]}")
    for name in ("erf", "relu", "gelu", "tanh"):
        numerical = name not in ("erf", "relu")
        arch = Architecture(
            depth=args.depth,
            activation=activations.get(name).name,
            w_var=W_VAR,
            b_var=B_VAR,
        )
        for n in sizes[:1] if numerical else sizes:
            host = np.random.default_rng(0).standard_normal((n, args.inputs))
            sides = {
                "ours": ours(arch),
                "neural-tangents": theirs(arch, args.deg, rows=25),
                "floor": floor(host),
            }
            repeats = min(args.repeats, 3) if numerical else args.repeats
            label = f"{name} (theirs: quadrature, deg {args.deg})"
            report(label if numerical else name, n, sides, jnp.asarray(host), repeats)


if __name__ == "__main__":
    main()
