"""Prints how far kernels split over devices are from whole ones, as JSON.

    python tests/support/split_kernels.py PROCESS PROCESSES PORT

One of several processes, which all print the same but for the parts that they hold. The
number of devices of each is fixed when it starts.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from problems import prototypes

import theory
from theory.numerics import devices

DEVICES = 4
ARCH = theory.Architecture(depth=3, activation="relu")  # kinked: its diagonal shows
NOISE = theory.Replacement(p=0.8)


def _largest(found, expected) -> float:
    """Largest difference, over the parts that this process holds."""
    expected = np.asarray(expected)
    return max(
        float(np.abs(np.asarray(shard.data) - expected[shard.index]).max())
        for shard in found.addressable_shards
    )


def kernels(mesh: Mesh) -> dict[str, float]:
    """Differences of dense kernels and of products, for numbers that do not divide."""
    draw = np.random.default_rng(0).standard_normal
    x, other, v = (jnp.asarray(draw(shape)) for shape in ((44, 6), (21, 6), (44, 3)))
    gram, cross = theory.gram(x, ARCH), theory.nngp_ntk(x, other, ARCH)
    found = theory.gram(x, ARCH, mesh=mesh)
    found_cross = theory.nngp_ntk(x, other, ARCH, mesh=mesh)
    rows = np.array([40, 3, 3, 7, 0])
    theory.ntk_product(other, x, v, ARCH, mesh=mesh)
    programs = devices.everywhere(mesh)
    compiled = programs._cache_size()
    theory.ntk_product(other, x, v, ARCH, mesh=mesh)
    return {
        "programs of another product": float(programs._cache_size() - compiled),
        "gram ntk": _largest(found.ntk, gram.ntk),
        "gram nngp": _largest(found.nngp, gram.nngp),
        "ntk_gram": _largest(theory.ntk_gram(x, ARCH, mesh=mesh), gram.ntk),
        "nngp_ntk": _largest(found_cross.ntk, cross.ntk),
        "ntk": _largest(theory.ntk(x, other, ARCH, mesh=mesh), cross.ntk),
        "nngp": _largest(theory.nngp(x, other, ARCH, mesh=mesh), cross.nngp),
        "ntk_product": _largest(
            theory.ntk_product(other, x, v, ARCH, mesh=mesh),
            np.asarray(cross.ntk).T @ np.asarray(v),
        ),
        "gram_product": _largest(
            theory.gram_product(x, v, ARCH, kind="nngp", rows=rows, mesh=mesh),
            (np.asarray(gram.nngp) @ np.asarray(v))[rows],
        ),
        "devices of a row block": float(
            len({shard.device for shard in found.ntk.addressable_shards})
        ),
    }


def regressions(mesh: Mesh) -> dict[str, float]:
    """Differences of predictions, for 41 training points."""
    settings: dict = {
        "draws": 1,
        "key": jax.random.key(1),
        "init_var_at": np.array([2, 0]),
        "ridge": 0.1,
    }
    problem = prototypes((11, 10, 12, 8))
    solve = lambda **where: theory.exact_iterative(
        ARCH,
        NOISE,
        problem,
        solver=theory.ConjugateGradient(tolerance=1e-12, **where),
        **settings,
    )
    whole, differences = solve(), {}
    for name, where in (("kept", {}), ("recomputed", {"recompute": True})):
        found = solve(mesh=mesh, **where)
        differences[f"{name}: outputs"] = _largest(found.outputs, whole.outputs)
        gap = np.asarray(found.init_var) - np.asarray(whole.init_var)
        differences[f"{name}: init_var"] = float(np.abs(gap).max())
        differences[f"{name}: audit"] = float(found.diagnostics["audited_residual"][0])
    return differences


def main() -> None:
    """Joins the other processes and prints differences."""
    jax.config.update("jax_enable_x64", True)
    process, processes, port = map(int, sys.argv[1:])
    jax.distributed.initialize(f"localhost:{port}", processes, process)
    mesh = Mesh(np.asarray(jax.devices()).reshape(2, -1), ("host", "device"))
    assert mesh.size == DEVICES
    print(json.dumps(kernels(mesh) | regressions(mesh)))


if __name__ == "__main__":
    main()
