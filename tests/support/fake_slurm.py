"""Programs by the names of Slurm's, that run jobs here: what submitit calls.

`install` writes them. Tasks of a job array run as processes of the background, in a
folder that says of each its process and its state; the script is kept there too.
"""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys

_PROGRAMS = ("sbatch", "srun", "sacct", "scancel", "scontrol")
_JOB = "7"


def install(folder):
    """Writes the programs; returns the folder of their state."""
    state = folder / "slurm"
    for path in (folder, state):
        path.mkdir()
    for name in _PROGRAMS:
        program = folder / name
        # -S: it starts in a few milliseconds
        words = (sys.executable, "-S", __file__, name, str(state))
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o755)
    return state


def sbatch(state, script):
    text = pathlib.Path(script).read_text()
    (state / "script").write_text(text)
    array = re.search(r"^#SBATCH --array=0-(\d+)%", text, re.MULTILINE)
    tasks = [f"{_JOB}_{i}" for i in range(int(array[1]) + 1)] if array else [_JOB]
    for task in tasks:
        _start(state, task)
    print(f"Submitted batch job {_JOB}")


def _start(state, task):
    (state / f"{task}.state").write_text("RUNNING")
    process = subprocess.Popen(
        [sys.executable, "-S", __file__, "task", state, task],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    (state / f"{task}.pid").write_text(str(process.pid))


def task(state, task):
    """Runs a task as the daemon of Slurm does."""
    job, _, index = task.partition("_")
    environment = {**os.environ, "SLURM_JOB_ID": job}
    if index:
        environment |= {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": index}
    status = subprocess.call(["/bin/sh", state / "script"], env=environment)
    requeued = state / f"{task}.requeued"
    if requeued.exists():
        requeued.unlink()
        _start(state, task)
    else:
        (state / f"{task}.state").write_text("FAILED" if status else "COMPLETED")


def srun(state, *arguments):
    words, logs = list(arguments), {}
    while words[0].startswith("--"):
        option = words.pop(0)
        if option in ("--output", "--error"):
            logs[option] = words.pop(0)
    job, index = (os.environ.get(f"SLURM_{n}", "") for n in ("JOB_ID", "ARRAY_TASK_ID"))
    for number, option in ((1, "--output"), (2, "--error")):
        path = logs[option]
        for mark, value in (("%A", job), ("%a", index), ("%j", job), ("%t", "0")):
            path = path.replace(mark, value)
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.execvp(words[0], words)


def sacct(state, *_):
    print("JobID|State|NodeList")
    for path in sorted(state.glob("*.state")):
        print(f"{path.stem}|{path.read_text()}|here")


def scancel(state, *jobs):
    (state / "cancelled").write_text(" ".join(jobs))
    for path in state.glob("*.pid"):
        os.killpg(int(path.read_text()), signal.SIGKILL)
        path.with_suffix(".state").write_text("CANCELLED")


def scontrol(state, command, task):
    assert command == "requeue"
    (state / f"{task}.requeued").touch()


if __name__ == "__main__":
    globals()[sys.argv[1]](pathlib.Path(sys.argv[2]), *sys.argv[3:])
