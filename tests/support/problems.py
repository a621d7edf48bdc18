"""Small problems and two-line oracles that several test files share."""

import contextlib
import math

import jax
import numpy as np

from theory.problem import Problem


@contextlib.contextmanager
def x64(on):
    """Double precision on or off; `jax.enable_x64` is newer than the oldest JAX."""
    before = jax.config.jax_enable_x64  # ty: ignore[missing-attribute]
    jax.config.update("jax_enable_x64", on)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def prototypes(
    counts=(4, 4, 4, 4),
    *,
    n_test=7,
    d=20,
    spread=1.0,
    seed=0,
    kind="standardised",
    dtype=np.float64,
):
    """Random images around one prototype per class, in shuffled order.

    Args:
        counts: training images of each class; 0 leaves a class out.
        n_test: test images.
        d: pixels.
        spread: of the images about their prototype, in units of its pixels.
        seed: of everything.
        kind: "standardised" (mean 0, mean square 1 per image), "unit" (in [0, 1]) or
            "raw" (neither).
        dtype: of the images.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(counts), d))

    def images(labels):
        x = centres[labels] + spread * rng.normal(size=(len(labels), d))
        if kind == "standardised":
            x = x - x.mean(axis=1, keepdims=True)
            x = x / np.sqrt((x**2).mean(axis=1, keepdims=True))
        elif kind == "unit":
            x = 1 / (1 + np.exp(-x))
        return jax.device_put(np.asarray(x, dtype))  # no program, as `asarray` has

    train = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    test = np.arange(n_test) % len(counts)
    return Problem(
        x_train=images(train),
        labels_train=jax.device_put(train),
        x_test=images(test),
        labels_test=jax.device_put(test),
        num_classes=len(counts),
    )


def erf_kernels(x1, x2, depth, w_var=1.0, b_var=0.0, w_rates=None, b_rates=None):
    """NNGP and NTK of the erf network in plain NumPy, by the arcsine formulas."""
    a = w_rates or (1.0,) * depth
    b = b_rates or (b_var,) * depth
    x1, x2 = np.asarray(x1), np.asarray(x2)
    d = x1.shape[1]
    k = x1 @ x2.T / d
    ntk = a[0] * w_var * k + b[0]
    k = b_var + w_var * k
    q1, q2 = (b_var + w_var * (x**2).mean(axis=1) for x in (x1, x2))
    for layer in range(1, depth):
        scale = (1 + 2 * q1)[:, None] * (1 + 2 * q2)[None, :]
        value = 2 / math.pi * np.arcsin(2 * k / np.sqrt(scale))
        slope = 4 / math.pi / np.sqrt(scale - 4 * k**2)
        ntk = b[layer] + a[layer] * w_var * value + w_var * slope * ntk
        k = b_var + w_var * value
        q1, q2 = (
            b_var + w_var * 2 / math.pi * np.arcsin(2 * q / (1 + 2 * q))
            for q in (q1, q2)
        )
    return k, ntk
