"""Speed and memory of `theory.ntk_gram` against neural-tangents and the hardware.

    python -m benchmarks.kernels [--n 1000,2000,4000] [--dtypes float64,float32]

All sides compute the NTK gram of N standard normal points from compiled code, in one
process, in turns, with a pause before each (threads of BLAS go on spinning for a while
after a call); compilation is reported apart. Floor: one symmetric product X X^T by BLAS
(syrk), half of the multiply-adds of a plain product, and what any kernel of these
inputs has to do. Ratios above 1 mean that neural-tangents is slower. Quadrature is
timed at the smallest N alone: the reference, `ElementwiseNumerical`, takes deg^2
evaluations per entry, one block of rows at a time; how far both are apart is printed.

Then what a layer costs, as the difference of depth 10 and depth 3, over the time of
copying the half of the matrix once; and the memory that the compiled programs plan for.
"""

import argparse
import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from benchmarks import timing
from ntk_corrupt import neural_tangents
from theory.activations import registry
from theory.kernels import matrices
from theory.kernels.architecture import Architecture

W_VAR, B_VAR = 1.5, 0.1
_PAUSE = 0.2  # seconds
Side = Callable[[jax.Array], Any]


def architecture(name: str, depth: int, dtype: str) -> Architecture:
    """Returns the architecture, in the dtype of the points."""
    arch = Architecture(
        depth=depth,
        activation=registry.get(name).name,
        w_var=W_VAR,
        b_var=B_VAR,
    )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), arch)


def precision(dtype: str) -> None:
    """Switches x64 as the dtype needs: with it, neural-tangents computes float64."""
    jax.config.update("jax_enable_x64", dtype == "float64")


def points(n: int, inputs: int, dtype: str) -> np.ndarray:
    """Returns standard normal points."""
    return np.random.default_rng(0).standard_normal((n, inputs)).astype(dtype)


def ours(name: str, depth: int, dtype: str) -> Side:
    """Returns x -> NTK by `theory`."""
    arch = architecture(name, depth, dtype)
    return lambda x: matrices.ntk_gram(x, arch)


_FORMULAS = {"erf": "Erf", "relu": "Relu"}


def kernel_function(name: str, depth: int, deg: int = 25) -> Any:
    """Returns the kernel function of neural-tangents.

    By its own formula for erf and relu. Others by Gauss-Hermite quadrature with `deg`
    nodes per dimension.
    """
    stax = neural_tangents.load().stax

    def phi():
        if name in _FORMULAS:
            return getattr(stax, _FORMULAS[name])()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it says it is numerical
            return stax.ElementwiseNumerical(registry.get(name).fn, deg)

    dense = lambda: stax.Dense(1, W_VAR**0.5, B_VAR**0.5)
    hidden = [layer for _ in range(depth - 1) for layer in (dense(), phi())]
    return stax.serial(*hidden, dense())[2]


def theirs(name: str, depth: int, deg: int, rows: int) -> Side:
    """Returns x -> NTK by neural-tangents' jitted kernel function.

    Quadrature does not fit in memory at once: a loop over `rows` rows.
    """
    kernel_fn = kernel_function(name, depth, deg)
    if name in _FORMULAS:
        return jax.jit(lambda x: kernel_fn(x, None, "ntk"))

    block = jax.jit(lambda x1, x2: kernel_fn(x1, x2, "ntk"))
    return lambda x: jnp.concatenate(
        [block(x[i : i + rows], x) for i in range(0, x.shape[0], rows)]
    )


def floor(x: np.ndarray) -> Side:
    """Returns the symmetric product x x^T, lower half, by BLAS."""
    transposed = np.asfortranarray(x.T)
    syrk = scipy.linalg.get_blas_funcs("syrk", (transposed,))
    return lambda _: syrk(1.0, transposed, trans=1, lower=1)


def seconds(side: Side, x: jax.Array) -> float:
    """Returns the wall time of one evaluation, after a pause."""
    time.sleep(_PAUSE)
    begin = time.perf_counter()
    jax.block_until_ready(side(x))
    return time.perf_counter() - begin


def spread(values: np.ndarray, digits: int) -> str:
    """Returns the median and the range."""
    return (
        f"{np.median(values):.{digits}f} [{values.min():.{digits}f}, "
        f"{values.max():.{digits}f}]"
    )


def report(title: str, sides: dict[str, Side], x: jax.Array, repeats: int) -> None:
    """Times the sides in turns and prints one block."""
    first = {side: seconds(fn, x) for side, fn in sides.items()}
    times = np.array(
        [[seconds(fn, x) for fn in sides.values()] for _ in range(repeats)]
    )
    print(f"{title}, N = {len(x)}")
    for side, column in zip(sides, times.T, strict=True):
        extra = max(first[side] - np.median(column), 0.0)
        print(f"  {side:<15} {spread(1e3 * column, 1)} ms, compilation {extra:.1f} s")
    one = times[:, 0]
    for i, side in enumerate(list(sides)[1:], 1):
        label = f"ours / {side}" if side == "floor" else f"{side} / ours"
        ratio = one / times[:, i] if side == "floor" else times[:, i] / one
        print(f"  {label:<22} {spread(ratio, 2)}", flush=True)


