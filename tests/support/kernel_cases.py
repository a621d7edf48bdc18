"""Points, architectures and Gram matrices that tests of kernels share."""

import dataclasses
import functools

import activation_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory.kernels import matrices, propagation
from theory.kernels.architecture import Architecture

over = lambda cases: pytest.mark.parametrize(
    "case", cases, ids=activation_cases.ids(cases)
)
EPS = np.finfo(float).eps
KINDS = frozenset({"identity", "erf", "relu", "step", "tanh", "elu"})


def each_kind(cases, kinds=KINDS):
    """`over` cases, of which only one of each kind is run in `make test`.

    For properties of what is built on `propagation`, which knows of an activation
    nothing but its dual: a formula with one for the diagonal or without, with a kink,
    quadrature, and quadrature with a jump.
    """
    weekly = lambda case: () if case.name in kinds else pytest.mark.slow
    cases = [pytest.param(case, id=case.name, marks=weekly(case)) for case in cases]
    return pytest.mark.parametrize("case", cases)


LARGEST = 17  # numbers in a point


def gram_or_nngp(case, x, arch):
    """The gram; of a step, which has no NTK, the NNGP twice."""
    if case.trainable:
        return matrices.gram(x, arch)
    nngp = matrices.nngp(x, x, arch)
    return propagation.KernelPair(nngp=nngp, ntk=nngp)


# Six points; a zero row, one that is minus another. Sizes, depth and kinds of arguments
# are those of a gram against neural-tangents: tests share what they compile.
ROWS = np.random.default_rng(6).standard_normal((6, LARGEST))
ROWS[1], ROWS[3] = 0.0, -ROWS[2]
Z = jnp.asarray(ROWS)
SPLIT = 3


def shared(case, **changes):
    arch = Architecture(
        depth=3,
        activation=case.name,
        w_var=case.w_var / 2,
        b_var=0.15,
        w_rates=(1.0,) * 3,
        b_rates=(0.15,) * 3,
    )
    return dataclasses.replace(arch, **changes)


@functools.cache
def gram_of(case):
    """The gram of Z."""
    return gram_or_nngp(case, Z, shared(case))


def part(pair, index):
    """Entries of both kernels, in NumPy."""
    return jax.tree.map(lambda kernel: np.asarray(kernel)[index], pair)
