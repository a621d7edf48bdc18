"""Kernels of the linearised theory, layer by layer: tangent kernel plus any mixture.

Everything that is measured of a kernel is linear in it. Where both kernels of an
architecture do not do, those of its first layers stand beside them along a last axis of
`nngp`, and `theory.linearised.training_kernel.combined` mixes them.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from theory.kernels.architecture import Architecture
from theory.kernels.hidden_layers import upto
from theory.kernels.propagation import KernelPair

Measured = TypeVar("Measured")


def _constant(arch: Architecture) -> Architecture:
    """The layer whose tangent kernel is one, of any points."""
    first = upto(arch, 1)
    return dataclasses.replace(first, w_rates=(0.0,), b_rates=(1.0,))


def by_layers(fn: Callable[[Architecture], Measured], arch: Architecture) -> Measured:
    """Returns what `fn` measures of kernels, with many of them in place of `nngp`.

    Along the last axis: the NNGP kernels of the first 2, 3, ... L layers, and the
    kernel that is one everywhere. What is no kernel is taken of all layers.

    Args:
        fn: linear in the kernels that it measures.
        arch: the architecture, of 2 layers or more.
    """
    one = fn(_constant(arch))
    found = [fn(upto(arch, depth)) for depth in range(2, arch.depth + 1)]

    def joined(one, *layers):
        whole = layers[-1]
        if not isinstance(whole, KernelPair):
            return whole
        start = [layer.nngp for layer in layers]
        return KernelPair(nngp=jnp.stack([*start, one.ntk], axis=-1), ntk=whole.ntk)

    return jax.tree.map(
        joined, one, *found, is_leaf=lambda node: isinstance(node, KernelPair)
    )
