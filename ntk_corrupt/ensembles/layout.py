"""How many members of an ensemble are trained together, and which.

By the memory of an accelerator, by the cache of a processor.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ntk_corrupt.networks.tangent import Trainable
from ntk_corrupt.training.config import TrainConfig
from theory.numerics import memory
from theory.problem import Problem

# On CPU a vmapped matrix product runs at the speed of single ones, and the weights of
# many members leave the cache between steps: with depth 3, erf, adam, d=784, batch 250
# on two cores, 8 vmapped members of width 512 (1024, 2048) train at 0.85 (0.86, 0.91)
# times the rate of one by one, and `lax.map` over members at 0.98 (0.90, 0.86), as it
# copies their states. Small networks gain by sharing what each step costs besides
# arithmetic: 4 together, width 64 of d=64 1.2 times, width 256 of d=784 1.06 times.
_CPU_WEIGHTS = 4 * 2**20  # bytes in a block
_CPU_MEMBERS = 4
# Of what is free on an accelerator. By arithmetic, not measured: a step starts as many
# kernels for one member as for a whole block, some 60 at 5 us; a block that moves 3 ms
# worth of bandwidth, a tenth of the memory (`theory.numerics.memory.block_bytes`),
# spends a tenth of its time on that, one that fills the memory less. So as many members
# as fit; the rest is for what shapes do not tell, work space and fragments.
_MEMORY_SHARE = 0.6


def _bytes(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@functools.lru_cache(maxsize=64)  # tracing takes longer than training a small network
def _weights(model: Trainable, batch: int, d: int):
    """Shapes of the parameters."""
    x = jax.ShapeDtypeStruct((batch, d), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), x)


@functools.lru_cache(maxsize=64)
def _residuals(model: Trainable, batch: int, d: int):
    """Shapes of what reverse mode keeps; it includes the weights."""
    x = jax.ShapeDtypeStruct((batch, d), jnp.float32)
    backward = lambda key, x: jax.vjp(model.apply, model.init(key, x), x)[1]
    return jax.eval_shape(backward, jax.random.key(0), x)


def block_size(
    model: Trainable,
    config: TrainConfig,
    problem: Problem,
    *,
    inits: int,
    copies: int = 1,
    corrupt_test: bool = False,
) -> int:
    """Returns how many members to train at once on one device, by its memory.

    On CPU the cache decides; in the "fresh" regime all initialisations of a draw are
    taken together, so that each epoch's images are made once.

    Args:
        model: the network.
        config: how it is trained.
        problem: clean images.
        inits: members of a draw, which share its images.
        copies: of every training image.
        corrupt_test: whether every draw has test images of its own.
    """
    n, d = problem.x_train.shape
    batch = config.batch(copies * n)
    params = _weights(model, batch, d)  # ty: ignore[invalid-argument-type]
    device = jax.devices()[0]
    if device.platform == "cpu":
        size = min(max(1, _CPU_WEIGHTS // _bytes(params)), _CPU_MEMBERS)
        return max(size, inits) if config.noise_regime == "fresh" else size
    stats = device.memory_stats() or {}
    free = stats.get("bytes_limit", 2**33) - stats.get("bytes_in_use", 0)
    opt_state = jax.eval_shape(config.transform().init, params)
    # What reverse mode keeps, as much again for cotangents; the state twice, as the
    # scan may double-buffer it; the batch and its gather. And every device holds the
    # images of all draws of the block, old and new.
    residuals = _residuals(model, batch, d)  # ty: ignore[invalid-argument-type]
    member = 2 * (_bytes((residuals, params, opt_state)) + 4 * batch * d)
    held = copies * problem.x_train.size + corrupt_test * problem.x_test.size
    images = 2 * 4 * held
    room = int(_MEMORY_SHARE * free) - images
    return max(1, room // (member + images * len(jax.devices()) // inits))


def check_memory(
    model: Trainable, problem: Problem, *, members: int, copies: int
) -> None:
    """Raises `InputError` if one member, or the outputs of all, do not fit. Host."""
    (n, d), outputs = problem.x_train.shape, problem.num_classes * len(problem.x_test)
    # weights, their gradients, and the two moments of Adam
    one = 4 * _bytes(_weights(model, 1, d))  # ty: ignore[invalid-argument-type]
    memory.check_memory(one, "training one network", "use a smaller `width` or `depth`")
    memory.check_memory(
        4 * copies * n * d, "the corrupted images of a draw", "use fewer `copies`"
    )
    memory.check_memory(
        4 * members * outputs, "the outputs of all networks", "use fewer draws, inits"
    )


def plan(members: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields member numbers of each block, all of one length, and how many are new.

    `size` is rounded up to a multiple of the devices, and then down to spread the
    members evenly. Only the last block is padded, by repeating the last member.
    """
    devices = len(jax.devices())
    size = devices * -(-size // devices)
    size = -(-members // -(-members // size))
    size = devices * -(-size // devices)
    for first in range(0, members, size):
        numbers = np.minimum(np.arange(first, first + size), members - 1)
        yield numbers, min(size, members - first)
