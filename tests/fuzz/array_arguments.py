"""Arrays of points, labels and curves: spelt in other ways, and made nonsense of."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np

# (what was done, how to make the value)
Variant = tuple[str, Callable[[], Any]]


def variant(said: str, value: Any) -> Variant:
    return said, lambda: value


def spelt_points(x, rng):
    host = np.asarray(x)
    yield variant("float32", jnp.asarray(host, jnp.float32))
    yield variant("NumPy", host)
    yield variant("Fortran order", np.asfortranarray(host))
    yield variant("a strided view", np.repeat(host, 2, axis=0)[::2])
    yield variant("read only, big endian", host.astype(">f8"))
    yield variant("nested lists", host.tolist())
    yield variant("float16", host.astype(np.float16))
    yield variant("bfloat16", host.astype(ml_dtypes.bfloat16))
    yield variant("long double", host.astype(np.longdouble))


def damaged(x, rng, bad):
    x = np.array(x, float)
    x.flat[rng.integers(x.size)] = bad
    return x


def wrong_array(x, rng):
    host = np.asarray(x)
    yield variant("NaN", damaged(host, rng, np.nan))
    yield variant("infinity", jnp.asarray(damaged(host, rng, np.inf)))
    yield variant("one axis more", host[None])
    yield variant("complex", host + 1j)
    yield variant("strings", host.astype(str))
    yield variant("objects", host.astype(object))
    yield variant("a dictionary", {"x": host})
    yield variant("text", "points")
    yield variant("empty", host[:0])
    yield variant("dates", np.full(host.shape, np.datetime64("2020-01-01")))


def wrong_points(x, rng):
    yield from wrong_array(x, rng)
    host = np.asarray(x)
    yield variant("one axis less", host[0])
    yield variant("no pixels", host[:, :0])
    yield variant("rows of several lengths", [[1.0, 2.0], [3.0]])
    yield variant("a number", 3.0)


def wrong_paired(x, rng):
    """Points whose number, or whose pixels, another argument fixes."""
    yield from wrong_points(x, rng)
    yield variant("a row less", np.asarray(x)[:-1])


def wrong_images(x, rng):
    """Of any number of axes, compared as they are."""
    meant = ("one axis more", "NaN", "infinity", "complex")
    yield from (each for each in wrong_array(x, rng) if each[0] not in meant)


def wrong_pixels(x, rng):
    yield from wrong_points(x, rng)
    yield variant("a pixel less", np.asarray(x)[:, :-1])


def spelt_labels(y, rng):
    host = np.asarray(y)
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64):
        yield variant(np.dtype(dtype).name, host.astype(dtype))
    yield variant("a list", host.tolist())
    yield variant("JAX, uint32", jnp.asarray(host, jnp.uint32))


def wrong_labels(y, rng):
    host = np.asarray(y)
    at = rng.integers(host.size)
    outside, negative = host.copy(), host.copy()
    outside[at], negative[at] = 100, -1
    yield variant("floats", host.astype(float))
    yield variant("halves", host + 0.5)
    yield variant("booleans", host.astype(bool))
    yield variant("out of range", outside)
    yield variant("negative", negative)
    yield variant("one less", host[:-1])
    yield variant("one axis more", host[None])
    yield variant("one-hot", np.eye(int(host.max()) + 1)[host])
    yield variant("strings", host.astype(str))
    yield variant("empty", host[:0])
    yield variant("a number", 3)


def wrong_free_labels(y, rng):
    """Classes of which nothing says how many there are."""
    meant = ("out of range", "negative", "one axis more", "one-hot", "empty")
    yield from (each for each in wrong_labels(y, rng) if each[0] not in meant)


def wrong_indices(y, rng):
    meant = ("one less", "empty")
    yield from (each for each in wrong_labels(y, rng) if each[0] not in meant)


def spelt_curve(x, rng):
    host = np.asarray(x)
    yield variant("a list", host.tolist())
    yield variant("JAX", jnp.asarray(host))
    yield variant("float32", host.astype(np.float32))


def wrong_stack(x, rng):
    """Curves along the last axis, of which there may be several; NaN ends one."""
    meant = ("one axis more", "NaN")
    yield from (each for each in wrong_curve(x, rng) if each[0] not in meant)


def wrong_positive_curve(x, rng):
    """NaN stands for what is not known there."""
    yield from (each for each in wrong_curve(x, rng) if each[0] != "NaN")
    yield variant("zero", np.asarray(x) * 0)


def wrong_curve(x, rng):
    host = np.asarray(x)
    yield variant("NaN", damaged(host, rng, np.nan))
    yield variant("infinity", damaged(host, rng, np.inf))
    yield variant("one axis more", host[None])
    yield variant("a number", 3.0)
    yield variant("text", "curve")
    yield variant("strings", host.astype(str))
    yield variant("complex", host + 1j)
    yield variant("empty", host[:0])
