"""Images that occur more than once: a kernel of them is singular without a ridge."""

import hashlib

import numpy as np
from jaxtyping import ArrayLike

from theory.errors import InputError
from theory.numerics.signatures import checked


@checked
def find_duplicates(x: ArrayLike) -> np.ndarray:
    """Pairs of equal images. O(n d) time, O(n) memory beside a copy of `x`.

    Args:
        x: (n, ...) images; +0 equals -0, NaN equals NaN.

    Returns:
        (m, 2) positions: of every image that equals an earlier one, the first that it
        equals and its own. A group of k equal images gives k - 1 pairs; m = 0 when all
        images differ.
    """
    rows = np.asarray(x)
    if rows.ndim < 2 or not rows.size or rows.dtype.kind not in "biufc":
        raise InputError(
            f"`x` must be images (n, ...) of numbers, got {rows.dtype} of {rows.shape}."
        )
    # Adding zero turns -0.0 into 0.0, whose bytes differ.
    rows = np.ascontiguousarray(rows.reshape(len(rows), -1) + rows.dtype.type(0))
    first: dict[bytes, int] = {}
    pairs = []
    for i, row in enumerate(rows):
        digest = hashlib.blake2b(row, digest_size=20).digest()
        earlier = first.setdefault(digest, i)
        if earlier != i:
            pairs.append((earlier, i))
    return np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