def _copy(target: np.ndarray, source: np.ndarray, _: jax.Array) -> None:
    np.copyto(target, source)


def layers(args: argparse.Namespace, n: int) -> None:
    """Prints the cost of one more layer over that of copying half the matrix."""
    for dtype in args.dtypes.split(","):
        precision(dtype)
        x = jnp.asarray(points(n, args.inputs, dtype))
        half = np.zeros(n * n // 2, dtype)
        target = np.ones_like(half)
        for name in ("erf", "relu"):
            sides = [ours(name, depth, dtype) for depth in (3, 10)]
            sides.append(functools.partial(_copy, target, half))
            for side in sides:
                seconds(side, x)
            times = np.array(
                [[seconds(side, x) for side in sides] for _ in range(args.repeats)]
            )
            layer = (times[:, 1] - times[:, 0]) / 7
            print(
                f"one more layer, {name}, {dtype}, N = {n}: {spread(1e3 * layer, 1)} "
                f"ms, {spread(2e9 * layer / n**2, 2)} ns an entry; over one copy: "
                f"{spread(layer / times[:, 2], 2)}",
                flush=True,
            )


def _matrices(side: str, name: str, n: int, inputs: int, dtype: str) -> float:
    """Returns what the compiled programs hold beside the points, in n x n matrices."""
    x = jax.ShapeDtypeStruct((n, inputs), dtype)
    if side == "ours":
        arch = architecture(name, 3, dtype)
        upper = matrices._upper.lower(x, arch, kinds=("ntk",)).compile()
        whole = {"ntk": jax.ShapeDtypeStruct((n, n), dtype)}
        programs = [upper, matrices._mirrored.lower(whole).compile()]
    else:
        jitted: Any = theirs(name, 3, 25, 25)
        programs = [jitted.lower(x).compile()]
    plans: list[Any] = [program.memory_analysis() for program in programs]
    held = [plan.output_size_in_bytes + plan.temp_size_in_bytes for plan in plans]
    return max(held) / (n**2 * np.dtype(dtype).itemsize)


def memory(args: argparse.Namespace, n: int) -> None:
    """Prints the memory of both sides."""
    for dtype in args.dtypes.split(","):
        precision(dtype)
        for name in ("erf", "relu"):
            one, other = (
                _matrices(side, name, n, args.inputs, dtype)
                for side in ("ours", "neural-tangents")
            )
            print(
                f"memory, {name}, {dtype}, N = {n}: ours {one:.2f} matrices, "
                f"neural-tangents {other:.2f}, ratio {other / one:.2f}",
                flush=True,
            )


def main() -> None:
    """Runs all sides and prints times and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", default="1000,2000,4000", help="sizes, by commas")
    parser.add_argument("--dtypes", default="float64,float32", help="by commas")
    parser.add_argument("--activations", default="erf,relu,gelu,tanh")
    parser.add_argument("--inputs", type=int, default=784)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--parts", default="times,layers,memory", help="what to measure, by commas"
    )
    parser.add_argument("--deg", type=int, default=25, help="nodes of the quadrature")
    args = parser.parse_args()

    sizes = sorted(int(n) for n in args.n.split(","))
    print(f"depth {args.depth}, {args.inputs} inputs, {timing.machine()}")
    parts = args.parts.split(",")
    for name in args.activations.split(",") if "times" in parts else ():
        numerical = name not in ("erf", "relu")
        for dtype in args.dtypes.split(",")[: 1 if numerical else None]:
            precision(dtype)
            for n in sizes[:1] if numerical else sizes:
                host = points(n, args.inputs, dtype)
                sides = {
                    "ours": ours(name, args.depth, dtype),
                    "neural-tangents": theirs(name, args.depth, args.deg, rows=25),
                    "floor": floor(host),
                }
                repeats = min(args.repeats, 3) if numerical else args.repeats
                label = f"{name}, {dtype}"
                x = jnp.asarray(host)
                if numerical:
                    gap = sides["neural-tangents"](x[:50]) - sides["ours"](x[:50])
                    label += (
                        f" (theirs: quadrature, deg {args.deg}, differs by "
                        f"{float(jnp.abs(gap).max()):.1e})"
                    )
                report(label, sides, x, repeats)
    if "layers" in parts:
        layers(args, sizes[-1])
    if "memory" in parts:
        memory(args, sizes[-1])


if __name__ == "__main__":
    main()
