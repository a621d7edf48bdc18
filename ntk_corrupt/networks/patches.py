"""Windows of an image as rows of numbers, which the weights of a `Layer` multiply.

Shifted copies of the image put side by side: on a CPU they and one matrix product are
several times as fast as the compiler's own convolution.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.architectures.layers import Convolution


def patches(
    x: Float[Array, "n h w c"], window: Convolution
) -> Float[Array, "n h2 w2 size2_c"]:
    """Returns what each window of a convolution sees, row by row, channels last.

    O(n h2 w2 size^2 c), which is its memory too: size^2 times that of the image.

    Args:
        x: images.
        window: size, stride and padding; not whether its weights are shared.
    """
    height, width = x.shape[1:3]
    pads = window.pads((height, width))
    mode = "wrap" if window.padding == "circular" else "constant"
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)), mode=mode)
    last = [n - window.size for n in padded.shape[1:3]]

    def shifted(row: int, column: int) -> Array:
        rows = slice(row, row + last[0] + 1, window.stride)
        columns = slice(column, column + last[1] + 1, window.stride)
        return padded[:, rows, columns]

    offsets = range(window.size)
    return jnp.concatenate([shifted(i, j) for i in offsets for j in offsets], axis=-1)
