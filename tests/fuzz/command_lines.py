"""Random command lines of all scripts: each is right, or refused in one line.

    python tests/fuzz/command_lines.py --seed=0 --count=500

A command line is a preset and some flags of a script, with values that it must refuse
and values that it may. Each runs in a process that is forked from this one, which
has imported all scripts and computed nothing. Outcomes:

    accepted   status 0; a plan, or a smoke run to its end
    refused    status 2, one line on stderr, nothing on stdout, nothing written
    diverged   the same after a run has started: numbers, not the line, were bad
    bad        anything else, and what ought not be accepted, or is planned and fails

Exit status 1 if any is bad.
"""

import argparse
import collections
import dataclasses
import importlib
import os
import pathlib
import random
import re
import signal
import sys
import tempfile
import time
import traceback
import typing
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from experiments.__main__ import FAMILIES
from experiments.harness import flags, runner

SCRIPTS = [name for names in FAMILIES.values() for name in names]
_SECONDS = {"plan": 30, "run": 240}
_NEVER = {  # what no flag of a type may be, in words
    int: ("-1", "-5", "1.5", "nan", "inf", "", "abc", "1e3", "1" + 12 * "0", 30 * "9"),
    float: ("-1", "-0.5", "nan", "inf", "-inf", "", "abc", "1e400", "1e300", "0,5"),
    bool: ("maybe", "2", ""),
    str: ("", "qqq", "\N{SNOWMAN}"),
}
_FILES = "mnist|cifar"  # data sets that are files
# Names that a script takes, where the defaults are not all there is.
_NAMES = {
    "dataset": ("digits", "mnist", "gaussian_prototypes", "cifar10"),
    "normalise": ("standardise", "unit", "signed", "binary"),
    "corruption": ("replacement", "additive", "clipped_additive"),
    "noise": ("normal", "uniform(0,1)", "laplace", "rademacher"),
    "activation": ("erf", "relu", "tanh", "gelu"),
    "parametrisation": ("ntk", "standard"),
    "rates": ("ntk", "standard"),
    "loss": ("mse", "cross_entropy", "softmax_mse"),
    "optimiser": ("adam", "sgd", "momentum", "gd"),
    "noise_regime": ("fresh", "frozen"),
}


@dataclasses.dataclass(frozen=True)
class Line:
    """A command line.

    Attributes:
        script: name of the script.
        arguments: what follows it.
        refused: whether it must be refused; if not, it may be.
        taken: whether it must be accepted.
    """

    script: str
    arguments: tuple[str, ...]
    refused: bool = False
    taken: bool = False

    def __str__(self) -> str:
        """The line as it is typed."""
        return " ".join((self.script, *map(repr, self.arguments)))


