"""What the closed-form laws cost, over the number of training images and of pixels.

    python -m benchmarks.laws --data_dir=DIR [--n 1000,4000,16000] [--sizes 14,28,40]

Seconds of `theory.first_order` and `theory.resummed` for all 10 000 test images of
MNIST, the second of two runs (the first compiles), with the accuracy integral apart;
then the exponents of N and of d, the slopes of ln seconds. p = .9, erf, depth 3,
float64.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import theory
from ntk_corrupt.data import loading

ARCH = theory.Architecture(depth=3, activation="erf")
NOISE = theory.Replacement(p=0.9, noise=theory.Uniform(-(3**0.5), 3**0.5))


def seconds(route, problem: theory.Problem) -> tuple[float, float]:
    """Returns the time of the law and of its accuracy, compiled before."""
    for _ in range(2):
        begin = time.perf_counter()
        law = jax.block_until_ready(route(ARCH, NOISE, problem))
        middle = time.perf_counter()
        law.accuracy(problem.labels_test)
    return middle - begin, time.perf_counter() - middle


def main() -> None:
    """Prints times and exponents."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="folder of the IDX files")
    parser.add_argument("--n", default="1000,4000,16000", help="training images")
    parser.add_argument("--sizes", default="14,28,40", help="pixels of a side")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    numbers = [int(n) for n in args.n.split(",")]
    sides = [int(side) for side in args.sizes.split(",")]
    routes = {"first_order": theory.first_order, "resummed": theory.resummed}
    found: dict[tuple[str, int, int], float] = {}
    print("      N     d  " + "  ".join(f"{name:>12} accuracy" for name in routes))
    cases = [(n, 28) for n in numbers] + [(4000, side) for side in sides if side != 28]
    for n, side in cases:
        problem = loading.load(
            "mnist",
            n_train=n,
            n_test=None,
            size=side,
            normalise="standardise",
            seed=0,
            data_dir=args.data_dir,
        ).astype(jnp.float64)
        line = f"{n:7d} {side**2:5d}"
        for name, route in routes.items():
            law, accuracy = seconds(route, problem)
            found[name, n, side] = law
            line += f"  {law:10.2f} s {accuracy:6.2f} s"
        print(line, flush=True)
    for name in routes:
        by_n = [found[name, n, 28] for n in numbers]
        by_d = [found[name, 4000, side] for side in sides]
        slope_n = np.polyfit(np.log(numbers), np.log(by_n), 1)[0]
        slope_d = np.polyfit(np.log(np.square(sides)), np.log(by_d), 1)[0]
        print(f"{name}: seconds grow as N^{slope_n:.2f} d^{slope_d:.2f}")


if __name__ == "__main__":
    main()
