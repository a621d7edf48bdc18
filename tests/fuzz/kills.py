"""Ends scripts at random moments, goes on, and compares with runs that were let be.

    python tests/fuzz/kills.py --kills=200 --interrupts=40 --full=8 --seed=0

A process imports everything once; each run is a fork of it, made before JAX has a
backend. Half of the kills come at any time of a run, half within a few milliseconds of
a write. Interrupts are SIGINT, as Ctrl-C sends it. A disk is filled up to a few
kilobytes: a tmpfs of 1 MB where it may be mounted, else every file is cut by a limit.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
if __name__ == "__main__":  # pytest knows these
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np
from forks import EARLY, Child, near_a_write

from experiments.harness.run_directory import RunDirectory

SCRIPTS = ("clean_fraction", "corrupted_tests", "noise_gallery", "universality")
PATIENCE = 5.0  # seconds until an interrupted process must have ended


def content(workdir):
    """Rows without timings, by key, and all their arrays."""
    directory = RunDirectory(workdir)
    return {
        row["key"]: (
            {name: value for name, value in row.items() if name != "seconds"},
            directory.arrays(row),
        )
        for row in directory.rows()
    }


def differences(found, expected, *, whole):
    """What is wrong with rows, in words; nothing for none."""
    if whole and set(found) != set(expected):
        yield f"{len(found)} rows of {len(expected)}"
    for key, (row, arrays) in found.items():
        if key not in expected:
            yield f"a row {key} of no cell"
            continue
        other, others = expected[key]
        if row != other:
            yield f"another row {key}: {row} and {other}"
        if sorted(arrays) != sorted(others) or not all(
            np.array_equal(arrays[name], others[name], equal_nan=True)
            for name in arrays
            if arrays[name].dtype.kind in "fc"
        ):
            yield f"other arrays of {key}"


def remains(workdir):
    """Files that a finished run should not have."""
    arrays = {path.stem for path in (workdir / "arrays").iterdir()}
    keys = {row["key"] for row in RunDirectory(workdir).rows()}
    yield from (str(path) for path in workdir.rglob("*.ntk-partial"))
    yield from (f"arrays/{key}.npz" for key in arrays - keys)


class Trial:
    """One script: the run that was let be, and what comes of the others."""

    def __init__(self, name, top, rng):
        self.name, self.top, self.rng = name, top, rng
        self.counts, self.wrong = collections.Counter(), []
        self.workdir, self.out = top / f"{name}-run", top / f"{name}.txt"
        for number in range(2):  # the first fills the cache of programs
            whole = top / f"{name}-whole-{number}"
            start = time.monotonic()
            self.expect(Child(name, whole, self.out).ended(600) == 0, "does not end")
            self.seconds = time.monotonic() - start
        self.expected = content(whole)
        self.compare(content(top / f"{name}-whole-0"), whole=True)

    def expect(self, good, text):
        if not good:
            said = self.out.read_text()[-2000:]
            self.wrong.append(f"{self.name}: {text}\n{said}")

    def compare(self, found, *, whole):
        for text in differences(found, self.expected, whole=whole):
            self.expect(False, text)

    def look(self, *, finished):
        """Compares the directory with what it should hold."""
        try:
            found = content(self.workdir)
            self.compare(found, whole=finished)
            self.counts["rows seen"] += len(found)
            if finished:
                self.expect(not (left := list(remains(self.workdir))), f"left {left}")
        except Exception as error:
            self.expect(False, f"cannot be read: {error}")

    def finish(self):
        """Runs to the end, compares, and forgets the run."""
        status = Child(self.name, self.workdir, self.out).ended(600)
        self.expect(status == 0, f"status {status} of the last run")
        self.look(finished=True)
        shutil.rmtree(self.workdir)

    def killed(self):
        """One run, killed; True where the kill came in time."""
        if self.rng.random() < 0.5:
            child = Child(self.name, self.workdir, self.out, near_a_write(self.rng))
            status = child.ended(600)
        else:
            child = Child(self.name, self.workdir, self.out)
            status = child.ended(self.rng.uniform(0, self.seconds))
            if status is None:
                child.kill(signal.SIGKILL)
                status = child.ended(60)
        self.expect(status in (0, -signal.SIGKILL), f"status {status}")
        if status:
            self.counts["kills"] += 1
        else:
            self.counts["ended before"] += 1
        self.look(finished=not status)
        if not status:
            shutil.rmtree(self.workdir)
        return bool(status)

    def interrupted(self):
        """One run, interrupted; True where it was neither too early nor too late."""
        child = Child(self.name, self.workdir, self.out)
        early = child.ended(self.rng.uniform(0, self.seconds))
        if early is None:
            child.kill(signal.SIGINT)
        start = time.monotonic()
        status = child.ended(60) if early is None else early
        if status in (0, EARLY):
            self.counts["ended before" if status == 0 else "too early"] += 1
            if not status:
                shutil.rmtree(self.workdir)
            return False
        seconds, said = time.monotonic() - start, self.out.read_text().splitlines()
        self.counts["interrupts"] += 1
        self.counts["slowest, ms"] = max(self.counts["slowest, ms"], int(1e3 * seconds))
        self.expect(status == 130, f"status {status} of an interrupt")
        self.expect(seconds < PATIENCE, f"{seconds:.1f} s until it ended")
        message = [line for line in said if line.startswith("interrupted: finished")]
        self.expect(len(message) == 1, "no message of an interrupt")
        self.expect("Traceback" not in " ".join(said), "a traceback of an interrupt")
        if self.workdir.exists():
            self.look(finished=False)
        return True

    def full(self):
        """One run on a disk that becomes full, and then has room."""
        free = int(self.rng.integers(4, 60)) * 1024
        with disk(self.workdir) as mounted:
            self.counts["on a tmpfs"] += mounted
            if mounted:
                ballast = self.workdir / "ballast"
                room = shutil.disk_usage(self.workdir).free - free
                ballast.write_bytes(bytes(max(room, 0)))
                before = lambda: None
            else:
                limit = (free // 16, resource.RLIM_INFINITY)
                before = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            status = Child(self.name, self.workdir, self.out, before).ended(600)
            said = self.out.read_text().splitlines()
            self.counts["full disks" if status else "had room"] += 1
            if status:
                self.expect(status == 2, f"status {status} of a full disk")
                full = [line for line in said if "error: the disk is full" in line]
                self.expect(len(full) == 1, "no line says that the disk is full")
            self.look(finished=False)
            if mounted:
                ballast.unlink()
            status = Child(self.name, self.workdir, self.out).ended(600)
            self.expect(status == 0, f"status {status} once there is room")
            self.look(finished=True)


@contextlib.contextmanager
def disk(folder):
    """A disk of 1 MB at `folder`, and whether there is one."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "ntk-fuzz", str(folder)]
    mounted = not subprocess.run(command, capture_output=True).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
        shutil.rmtree(folder)


def repeat(trials, how, count):
    """Does it `count` times, the scripts in turn, then finishes all runs."""
    done = 0
    while done < count and not any(trial.wrong for trial in trials):
        done += bool(getattr(trials[done % len(trials)], how)())
    for trial in trials:
        if trial.workdir.exists():
            trial.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, count in (("seed", 0), ("kills", 200), ("interrupts", 40), ("full", 8)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--scripts", default=",".join(SCRIPTS))
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    with tempfile.TemporaryDirectory() as top:
        os.environ["XDG_CACHE_HOME"] = str(pathlib.Path(top) / "cache")
        os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
        trials = [
            Trial(name, pathlib.Path(top), rng) for name in asked.scripts.split(",")
        ]
        repeat(trials, "killed", asked.kills)
        repeat(trials, "interrupted", asked.interrupts)
        for number in range(asked.full):
            trials[number % len(trials)].full()
    print(f"seed {asked.seed}")
    for trial in trials:
        counts = ", ".join(f"{name} {n}" for name, n in trial.counts.items())
        print(f"{trial.name}: {trial.seconds:.1f} s a run; {counts}")
    wrong = [text for trial in trials for text in trial.wrong]
    print(*wrong, f"{len(wrong)} wrong", sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
