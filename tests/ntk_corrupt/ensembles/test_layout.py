"""Blocks of members: their size, which follows memory, and several devices."""

import dataclasses
import functools
import os
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkout import ROOT
from flax import linen as nn
from small_ensembles import CONFIG, C, D, assert_same, problem

import theory
from ntk_corrupt.ensembles import layout
from ntk_corrupt.networks import mlp


def test_block_size_follows_memory(monkeypatch):
    model = mlp.mlp(theory.Architecture(depth=3, activation="erf"), 256, C)
    sizes = lambda config: layout.block_size(model, config, problem(), inits=6)
    assert 1 <= sizes(CONFIG) <= 4
    assert sizes(dataclasses.replace(CONFIG, noise_regime="fresh")) == 6

    def on_gpu(limit):
        stats = {"bytes_limit": limit, "bytes_in_use": 0}
        device = types.SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
        monkeypatch.setattr(jax, "devices", lambda: [device])
        return sizes(CONFIG)

    # 256 x 256 weights and little else: some 2.5 MB a member with adam.
    assert on_gpu(10) == 1
    assert 100 < on_gpu(10**9) < 400
    assert on_gpu(10**10) == pytest.approx(10 * on_gpu(10**9), rel=0.02)
    # images of a draw, shared by 6 members, beside a member of 2.5 MB
    large = dataclasses.replace(
        problem(),
        x_test=jnp.asarray(np.zeros((10**5, D), np.float32)),
        labels_test=jnp.asarray(np.zeros(10**5, np.int32)),
    )
    size = functools.partial(layout.block_size, model, CONFIG, inits=6)
    plain = size(problem())
    assert size(large) == plain
    assert size(large, corrupt_test=True) < 0.9 * plain
    assert size(problem(), copies=5000) < 0.6 * plain


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_a_network_is_traced_once_for_its_size(monkeypatch, platform):
    traces = []

    class Counted(nn.Module):
        @nn.compact
        def __call__(self, x):
            traces.append(1)
            return nn.Dense(C)(x)

    device = types.SimpleNamespace(platform=platform, memory_stats=lambda: None)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    sizes = lambda: layout.block_size(Counted(), CONFIG, problem(), inits=6)
    size, first = sizes(), len(traces)
    assert sizes() == size
    assert len(traces) == first > 0


_SHARDED = """
import jax, numpy as np, pytest, sys
from small_ensembles import measure, spied
assert len(jax.devices()) == 4
compiled, held = [], set()
def look(_, __, ___, result):
    for leaf in jax.tree.leaves(result):
        held.add((leaf.shape[0], leaf.sharding.shard_shape(leaf.shape)[0]))
spied(pytest.MonkeyPatch(), "epoch", look)
def listen(event, duration, fun_name="", **_):
    if event == "/jax/core/compile/backend_compile_duration":
        compiled.append(fun_name)
jax.monitoring.register_event_duration_secs_listener(listen)
np.save(sys.argv[1], measure(member_block=4).outputs)
assert held == {(4, 1)}, held
for name in ("start", "epoch", "finish"):
    assert compiled.count(f"jit({name})") == 1, compiled
"""


def test_sharded_over_devices(reference, tmp_path):
    # Six members on four devices: two blocks, the second one padded.
    flags = os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=4"
    env = os.environ | {"XLA_FLAGS": " ".join(flags)}
    path = ROOT, ROOT / "tests" / "support"
    env |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(map(str, path))}
    path = tmp_path / "outputs.npy"
    subprocess.run([sys.executable, "-c", _SHARDED, str(path)], env=env, check=True)
    assert_same(np.load(path), reference.outputs)
