"""An experiment of no interest, for the tests of what runs experiments.

Run as a script it is one; `script` runs it in a process that was forked.
"""

import dataclasses
import os
import pathlib
import signal
import sys
import time

import jax
import jax.numpy as jnp

from experiments.harness import flags, runner
from experiments.harness.run_directory import Cell
from theory.errors import InputError

calls = []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.Config):
    p: tuple[float, ...] = flags.setting((0.5, 0.9), "corruption levels")
    routes: tuple[str, ...] = flags.setting(("exact",), "routes")
    width: int = flags.setting(8, "width")
    ridge: float | None = flags.setting(None, "ridge")
    centred: bool = flags.setting(False, "whether to centre")
    pause: float = flags.setting(0.0, "seconds per cell; decides no numbers")


def check(config):
    if not all(0 <= p <= 1 for p in config.p):
        raise InputError(f"`--p` must be in [0, 1], got {config.p}.")


def cells(config):
    shared = {"seed": config.seed, "width": config.width, "ridge": config.ridge}
    return [
        Cell({"route": route, "p": p, **shared})
        for route in config.routes
        for p in config.p
    ]


def compute(config, cell):
    calls.append(cell.settings["p"])
    if config.pause:
        pathlib.Path("asleep").touch()
        time.sleep(config.pause)
    signalled(cell.settings["p"])
    key = jax.random.key(cell.settings["seed"])
    # made of random bits without rounding: two processes must agree to the last one
    outputs = jax.random.uniform(key, (cell.settings["width"],), jnp.float32)
    return {"accuracy": cell.settings["p"] / 3}, {"outputs": outputs}


def signalled(p):
    """Sends this process the signal that a file such as SIGKILL-0.5 says, once."""
    for ending in ("SIGKILL", "SIGUSR2"):
        asked = pathlib.Path(f"{ending}-{p}")
        if asked.exists():
            asked.unlink()
            os.kill(os.getpid(), getattr(signal, ending))


def table(directory, rows):
    return "\n".join(f"{row['p']:g} {row['accuracy']:.3f}" for row in rows)


def figure(directory, rows):
    from matplotlib.figure import Figure

    from ntk_corrupt import plots

    ax = Figure().subplots()
    outputs = [directory.arrays(row)["outputs"].mean() for row in rows]
    plots.accuracy_curves(ax, [row["p"] for row in rows], outputs, label="exact")
    return ax.figure


EXPERIMENT = runner.Experiment(
    name="fake",
    config=Config,
    presets={"smoke": {"p": (0.9,), "width": 2}, "paper": {"width": 2048}},
    check=check,
    cells=cells,
    compute=compute,
    table=table,
    figure=figure,
    estimate=lambda config, cell: 2.5,
)


def script(cwd, arguments):
    """Runs this file as a script in a process of its own, its outputs in two files.

    What it calls is looked for in `bin` first.
    """
    os.chdir(cwd)
    os.environ["PATH"] = f"{cwd / 'bin'}:{os.environ['PATH']}"
    os.environ["XDG_CACHE_HOME"] = str(cwd / "cache")
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(cwd / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = [__file__, *arguments]
    # as at a terminal: the jobs that a shell starts in the background ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runner.main(EXPERIMENT)


if __name__ == "__main__":
    runner.main(EXPERIMENT)
