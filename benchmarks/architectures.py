"""Speed and memory of the kernels of stacks against neural-tangents.

    python -m benchmarks.architectures [--n 100] [--side 8] [--dtypes float64,float32]

Both kernels of N images with themselves (ours: `architectures.gram`, half of the
pairs), from compiled code in one process, in turns. Ratios above 1 mean that ours is
faster; memory is what the compiled programs plan for beside their arguments, ours and
theirs; theirs holds whole blocks of pairs of positions, ours what the caches hold.
"""

import argparse
import functools
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from benchmarks.kernels import spread
from ntk_corrupt import neural_tangents
from theory import architectures
from theory.architectures import kernels

STACKS: dict[str, dict[str, Any]] = {
    "one convolution": dict(depth=2),
    "two convolutions": dict(depth=3),
    "residual": dict(depth=4, residual=True),
    "2 x 2 averages": dict(depth=2, pooling="local"),
    "global average": dict(depth=2, pooling="global"),
}


def theirs(stack: architectures.Stack) -> Any:
    """Returns the kernel function of neural-tangents for the same network."""
    stax = neural_tangents.load().stax
    std = dict(W_std=math.sqrt(stack.w_var), b_std=math.sqrt(stack.b_var))
    phi = {"relu": stax.Relu, "erf": stax.Erf}[str(stack.activation)]

    def layer(of: Any) -> Any:
        match of:
            case architectures.Phi():
                return phi()
            case architectures.Convolution():
                kind = stax.Conv if of.shared else stax.ConvLocal
                sides = (of.size,) * 2, (of.stride,) * 2
                return kind(1, *sides, padding=of.padding.upper(), **std)
            case architectures.AveragePooling():
                return stax.AvgPool((of.size,) * 2, (of.size,) * 2)
            case architectures.GlobalAverage():
                return stax.GlobalAvgPool()
            case architectures.Flatten():
                return stax.Flatten()
            case architectures.Dense():
                return stax.Dense(1, **std)
        branch = stax.serial(*map(layer, of.layers))
        both = stax.parallel(stax.Identity(), branch)
        return stax.serial(stax.FanOut(2), both, stax.FanInSum())

    return stax.serial(*map(layer, stack.layers))[2]


def seconds(side: Any, x: jax.Array) -> float:
    """Returns the wall time of one evaluation."""
    begin = time.perf_counter()
    jax.block_until_ready(side(x))
    return time.perf_counter() - begin


def planned(compiled: Any) -> float:
    """Returns the bytes that a program holds beside its arguments."""
    plan = compiled.memory_analysis()
    return plan.output_size_in_bytes + plan.temp_size_in_bytes


def compare(stack: architectures.Stack, x: jax.Array, repeats: int) -> str:
    """Returns a line: seconds, ratio with its range, memory of both."""
    whole = theirs(stack)
    images = x.reshape(-1, *stack.shape)
    other = jax.jit(lambda x: whole(x, None, ("nngp", "ntk")))
    block = kernels._block(stack, len(x), len(x), x.dtype.itemsize)
    ours = functools.partial(architectures.gram, stack=stack)
    sides = {"ours": (ours, x), "theirs": (other, images)}
    for side, points in sides.values():
        seconds(side, points)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, (side, points) in sides.items():
            taken[name].append(seconds(side, points))
    ratios = np.array(taken["theirs"]) / np.array(taken["ours"])
    mine = kernels._filled.lower(x, x, stack, own=True, block=block).compile()
    memory = [planned(mine), planned(other.lower(images).compile())]
    ours_seconds, ratio = np.median(taken["ours"]), spread(ratios, 2)
    return (
        f"{ours_seconds:8.3f} s  neural-tangents / ours {ratio}  "
        f"{memory[0] / 2**20:6.0f} | {memory[1] / 2**20:6.0f} MiB"
    )


def main() -> None:
    """Prints a line for each architecture, activation and dtype."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="images")
    parser.add_argument("--side", type=int, default=8, help="pixels of a side")
    parser.add_argument("--dtypes", default="float64,float32")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print(timing.machine())
    shape = (args.side, args.side, 1)
    for dtype in args.dtypes.split(","):
        x = jax.random.normal(jax.random.key(0), (args.n, args.side**2), dtype)
        for activation in ("erf", "relu"):
            for name, settings in STACKS.items():
                scalar = jnp.asarray(1.5, dtype), jnp.asarray(0.1, dtype)
                stack = architectures.convolutional(
                    shape=shape,
                    activation=activation,
                    w_var=scalar[0],
                    b_var=scalar[1],
                    **settings,
                )
                line = compare(stack, x, args.repeats)
                print(f"{dtype} {activation:5s} {name:18s} {line}", flush=True)


if __name__ == "__main__":
    main()
