"""`python -m ntk_corrupt`, which a wheel calls `ntk-corrupt`."""

import os
import subprocess
import sys

import pytest
from checkout import ROOT

from experiments.__main__ import menu


def call(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ntk_corrupt", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow  # the menu itself is tested fast, and the next starts the same
def test_without_a_name_it_prints_the_menu(tmp_path):
    done = call(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == menu("ntk-corrupt NAME") + "\n"


def test_an_unknown_name_is_refused_in_one_line(tmp_path):
    done = call(tmp_path, "noise_galery", "--preset=smoke")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "did you mean 'noise_gallery'" in line


@pytest.mark.slow  # the parts are run by the tests of jobs and of this script
def test_a_script_runs_wherever_it_is_called(tmp_path):
    # jobs are processes of their own, which must find the scripts too
    done = call(
        tmp_path,
        *("noise_gallery", "--preset=smoke", "--workdir=run"),
        *("--cluster=local", "--jobs=2"),
    )
    assert done.returncode == 0, done.stderr
    assert "2 jobs" in done.stderr
    assert (tmp_path / "run" / "figures" / "noise_gallery.png").stat().st_size > 1000
