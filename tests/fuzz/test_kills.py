"""A few kills, interrupts and full disks of a script that does little."""

import os
import subprocess
import sys

import kills
import pytest


# weekly: a script that is killed again and again; that cells are kept and computed once
# is tested always
@pytest.mark.slow
def test_a_script_that_is_ended_goes_on(tmp_path):
    # a process of its own: it forks before JAX has a backend
    done = subprocess.run(
        [
            *(sys.executable, kills.__file__, "--scripts=fake", "--seed=3"),
            *("--kills=4", "--interrupts=2", "--full=1"),
        ],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills 4" in done.stdout
    assert "interrupts 2" in done.stdout
    assert "full disks 1" in done.stdout
    assert done.stdout.endswith("0 wrong\n")


def test_differences_are_seen():
    row, arrays = {"key": "a", "p": 0.5}, {"x": kills.np.ones(3)}
    expected = {"a": (row, arrays), "b": (row, arrays)}
    assert not list(kills.differences(expected, expected, whole=True))
    assert not list(kills.differences({"a": (row, arrays)}, expected, whole=False))
    for found in (
        {"a": (row, arrays)},
        expected | {"a": ({**row, "p": 0.6}, arrays)},
        expected | {"a": (row, {"x": kills.np.zeros(3)})},
        expected | {"a": (row, {})},
        expected | {"c": (row, arrays)},
    ):
        assert list(kills.differences(found, expected, whole=True))
