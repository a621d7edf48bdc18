"""How kernels are cut into blocks on the hardware at hand; it changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from problems import erf_kernels

from theory.kernels import matrices, tiling
from theory.kernels.architecture import Architecture
from theory.numerics import memory


@pytest.mark.parametrize(
    ("held", "itemsize", "n", "own", "expected"),
    [
        (2**22, 8, 100_000, False, (256, 512)),  # caches of 2 MB, two cores
        (2**22, 8, 400, True, (112, 208)),
        (2**22, 8, 1000, True, (176, 336)),
        (2**22, 8, 4000, True, (256, 512)),
        (2**22, 8, 300, False, (160, 300)),
        (2**32, 4, 60_000, False, (10_000, 20_000)),  # an accelerator of 128 GB
        (2**32, 4, 60_000, True, (5456, 10_000)),
        (1, 8, 5, True, (1, 2)),
    ],
)
def test_blocks_follow_the_hardware(monkeypatch, held, itemsize, n, own, expected):
    monkeypatch.setattr(memory, "block_bytes", lambda: held)
    assert tiling.block(n, n, itemsize, own=own) == expected
    height, width = expected
    assert 4 * height * width * itemsize <= held or held == 1


@pytest.mark.parametrize("held", [2**12, 2**32])
def test_kernels_do_not_depend_on_the_hardware(monkeypatch, held):
    monkeypatch.setattr(memory, "block_bytes", lambda: held)
    draw = lambda n: jnp.asarray(np.random.default_rng(n).standard_normal((n, 3)))
    arch = Architecture(depth=2, activation="erf", w_var=1.3, b_var=0.2)
    jax.clear_caches()  # programs remember their blocks
    x, y = draw(37), draw(29)
    for ours, other in (
        (matrices.gram(x, arch), x),
        (matrices.nngp_ntk(x, y, arch), y),
    ):
        assert_close((ours.nngp, ours.ntk), erf_kernels(x, other, 2, 1.3, 0.2))
    jax.clear_caches()