def main() -> None:
    """Draws the lines, runs them, prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--runs", type=float, default=0.1, help="share that is run")
    parser.add_argument("--all", action="store_true", help="show all, not bad ones")
    asked = parser.parse_args()
    experiments = {
        name: importlib.import_module(f"experiments.{name}").EXPERIMENT
        for name in SCRIPTS
    }
    rng, counts = random.Random(asked.seed), collections.Counter()
    print(f"seed {asked.seed}, {asked.count} command lines", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # of compiled programs
        for number in range(asked.count):
            line = drawn(experiments[SCRIPTS[number % len(SCRIPTS)]], rng)
            outcome, said = judged(line, experiments, run=rng.random() < asked.runs)
            counts[outcome] += 1
            if outcome == "bad" or asked.all:
                print(f"{outcome}: {line}\n    {said}", flush=True)
    print(", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())))
    sys.exit(bool(counts["bad"]))


def drawn(experiment: runner.Experiment, rng: random.Random) -> Line:
    """A command line of one script."""
    presets = ["smoke"] * 6 + sorted({"cpu", *experiment.presets})
    preset = rng.choice(presets)
    line = Line(experiment.name, (f"--preset={preset}",), taken=True)
    if rng.random() < 0.15:
        return _odd(line, rng)
    hints = typing.get_type_hints(experiment.config)
    base = experiment.configure(preset)
    fields = flags.settable(experiment.config)
    for field in rng.sample(fields, rng.choice((0, 1, 1, 1, 2, 3))):
        parser = flags.Parser(hints[field.name])
        never = rng.random() < 0.5
        text = (_never if never else _maybe)(field, parser, base, rng)
        refused = line.refused or (never and field.name != "data_dir")
        added = (*line.arguments, f"--{field.name}={text}")
        line = Line(line.script, added, refused=refused)
    return line


def _odd(line: Line, rng: random.Random) -> Line:
    """Faults of lines rather than of values."""
    odd = rng.choice(
        (
            ("--widht=3",),
            ("positional",),
            ("--seed=1", "--seed=2"),
            ("--flagfile=/nowhere/flags",),
            ("--workdir=",),
            ("--workdir=/dev/null",),
            ("--workdir=/dev/null/below",),
            ("--preset=smok",),
            ("--x64=perhaps",),
            ("--seed",),
            ("-",),
            ("--=3",),
            ("--jobs=2",),
            ("--shard=3/2",),
            ("--cluster=pbs", "--jobs=2"),
            ("--cluster=local", "--jobs=2", "--cluster_options=memory=3"),
        )
    )
    return Line(line.script, (*line.arguments, *odd), refused=True)


def _never(field, parser: flags.Parser, base, rng: random.Random) -> str:
    """A value that must be refused."""
    values = list(_NEVER[parser.kind])
    if parser.kind is int and field.metadata["least"] is None:
        values.append("0")
    if not parser.optional and parser.kind is not str:
        values.append("none")
    text = rng.choice(values)
    default = getattr(base, field.name)
    if parser.many and default:
        first = str(default[0])
        if field.metadata["distinct"] and rng.random() < 0.3:
            return f"{first},{first}"
        return rng.choice((text, f"{first},{text}", f"{first},,{first}"))
    return text


def _maybe(field, parser: flags.Parser, base, rng: random.Random) -> str:
    """A value that may be taken; small, so that it runs in seconds."""
    default = getattr(base, field.name)
    if parser.optional and rng.random() < 0.3:
        return "none"
    one: dict[type, Callable[[], typing.Any]] = {
        int: lambda: rng.choice((0, 1, 2, 3, 5, 8, 12, 40)),
        float: lambda: rng.choice((0.0, 1e-3, 0.1, 0.5, 0.9, 1.0, 2.0, 1e-300)),
        bool: lambda: rng.choice(("true", "False")),
        str: lambda: rng.choice(_NAMES.get(field.name, ("digits",))),
    }
    if field.name == "seed":
        return str(rng.randrange(2**31))
    if field.name == "size":
        return rng.choice("0468")
    if parser.kind is str and field.name not in _NAMES:
        own = default if isinstance(default, tuple) else (default or "none",)
        return ",".join(map(str, rng.sample(own, rng.randint(1, len(own)))))
    if not parser.many:
        return str(one[parser.kind]())
    entries = dict.fromkeys(one[parser.kind]() for _ in range(rng.randint(1, 4)))
    sort = sorted if rng.random() < 0.7 else list
    return ",".join(map(str, sort(entries)))


def judged(line: Line, experiments, *, run: bool) -> tuple[str, str]:
    """Outcome of a line and why; what is planned of a smoke run is run, if asked."""
    outcome, said = _outcome(line, experiments, "plan")
    if outcome == "accepted" and line.refused:
        return "bad", "accepted, and must be refused"
    if outcome == "refused" and line.taken:
        return "bad", f"refused, and must be accepted: {said}"
    # only the smoke preset is small, and some data sets are not there
    small = "--preset=smoke" in line.arguments and not re.search(_FILES, str(line))
    if run and outcome == "accepted" and small:
        outcome, said = _outcome(line, experiments, "run")
        if outcome == "refused":
            return "bad", f"planned, then refused: {said}"
        if outcome == "accepted":
            return "accepted and run", ""
    return outcome, said


def _outcome(line: Line, experiments, how: str) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        (place / "here").mkdir()
        status = _forked(experiments[line.script], line, place, how)
        out, err = ((place / name).read_text("utf-8") for name in ("out", "err"))
        written = [path.name for path in (place / "here").rglob("*") if path.is_file()]
        made = any((place / "here").iterdir())
    said = err.strip().splitlines()
    last = said[-1] if said else ""
    if status is None:
        return "bad", f"took more than {_SECONDS[how]} s"
    if status == 0 and how == "plan" and (said or made):
        return "bad", f"a plan wrote {written or said}"
    if status == 0 and re.search(r"cells, \d+ to compute", out + err):
        return "accepted", ""
    if how == "run" and status == 2 and re.search("diverged|lower", last):
        return "diverged", last
    if status == 2 and len(said) == 1 and not out and not made:
        return ("refused", last) if last.startswith("error: ") else ("bad", last)
    if how == "run" and status == 2:
        return "bad", f"failed after it began: {last}"
    return "bad", f"status {status}, {len(said)} lines, wrote {written}: {last}"


def _forked(experiment, line: Line, place: pathlib.Path, how: str) -> int | None:
    """Exit status of a process that runs the line; None if it takes too long."""
    child = os.fork()
    if child == 0:
        _be_script(experiment, line, place, how)
    end = time.monotonic() + _SECONDS[how]
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _be_script(experiment, line: Line, place: pathlib.Path, how: str) -> None:
    """Runs a line as its script does, and ends the process."""
    os.chdir(place / "here")
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    sys.argv = [f"experiments/{line.script}.py", *line.arguments]
    sys.argv += ["--dry_run"] * (how == "plan")
    status: object = 1
    try:
        runner.main(experiment)
    except SystemExit as exit_:
        status = exit_.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    main()
