"""Everything that has a peer, in one table: ours | peer | floor, in milliseconds.

    python -m benchmarks.summary [--parts kernels,exact,architectures,ensembles]

`make bench`, meant for ten minutes on two quiet cores. Sides are timed in turns in one
process, from compiled code; each number is the least of several repeats. The peer is
neural-tangents, of ensembles the same members trained one by one. `peer / ours` says
how many times faster ours is, and `ours / floor` how far from what is possible.

Floors are times of this machine, measured beside, for the operations that no way of
computing the same can leave out, as if nothing else cost anything:

* kernels: one symmetric product of the points (BLAS, syrk), and for half of the
  entries one dual a hidden layer, each at the time it takes inside the cache;
* exact: a kernel as above, n^3/3 multiply-adds of a Cholesky factor at the speed of a
  large product, a product of test and training points, and a dual an entry;
* architectures: one dual an activation, of half of the pairs of images and all their
  positions;
* ensembles: the matrix products of all steps, see `benchmarks.ensembles`.

The load says how busy the machine was: above 1 at the start others ran beside, and
numbers of seconds are too large; ratios suffer less.
"""

import argparse
import functools
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import theory
from benchmarks import architectures as stacks
from benchmarks import ensembles, kernels, timing
from ntk_corrupt import neural_tangents
from theory import architectures
from theory.problem import Problem

_CACHED = 128, 256  # entries of an array that stays in the cache


@functools.cache
def dual_seconds(name: str, dtype: str) -> float:
    """Returns the time of one dual of an entry, within the cache."""
    dual = kernels.architecture(name, 2, dtype).phi.dual
    cov = jnp.asarray(np.random.default_rng(0).uniform(-0.9, 0.9, _CACHED), dtype)
    one = jnp.ones_like(cov)
    side = jax.jit(lambda cov: dual.pair(one, one, cov))
    taken = timing.minima({"dual": lambda: side(cov)}, repeats=200)
    return taken["dual"] / cov.size


@functools.cache
def product_seconds(dtype: str) -> float:
    """Returns the time of a multiply-add of a large product."""
    a = jnp.asarray(kernels.points(2048, 2048, dtype))
    side = jax.jit(lambda a: a @ a)
    taken = timing.minima({"product": lambda: side(a)}, repeats=7)
    return taken["product"] / 2048**3


def gram_times(name: str, dtype: str, n: int, repeats: int) -> dict[str, float]:
    """Returns the times of the NTK of points with themselves, depth 3, d = 784."""
    host = kernels.points(n, 784, dtype)
    x = jnp.asarray(host)
    sides = {
        "ours": kernels.ours(name, 3, dtype),
        "peer": kernels.theirs(name, 3, 25, rows=25),
        "floor": kernels.floor(host),
    }
    taken = timing.minima(
        {side: functools.partial(fn, x) for side, fn in sides.items()},
        repeats=repeats,
        pause=0.2 if n > 1000 else 0.05,
    )
    taken["floor"] += 2 * n**2 / 2 * dual_seconds(name, dtype)
    return taken


def exact_times(n: int, repeats: int) -> dict[str, float]:
    """Returns the times of a kernel regression, mean only, 2 n test points."""
    rng, d, test, dtype = np.random.default_rng(0), 784, 2 * n, "float64"
    labels = np.arange(n + test) % 10
    x = jnp.asarray(rng.standard_normal((n + test, d)) + labels[:, None] % 2)
    problem = Problem(
        x_train=x[:n],
        labels_train=jnp.asarray(labels[:n], jnp.int32),
        x_test=x[n:],
        labels_test=jnp.asarray(labels[n:], jnp.int32),
        num_classes=10,
    )
    arch = kernels.architecture("erf", 3, dtype)
    noise = theory.Replacement(p=0.0)
    nt = neural_tangents.load()
    kernel_fn = kernels.kernel_function("erf", 3)

    @jax.jit
    def theirs(x, y, x_test):
        predict = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x, y)
        return predict(x_test=x_test, get="ntk", compute_cov=False)

    taken = timing.minima(
        {
            "ours": lambda: (
                theory.exact(
                    arch,
                    noise,
                    problem,
                    draws=1,
                    key=jax.random.key(0),
                    with_init_var=False,
                ).outputs
            ),
            "peer": lambda: theirs(problem.x_train, problem.y, problem.x_test),
        },
        repeats=repeats,
    )
    entries = n**2 / 2 + n * test
    multiplied = entries * d + n**3 / 3
    each = 2 * dual_seconds("erf", dtype)
    return taken | {"floor": multiplied * product_seconds(dtype) + entries * each}


