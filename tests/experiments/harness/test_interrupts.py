"""Runs that are ended: by a kill, by Ctrl-C."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
from checkout import ROOT
from fake_experiment import table
from run_scripts import HANGS, by_key, execute, finish, wait_for, without_cache

from experiments.harness.run_directory import RunDirectory

# Python with Ctrl-C as at a terminal: the jobs of a shell in the background ignore it.
AT_A_TERMINAL = (
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
)


SWALLOWING = """
import gc, sys, time
import fake_experiment
from experiments.harness import runner

class Finalised:
    def __del__(self):  # what it raises is printed and forgotten
        fake_experiment.pathlib.Path("asleep").touch()
        time.sleep({hangs})

def compute(config, cell):
    Finalised()
    time.sleep({hangs})

runner.main(fake_experiment.dataclasses.replace(
    fake_experiment.EXPERIMENT, compute=compute))
"""


def test_kills_at_any_moment_cost_nothing_but_time(tmp_path, start):
    cells = 40
    settings = {"p": tuple(i / 20 for i in range(20)), "routes": ("exact", "network")}
    whole = execute(tmp_path / "whole", **settings)
    p, routes = (",".join(map(str, settings[name])) for name in ("p", "routes"))
    command = ("--workdir=run", f"--p={p}", f"--routes={routes}")
    command += ("--x64" if whole[0]["x64"] else "--nox64",)
    metrics = tmp_path / "run" / "metrics.jsonl"
    stored = lambda: metrics.read_bytes().count(b"\n") if metrics.exists() else 0
    random = np.random.default_rng()
    counts = [0]
    for _ in range(3):
        for entry in tmp_path.glob("cache/ntk-corrupt/jax/*-cache"):
            os.truncate(entry, 10)  # torn by the kill as well
        # all cells take so long that a busy machine does not miss the next one
        process = start(tmp_path, *command, "--pause=0.2")
        wait_for(process, lambda: stored() > counts[-1])
        time.sleep(random.uniform(0, 0.4))
        process.kill()
        assert finish(process, tmp_path)[0] == -signal.SIGKILL
        counts.append(len(RunDirectory(tmp_path / "run").rows()))
    assert 0 < counts[1] < counts[2] < counts[3] < cells
    status, out, err = finish(start(tmp_path, *command), tmp_path)
    assert status == 0, err
    assert out.splitlines()[:cells] == table(None, whole).splitlines()
    assert f"{cells} cells, {cells - counts[3]} to compute" in err
    assert len(err.splitlines()) == 1 + cells - counts[3]  # no warnings
    directory = RunDirectory(tmp_path / "run")
    assert by_key(directory.rows()) == by_key(whole)
    for row in whole:
        expected = RunDirectory(tmp_path / "whole").arrays(row)["outputs"]
        np.testing.assert_array_equal(directory.arrays(row)["outputs"], expected)
    assert any((tmp_path / "cache" / "ntk-corrupt" / "jax").iterdir())


def test_control_c_says_how_to_go_on(tmp_path, start):
    process = start(tmp_path, f"--pause={HANGS}")
    wait_for(process, (tmp_path / "asleep").exists)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    status, out, err = finish(process, tmp_path)
    assert status == 130
    assert out == ""
    assert err.splitlines()[1].startswith("interrupted: finished cells are stored")
    assert len(err.splitlines()) == 2


def test_control_c_ends_what_python_would_go_on_with(tmp_path):
    process = subprocess.Popen(
        [*AT_A_TERMINAL, "-c", SWALLOWING.format(hangs=HANGS)],
        cwd=tmp_path,
        env={
            **os.environ,
            **without_cache(),
            "PYTHONPATH": f"{ROOT}:{ROOT}/tests/support",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "asleep").exists():
        assert process.poll() is None
        time.sleep(0.05)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=HANGS)[1]
    assert process.returncode == 130
    assert time.monotonic() - start < HANGS / 2
    assert "interrupted: finished cells are stored" in err


def test_control_c_during_the_imports_ends_without_an_exception(tmp_path):
    """One may be swallowed there, or crash a library that is being loaded."""
    process = subprocess.Popen(
        [*AT_A_TERMINAL, "-m", "experiments.noise_gallery", "--preset=smoke"],
        cwd=tmp_path,
        env={**os.environ, **without_cache(), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while "numpy" not in pathlib.Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=HANGS)[1]
    assert process.returncode == 130
    assert err == "interrupted before anything was run.\n"
    assert not list(tmp_path.iterdir())
