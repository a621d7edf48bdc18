"""Speed and memory of the empirical NTK against neural-tangents' implementations.

    python -m benchmarks.empirical [--n 32,64,128] [--large]

Both sides compute the NTK between all outputs of N points, (N, C, N, C) in our order,
from compiled code in one process, in turns: neural-tangents by Jacobians (1), by
NTK-vector products (2) and by structured derivatives (3). Ratios above 1 mean that ours
is faster or holds less; memory is what the compiled programs plan for beside their
arguments. Floor: for each layer one product of the derivatives of all outputs, N C rows
of its width, with themselves. --large computes N = 1 000 points of a network of a
million parameters and prints time and the memory of the process.
"""

import argparse
import functools
import resource
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.kernels import spread
from ntk_corrupt import neural_tangents
from ntk_corrupt.kernels import empirical
from ntk_corrupt.networks import mlp
from theory.kernels.architecture import Architecture

CLASSES, INPUTS = 10, 784


def network(width: int, depth: int) -> tuple[mlp.MLP, Any]:
    """Returns a network in the standard parametrisation and its parameters."""
    arch = Architecture(depth=depth, activation="relu", w_var=2.0)
    model = mlp.mlp(arch, width, CLASSES)
    params = model.init(jax.random.key(0), jnp.zeros((1, INPUTS), jnp.float32))
    return model, params


def points(n: int) -> jax.Array:
    """Returns standard normal points."""
    return jax.random.normal(jax.random.key(1), (n, INPUTS), jnp.float32)


def sides(model: mlp.MLP, params: Any) -> dict[str, Any]:
    """Returns jitted functions x -> NTK by name."""
    nt = neural_tangents.load()
    found = {"ours": jax.jit(lambda x: empirical.ntk(model, params, x, "all"))}
    for number in (1, 2, 3):
        theirs = nt.empirical_ntk_fn(
            lambda params, x: model.apply(params, x),
            trace_axes=(),
            vmap_axes=0,
            implementation=number,
        )
        found[f"neural-tangents {number}"] = jax.jit(
            functools.partial(lambda fn, x: fn(x, None, params), theirs)
        )
    return found


def floor(width: int, depth: int, n: int) -> Any:
    """Returns the products that no route by outputs can do without."""
    rows = jax.random.normal(jax.random.key(2), (n * CLASSES, width), jnp.float32)
    product = jax.jit(lambda rows: [(rows + i) @ rows.T for i in range(depth - 1)])
    return lambda _: product(rows)


def seconds(side: Any, x: jax.Array) -> float:
    """Returns the wall time of one evaluation."""
    begin = time.perf_counter()
    jax.block_until_ready(side(x))
    return time.perf_counter() - begin


def planned(side: Any, x: jax.Array) -> float:
    """Returns the bytes that the compiled program holds beside its arguments."""
    plan: Any = side.lower(x).compile().memory_analysis()
    return plan.output_size_in_bytes + plan.temp_size_in_bytes


def main() -> None:
    """Prints times, memory and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", default="32,64,128", help="points, by commas")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--large", action="store_true", help="1 000 points, width 800")
    args = parser.parse_args()
    if args.large:
        model, params = network(800, 3)
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        x = points(1000)
        for outputs in empirical.OUTPUTS:
            side = functools.partial(empirical.ntk, model, params, outputs=outputs)
            first, again = seconds(side, x), seconds(side, x)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(
                f"{outputs}: 1 000 points, {size} parameters, {again:.1f} s "
                f"(compilation {max(first - again, 0):.1f} s), peak {peak:.1f} GiB; "
                f"the Jacobian alone {4e3 * CLASSES * size / 2**30:.0f} GiB"
            )
        return
    model, params = network(args.width, args.depth)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(
        f"depth {args.depth}, width {args.width}, {size} parameters, {CLASSES} outputs"
    )
    for n in (int(n) for n in args.n.split(",")):
        x, named = points(n), sides(model, params)
        everything = {**named, "floor": floor(args.width, args.depth, n)}
        results = {name: np.asarray(side(x)) for name, side in named.items()}
        times = np.array(
            [
                [seconds(s, x) for s in everything.values()]
                for _ in range(args.repeats + 1)
            ]
        )[1:]
        ours, held = times[:, 0], planned(named["ours"], x)
        print(f"N = {n}: ours {spread(1e3 * ours, 1)} ms, {held / 2**20:.0f} MiB")
        for i, name in enumerate(list(named)[1:], 1):
            theirs = np.moveaxis(results[name], 1, 2)
            gap = np.abs(theirs - results["ours"]).max() / np.abs(theirs).max()
            print(
                f"  {name} / ours: {spread(times[:, i] / ours, 2)}, memory "
                f"{planned(named[name], x) / held:.1f}; differ by {gap:.0e}",
                flush=True,
            )
        print(f"  ours / floor: {spread(ours / times[:, -1], 2)}", flush=True)


if __name__ == "__main__":
    main()
