"""Regression on noisy features: rows to solve for, and random kernels of them."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from theory.regression.equivalent import Rows


# Every other shape compiles anew.
def make(n=60, m=9, c=3, tests=9, seed=0, *, indefinite=True, entry_noise=0.0):
    """Rows with an indefinite W, correlated noise and unequal base, and test rows."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.5, 1.5, n)
    mean = rng.normal(size=(n, m)) / np.sqrt(m)
    mean[:, -1] = 1.0
    signs = np.ones(m)
    if indefinite:
        signs[1] = -0.2
    weight = np.diag(signs * rng.uniform(0.5, 1.5, m))
    weight[0, -1] = weight[-1, 0] = 0.3
    weight[-1, -1] = 2.0
    root = rng.normal(size=(m - 1, m - 1)) / np.sqrt(m)
    noise = np.zeros((m, m))
    noise[:-1, :-1] = (root @ root.T + 0.2 * np.eye(m - 1)) / m
    y = np.eye(c)[rng.integers(c, size=n)]
    g = mean @ weight @ rng.normal(size=(m, tests)) + rng.normal(size=(n, tests)) / 3
    w = rng.normal(size=(tests, m))
    w[:, -1] = 0.0
    rows = Rows(
        base=jnp.asarray(base),
        mean=jnp.asarray(mean),
        weight=jnp.asarray(weight),
        noise=jnp.asarray(noise),
        y=jnp.asarray(y),
        idle=jnp.asarray(np.zeros(0)),
        idle_count=jnp.asarray(0.0),
        entry_noise=entry_noise,
    )
    return rows, jnp.asarray(g.T), jnp.asarray(w)


def changed(rows, **fields):
    """The rows with other fields, of NumPy."""
    fields = {name: jnp.asarray(value) for name, value in fields.items()}
    return dataclasses.replace(rows, **fields)


def drawn(rows, g, w, rng, test_noise=0.0):
    """A random kernel and its test rows, in NumPy."""
    n = len(rows.base)
    root = np.linalg.cholesky(rows.noise + 1e-14 * np.eye(len(rows.noise)))
    z = rng.normal(size=rows.mean.shape) @ root.T
    features = rows.mean + z
    kernel = np.diag(rows.base) + features @ rows.weight @ features.T
    row = g + w @ z.T
    # independent noise of the entries
    entries = np.triu(rng.normal(size=(n, n)), 1)
    kernel = kernel + rows.entry_noise**0.5 * (entries + entries.T)
    return kernel, row + test_noise**0.5 * rng.normal(size=row.shape)