def stack_times(name: str, activation: str, repeats: int) -> dict[str, float]:
    """Returns the times of both kernels of 100 images of 8 x 8."""
    n, dtype = 100, "float64"
    settings = stacks.STACKS[name]
    stack = architectures.convolutional(
        shape=(8, 8, 1),
        activation=activation,
        w_var=jnp.asarray(1.5),
        b_var=jnp.asarray(0.1),
        **settings,
    )
    x = jax.random.normal(jax.random.key(0), (n, 64), dtype)
    whole, images = stacks.theirs(stack), x.reshape(-1, *stack.shape)
    other = jax.jit(lambda x: whole(x, None, ("nngp", "ntk")))
    taken = timing.minima(
        {
            "ours": lambda: architectures.gram(x, stack),
            "peer": lambda: other(images),
        },
        repeats=repeats,
    )
    pooled = "pooling" in settings
    # 2 x 2 averages follow the only activation
    duals = (settings["depth"] - 1) * 64 ** (2 if pooled else 1) * n**2 / 2
    return taken | {"floor": duals * dual_seconds(activation, dtype)}


def _kernels(repeats: int) -> None:
    sizes = {"erf": (500, 1000, 2000, 4000), "relu": (1000, 4000)}
    for dtype in ("float64", "float32"):
        kernels.precision(dtype)
        for name, several in sizes.items():
            for n in several:
                taken = gram_times(name, dtype, n, repeats)
                print(timing.shown(f"NTK, {name}, {dtype}, N = {n}", taken), flush=True)
    for dtype in ("float64", "float32"):
        kernels.precision(dtype)
        each = {name: 1e9 * dual_seconds(name, dtype) for name in ("erf", "relu")}
        print(
            f"{dtype}: a product {2e-9 / product_seconds(dtype):.0f} GFLOP/s, a dual "
            + ", ".join(f"{name} {took:.2f} ns" for name, took in each.items()),
            flush=True,
        )


def _exact(repeats: int) -> None:
    kernels.precision("float64")
    taken = exact_times(4000, min(3, repeats))
    print(timing.shown("exact, mean only, N = 4000, 8000 points", taken), flush=True)


def _architectures(repeats: int) -> None:
    kernels.precision("float64")
    named = [("erf", name) for name in stacks.STACKS] + [("relu", "two convolutions")]
    for activation, name in named:
        few = min(3, repeats) if "pooling" in stacks.STACKS[name] else repeats
        taken = stack_times(name, activation, few)
        print(timing.shown(f"{name}, {activation}, float64", taken), flush=True)


def _ensembles(repeats: int) -> None:
    kernels.precision("float32")
    for width in (128, 512):
        args = ensembles.arguments([f"--repeats={min(3, repeats)}"])
        measured = ensembles.measured(args, width)
        name = f"ensemble, width {width}, {measured.steps} steps"
        print(timing.shown(name, measured.least()), flush=True)


PARTS: dict[str, Any] = {
    "kernels": _kernels,
    "exact": _exact,
    "architectures": _architectures,
    "ensembles": _ensembles,
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="by commas")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    begin = time.monotonic()
    print(timing.machine())
    print(f"load at the start {timing.load():.2f} (quiet: below 1)")
    print(f"{'least milliseconds':38s} {'ours':>10} | {'peer':>10} | {'floor':>10}")
    for part in args.parts.split(","):
        PARTS[part](args.repeats)
    minutes = math.ceil((time.monotonic() - begin) / 60)
    print(f"{minutes} min, load at the end {timing.load():.2f}")


if __name__ == "__main__":
    main()
