"""Some random command lines: each is right, or refused in one line."""

import subprocess
import sys

from checkout import ROOT


def test_random_command_lines():
    # a process of its own: it forks, and nothing must have been computed before
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "fuzz" / "command_lines.py"]
        + ["--seed=0", "--count=46", "--runs=0"],  # two of every script
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " accepted, " in done.stdout
    assert " refused" in done.stdout
