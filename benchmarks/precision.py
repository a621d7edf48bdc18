"""How right kernel entries of nearly parallel, tiny and huge points are, at any depth.

    python -m benchmarks.precision [--depths 2,3,10,60,200]

Entries of `theory.nngp_ntk` and `theory.gram` between a point and another at a relative
distance of 1e-1 to 1e-12, against the same recursion with 60 digits in mpmath. Printed:
the largest relative error over the distances, in units of the dtype's eps, by
activation, dtype, depth and scale of the points. Where the exact map of angles is
chaotic (step; erf of weight variance above pi/4) errors grow with depth in any
arithmetic.
"""

import argparse

import jax
import jax.numpy as jnp
import mpmath
import numpy as np

import theory

W_VAR, B_VAR = 1.7, 0.1
GAPS = (1e-1, 1e-2, 1e-3, 1e-5, 1e-7, 1e-9, 1e-12)
NAMES = ("relu", "leaky_relu", "step", "erf", "gelu", "gaussian")
_DIGITS = 60


def _angles(q1, q2, cov):
    """sqrt(q1 q2), sine and angle of a pair of vectors."""
    length = mpmath.sqrt(q1 * q2)
    angle = mpmath.acos(max(-1, min(1, cov / length)))
    return length * mpmath.sin(angle), angle


def _relu(q1, q2, cov):
    sine, angle = _angles(q1, q2, cov)
    slope = (mpmath.pi - angle) / (2 * mpmath.pi)
    return sine / (2 * mpmath.pi) + slope * cov, slope


def _leaky_relu(q1, q2, cov):
    (value, slope), a = _relu(q1, q2, cov), mpmath.mpf(0.01)
    return a * cov + (1 - a) ** 2 * value, a + (1 - a) ** 2 * slope


def _step(q1, q2, cov):
    return _relu(q1, q2, cov)[1], mpmath.mpf(0)


def _erf(q1, q2, cov):
    whole = (1 + 2 * q1) * (1 + 2 * q2)
    root = mpmath.sqrt(whole - 4 * cov**2)
    value = mpmath.asin(2 * cov / mpmath.sqrt(whole))
    return 2 / mpmath.pi * value, 4 / mpmath.pi / root


def _gaussian(q1, q2, cov):
    det = (1 + 2 * q1) * (1 + 2 * q2) - 4 * cov**2
    return 1 / mpmath.sqrt(det), 4 * cov / det ** mpmath.mpf("1.5")


def _gelu(q1, q2, cov):
    whole = (1 + q1) * (1 + q2)
    root = mpmath.sqrt(whole - cov**2)
    density = 1 / (2 * mpmath.pi * root)
    both = 0.25 + mpmath.asin(cov / mpmath.sqrt(whole)) / (2 * mpmath.pi)
    one, two = cov / (1 + q1) * density, cov / (1 + q2) * density
    value = q1 * (q2 * density - cov * one) + cov * (both + two)
    return value, both + one + two + cov / root**2 * density


_DUALS = {
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "step": _step,
    "erf": _erf,
    "gelu": _gelu,
    "gaussian": _gaussian,
}


@mpmath.workdps(_DIGITS)
def entry(name: str, x: np.ndarray, arch: theory.Architecture):
    """NNGP and NTK of the two points of x (2, d), with 60 digits."""
    dual = _DUALS[name]
    w, b = (mpmath.mpf(float(part)) for part in (arch.w_var, arch.b_var))
    one, two = ([mpmath.mpf(float(part)) for part in row] for row in x)
    product = lambda u, v: b + w * mpmath.fdot(u, v) / len(u)
    q1, q2, cov = product(one, one), product(two, two), product(one, two)
    ntk = cov
    for _ in range(arch.depth - 1):
        value, slope = dual(q1, q2, cov)
        q1, q2 = (b + w * dual(q, q, q)[0] for q in (q1, q2))
        cov, ntk = b + w * value, b + w * value + w * slope * ntk
    return cov, ntk


def error(name: str, depth: int, dtype: str, scale: float, gap: float) -> float:
    """The largest relative error of the entries of a pair of points, over eps.

    Of entries that the dtype can hold; infinite for NaN.
    """
    rng = np.random.default_rng(round(-np.log10(gap)))
    point, other = rng.normal(size=(2, 5))
    x = (scale * np.stack([point, point + gap * other])).astype(dtype)
    limits, w_var, b_var = jnp.finfo(dtype), *np.array([W_VAR, B_VAR], dtype)
    arch = theory.Architecture(depth=depth, activation=name, w_var=w_var, b_var=b_var)
    with mpmath.workdps(_DIGITS):
        right = dict(zip(("nngp", "ntk"), entry(name, x, arch), strict=True))
        points, worst = jnp.asarray(x), 0.0
        if name == "step":
            found = [{"nngp": theory.nngp(points[:1], points[1:], arch)}]
        else:
            pairs = (
                theory.nngp_ntk(points[:1], points[1:], arch),
                theory.gram(points, arch),
            )
            found = [{kind: getattr(pair, kind) for kind in right} for pair in pairs]
        for kinds in found:
            for kind, matrix in kinds.items():
                if not limits.tiny < abs(right[kind]) < limits.max:
                    continue
                got = float(matrix[0, -1])
                if not np.isfinite(got):
                    return np.inf
                relative = abs(mpmath.mpf(got) / right[kind] - 1)
                worst = max(worst, float(relative))
    return worst / float(limits.eps)


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depths", default="2,3,10,60,200")
    parser.add_argument("--scales", default="1e-15,1e-5,1,1e5,1e15")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    scales = [float(scale) for scale in args.scales.split(",")]
    depths = [int(depth) for depth in args.depths.split(",")]
    print(f"{'error / eps':<24}{'depth':>6}" + "".join(f"{s:>10.0e}" for s in scales))
    for name in NAMES:
        for dtype in ("float64", "float32"):
            for depth in depths:
                errors = [
                    max(error(name, depth, dtype, scale, gap) for gap in GAPS)
                    for scale in scales
                ]
                line = "".join(f"{each:>10.3g}" for each in errors)
                print(f"{name:<14}{dtype:<10}{depth:>6}{line}", flush=True)


if __name__ == "__main__":
    main()
