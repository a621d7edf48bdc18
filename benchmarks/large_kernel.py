"""The exact kernel of all of MNIST, and the law beside it: time, memory, residual.

    python -m benchmarks.large_kernel --data_dir=DIR [--n_train N] [--p P] [--factor]

One corruption draw, float32, `theory.exact_iterative` by conjugate gradients or, with
--factor, by Cholesky in place: seconds of each stage, products, residual by the
recursion and anew in float64, peak memory of the process so far, and the accuracy of
the average over initialisations and of one network; then the resummed law on the same
images. Floors: a product of two large matrices of float32 by the same library, for the
kernel and the factor.
"""

import argparse
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np

import theory
from ntk_corrupt.data import loading
from theory.routes.exact import tiles


class Stages:
    """A progress callback that remembers when each stage began, and counts."""

    def __init__(self):
        """Starts the clock."""
        self.begin = time.perf_counter()
        self.marks: list[tuple[str, float, int]] = []

    def __call__(self, what: str, done: int, of: int) -> None:
        """Called by the route."""
        now = time.perf_counter() - self.begin
        # a stage that starts again is another one
        if self.marks and self.marks[-1][0] == what and self.marks[-1][2] < done:
            self.marks[-1] = (what, now, done)
        else:
            self.marks.append((what, now, done))


def peak_gib() -> float:
    """Returns the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def gflops(n: int, d: int) -> float:
    """Returns the rate of a product (n, d) x (d, n) in float32, 1e9/s, best of 5."""
    x = jnp.ones((n, d), jnp.float32)
    product = jax.jit(lambda x: x @ x.T)
    jax.block_until_ready(product(x))
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        jax.block_until_ready(product(x))
        times.append(time.perf_counter() - begin)
    return 2 * n**2 * d / min(times) / 1e9


def kernel(args: argparse.Namespace, arch, noise, problem, some: np.ndarray) -> None:
    """Runs the exact kernel and prints what its stages took, and its accuracy."""
    n, d = problem.x_train.shape
    m = len(problem.labels_test)
    rate = gflops(4096, d)
    half = tiles.storage(n, np.dtype("float32"))
    print(
        f"N = {n}, d = {d}, {m} test points, p = {args.p}, {args.activation}, depth 3, "
        f"{jax.devices()[0]}; half a kernel {half / 2**30:.2f} GiB\n"
        f"product in float32: {rate:.0f} GFLOP/s, so the half kernel takes at least "
        f"{n**2 * d / rate / 1e9:.0f} s, the outputs {2 * n * m * d / rate / 1e9:.0f} "
        f"s, a factor {n**3 / 3 / rate / 1e9:.0f} s"
    )
    stages = Stages()
    draws = theory.exact_iterative(
        arch,
        noise,
        problem,
        draws=1,
        key=jax.random.key(0),
        solver=theory.Cholesky()
        if args.factor
        else theory.ConjugateGradient(tolerance=args.tolerance),
        refine=args.refine,
        init_var_at=some if len(some) else None,
        progress=stages,
    )
    total = time.perf_counter() - stages.begin
    before = 0.0
    for what, end, count in stages.marks:
        print(f"  {what:<8} {count:4d} steps, {end - before:7.1f} s")
        before = end
    print(f"  {'the rest':<8} {'':10} {total - before:7.1f} s\n  total {total:.1f} s")
    values = {name: float(part[0]) for name, part in draws.diagnostics.items()}
    print(
        f"residual {values['residual']:.1e}, anew in float64 "
        f"{values['audited_residual']:.1e}; peak memory {peak_gib():.1f} GiB"
    )
    print(f"accuracy, all initialisations: {draws.accuracy(problem.labels_test):.4f}")
    if draws.init_var is not None:
        few = draws.known_points()
        one = few.accuracy(problem.labels_test[some], inits=1)
        print(
            f"one network, at {len(some)} of the points: {one:.4f}; mean variance over "
            f"initialisations {float(draws.init_var.mean()):.5f}, residual of its rows "
            f"{values.get('init_var_residual', 0):.1e}"
        )


def law(arch, noise, problem, some: np.ndarray) -> None:
    """Runs the resummed law and prints its accuracy, beside at the same points."""
    begin = time.perf_counter()
    found = theory.resummed(arch, noise, problem.astype(jnp.float64))
    accuracy = found.accuracy(problem.labels_test)
    single = found.averaged(1).accuracy(problem.labels_test)
    print(
        f"resummed law: {accuracy:.4f}, one network {single:.4f}, at the same points "
        f"{float(found.averaged(1).per_point(problem.labels_test)[some].mean()):.4f}, "
        f"variance {float(np.asarray(found.init_var)[some].mean()):.5f}; "
        f"{time.perf_counter() - begin:.1f} s, peak memory {peak_gib():.1f} GiB"
    )


def main() -> None:
    """Runs kernel and law and prints what they took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="folder of the IDX files")
    parser.add_argument("--n_train", type=int, default=60_000)
    parser.add_argument("--p", type=float, default=0.9)
    parser.add_argument("--activation", default="erf")
    parser.add_argument("--init_var_points", type=int, default=200)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--factor", action="store_true", help="Cholesky in place")
    parser.add_argument("--refine", type=int, default=0, help="steps in float64")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)

    full = args.n_train == 60_000
    problem = loading.load(
        "mnist",
        n_train=None if full else args.n_train,
        n_test=None,
        normalise="standardise",
        seed=0,
        data_dir=args.data_dir,
    ).astype(jnp.float32)
    arch = theory.Architecture(depth=3, activation=args.activation)
    noise = theory.Replacement(p=args.p, noise=theory.Uniform(-(3**0.5), 3**0.5))
    m = len(problem.labels_test)
    some = np.linspace(0, m - 1, min(args.init_var_points, m)).astype(int)
    kernel(args, arch, noise, problem, some)
    law(arch, noise, problem, some)


if __name__ == "__main__":
    main()
