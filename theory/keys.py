"""Random keys: of a corruption draw, and of streams that no draw ever reaches."""

import zlib

import jax
import numpy as np
from jaxtyping import Array


def draw_key(key: Array, draw: Array | int) -> Array:
    """Returns the key of corruption draw number `draw`."""
    return jax.random.fold_in(key, draw)


def stream(key: Array, name: str) -> Array:
    """Returns the key of the stream `name`, which no number of draws ever reaches."""
    return jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode())))
