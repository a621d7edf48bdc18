"""What kernel matrices refuse, and in which words."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from activation_cases import BY_NAME
from kernel_cases import Z, shared

from theory.errors import InputError
from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.numerics import memory


@pytest.mark.parametrize("shape", [(6,), (5, 2), (7, 2)])
def test_products_need_one_row_per_point(shape):
    arch, fn = shared(BY_NAME["erf"]), matrices.ntk_product
    with pytest.raises(InputError, match=r"`v` must be an array \((6|n2), m\)"):
        fn(Z, Z, jnp.zeros(shape), arch)


def test_a_step_has_no_ntk():
    arch = Architecture(depth=2, activation="step")
    for call in (
        lambda: matrices.gram(Z, arch),
        lambda: matrices.nngp_ntk(Z, Z, arch),
        lambda: matrices.nngp_ntk_diag(Z, arch),
    ):
        with pytest.raises(InputError, match=r"step has no NTK.*use theory\.nngp"):
            call()
    assert matrices.nngp(Z, Z, arch).shape == (6, 6)
    linear = dataclasses.replace(arch, depth=1)  # no activation is used
    assert matrices.gram(Z, linear).ntk.shape == (6, 6)


@pytest.mark.parametrize("call", ["gram", "nngp_ntk", "nngp", "nngp_ntk_diag"])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 3), (0, 3), (3, 0)])
def test_shapes_of_points(call, shape):
    arch = Architecture(depth=2, activation="erf")
    x = jnp.asarray(np.ones(shape))
    args = (x, x) if call in ("nngp_ntk", "nngp") else (x,)
    fn = getattr(matrices, call)
    with pytest.raises(InputError, match=r"`(x|x1|points)` must be an array"):
        fn(*args, arch)


def test_shapes_that_disagree():
    arch = Architecture(depth=2, activation="erf")
    for fn in (matrices.nngp_ntk, matrices.nngp):
        with pytest.raises(InputError, match=r"with d = 17, got shape \(6, 16\)"):
            fn(Z, Z[:, 1:], arch)


def test_bad_architecture():
    with pytest.raises(InputError, match="`depth` must be at least 1"):
        matrices.gram(Z, Architecture(depth=0, activation="erf"))


def test_memory_is_checked_first(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**9)
    arch = Architecture(depth=2, activation="erf")
    text = (
        r"a kernel of 6 x 6 points in float64 needs 5\.36e-07 GiB and 4\.77e-07 GiB "
        r"are free: use fewer points, float32, or theory\.numerics\.blocks\.map_rows"
    )
    for call in (lambda: matrices.gram(Z, arch), lambda: matrices.nngp_ntk(Z, Z, arch)):
        with pytest.raises(InputError, match=text):
            call()
    # half of it without the NTK, and in float32
    assert matrices.nngp(Z, Z, arch).shape == (6, 6)
    assert matrices.gram(Z.astype(jnp.float32), arch).ntk.shape == (6, 6)
