"""Variance over initialisations of linearised networks, beside the law of their width.

    python -m benchmarks.finite_width [--activations=erf,relu] [--depths=2,3,4] ...

Networks in the NTK parametrisation, each solved with the tangent kernel of all its
outputs from its own start, on one set of corrupted digits (14 x 14 pixels). Printed for
every ratio of points to units: variance over initialisations of infinite width, of the
networks with its standard error, and of `theory.exact(width=...)`; what the start and
what the kernel contribute; and the slope of the networks' mean against the law's.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

import theory
from ntk_corrupt.data import loading
from ntk_corrupt.ensembles import linearised
from theory.keys import stream

W_VAR, B_VAR = 1.5, 0.1


def problem(n: int, classes: int, size: int, data_dir: str | None) -> theory.Problem:
    """Returns images of some classes, the same in every run."""
    found = loading.load(
        "mnist",
        n_train=n,
        n_test=60,
        classes=tuple(range(classes)),
        size=size,
        data_dir=data_dir,
    )
    return found.astype(jnp.float64)


def variance(outputs: np.ndarray) -> tuple[float, float]:
    """Returns the variance over initialisations, and its jackknife error."""
    groups = np.array_split(np.arange(len(outputs)), 10)
    of = lambda kept: outputs[kept].var(axis=0, ddof=1).mean()
    every = np.arange(len(outputs))
    left = np.array([of(np.setdiff1d(every, group)) for group in groups])
    error = np.sqrt(0.9 * ((left - left.mean()) ** 2).sum())
    return float(of(every)), float(error)


def line(arch, corruption, data, ratio: float, inits: int, key) -> str:
    """One ratio of points to units: law and networks."""
    n, c = len(data.x_train), data.num_classes
    width = round(n / ratio)
    law = theory.exact(arch, corruption, data, draws=1, key=key, width=width)
    assert law.init_var is not None
    assert law.kernel_cov is not None
    nets = linearised.measure_linearised(
        arch, corruption, data, width=width, draws=1, inits=inits, key=key
    )
    measured, error = variance(np.asarray(nets.outputs[0]))
    kernel = float(jnp.trace(law.kernel_cov, axis1=-2, axis2=-1).mean()) / c
    predicted = float(law.init_var.mean()) + kernel
    means = np.asarray(nets.outputs[0]).mean(axis=0)
    slope = theory.fit_line(np.asarray(law.outputs[0, 0]), means).slope
    remainder = float(law.diagnostics["remainder"][0])
    return (
        f"{ratio:>6g}{width:>7d}{measured:>10.4f} +- {error:.4f}{predicted:>9.4f}"
        f"{predicted / measured - 1:>+8.1%} +- {error / measured:.1%}{kernel:>9.4f}"
        f"{remainder * predicted:>9.4f}{slope:>8.3f}"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--activations", default="erf,relu", help="by commas")
    parser.add_argument("--depths", default="2", help="by commas")
    parser.add_argument("--n", default="100,200,400", help="training images, by commas")
    parser.add_argument("--p", default="0.5,0.9", help="by commas")
    parser.add_argument("--ratios", default="0.25,0.5,1,2", help="images per unit")
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--size", type=int, default=14)
    parser.add_argument("--inits", type=int, default=100)
    parser.add_argument("--data_dir")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    split = lambda text, of: [of(part) for part in text.split(",")]
    for n in split(args.n, int):
        data = problem(n, args.classes, args.size, args.data_dir)
        for name in split(args.activations, str):
            for depth in split(args.depths, int):
                arch = theory.Architecture(
                    depth=depth, activation=name, w_var=W_VAR, b_var=B_VAR
                )
                for p in split(args.p, float):
                    corruption = theory.Replacement(p=p, noise=theory.Normal())
                    key = stream(jax.random.key(0), f"{n} {p}")
                    wide = theory.exact(arch, corruption, data, draws=1, key=key)
                    assert wide.init_var is not None
                    print(
                        f"{name}, depth {depth}, N = {n}, p = {p:g}, "
                        f"{args.inits} networks; infinite width "
                        f"{float(wide.init_var.mean()):.4f}\n"
                        f"{'N/n':>6}{'n':>7}{'networks':>10}{'law':>19}{'law/networks':>14}"
                        f"{'kernel':>15}{'1/n':>9}{'slope':>8}"
                    )
                    for ratio in split(args.ratios, float):
                        print(
                            line(arch, corruption, data, ratio, args.inits, key),
                            flush=True,
                        )


if __name__ == "__main__":
    main()
