"""Kernels and regressions over several devices, and over several processes."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import split_kernels
from checkout import ROOT
from closeness import raises
from jax.sharding import Mesh

import theory

# Products of 44 entries of order one, each of up to 16 roundings, with numbers up to 4.
# A diagonal that is not exact is wrong by 1e-8.
ROUNDING = 44 * 4 * 16 * np.finfo(float).eps
# Residuals of conjugate gradients, 1e-12, times a condition number below 100.
SOLVED = 1e-10
SCRIPT = pathlib.Path(split_kernels.__file__)


@pytest.mark.slow
def test_split_over_devices_of_two_processes_nothing_changes():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    devices = split_kernels.DEVICES // 2
    env = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} "
        f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(SCRIPT.parent), str(ROOT)]),
    }
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(k), "2", str(port)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(2)
    ]
    try:
        ended = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (out, err) in zip(started, ended, strict=True):
        assert process.returncode == 0, err
        found = json.loads(out.splitlines()[-1])
        assert found.pop("devices of a row block") == devices
        for name, difference in found.items():
            assert difference < (SOLVED if ":" in name else ROUNDING), name


def test_rows_that_devices_cannot_share_are_refused():
    x = jnp.ones((5, 3))
    two = Mesh(np.asarray([jax.devices()[0]] * 2), ("rows",))
    with raises("must be a multiple of them, got 5: leave out 1"):
        theory.ntk_gram(x, split_kernels.ARCH, mesh=two)
