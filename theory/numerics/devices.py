"""Kernel-sized work spread over all devices, and brought together again."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree


def over_devices(
    fn: Callable[..., PyTree], mesh: Mesh, rows: int, whole: int
) -> Callable[..., PyTree]:
    """Returns `fn` with its rows split over the devices of a mesh, for `jax.jit`.

    Args:
        fn: a function of `rows` pytrees of arrays of one length, a multiple of the
            devices, and `whole` pytrees that every device needs; what it returns has
            the same number of rows.
        mesh: the devices, of one host or of several.
        rows: number of the first arguments, that are split.
        whole: number of the others.
    """
    split = PartitionSpec(mesh.axis_names)
    specs = (split,) * rows + (PartitionSpec(),) * whole
    return jax.shard_map(
        fn, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False
    )


def on_devices(rows: PyTree, whole: PyTree, mesh: Mesh) -> tuple:
    """Places what `over_devices` takes; on several hosts each gives the same values."""

    def place(tree, *axes):
        if mesh.is_multi_process:
            # arrays that are bound to a device may not be sent to those of other hosts
            tree = jax.tree.map(np.asarray, tree)
        return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*axes)))

    return (*place(rows, mesh.axis_names), *place(whole))


@functools.cache
def everywhere(mesh: Mesh):
    """The program that copies rows to all devices."""
    # a sharding constraint is not enough: to JAX 0.6 it says nothing of the results
    return jax.jit(
        lambda rows: rows, out_shardings=NamedSharding(mesh, PartitionSpec())
    )


def gathered(rows: PyTree, mesh: Mesh) -> PyTree:
    """Returns what `over_devices` computed, all of it on this host's first device."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), everywhere(mesh)(rows))
