"""`--help`: what it says, that it is quick, and that haste changes no word of it."""

import dataclasses
import importlib
import json
import subprocess
import sys

import pytest
from checkout import ROOT

from experiments.__main__ import FAMILIES
from experiments.harness import flags, help, quick_help, runner

SCRIPTS = [f"experiments.{name}" for names in FAMILIES.values() for name in names]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.Config):
    draws: int = flags.setting(4, "how many draws")
    share: float | None = flags.setting(None, "which share")
    p: tuple[float, ...] = flags.setting((0.5, 0.9), "which levels")
    centred: bool = flags.setting(False, "whether to centre")


EXPERIMENT = runner.Experiment(
    name="any",
    config=Config,
    presets={
        "smoke": {"draws": 1, "share": None, "p": (0.5,)},
        "mine": {"share": 0.25, "centred": True},
    },
    check=lambda config: None,
    cells=lambda config: [],
    compute=lambda config, cell: ({}, {}),
    table=lambda directory, rows: "",
    figure=lambda directory, rows: None,
)


def test_help_has_the_question_the_presets_and_the_flags():
    text = help.text(EXPERIMENT, "What?\n\n    python -m any\n")
    assert text.startswith("What?\n\n    python -m any\n\npresets")
    # what is as by default is no change
    assert "  smoke: seconds" in text
    assert "\n      --draws=1 --p=0.5\n" in text
    assert "\n  mine\n      --share=0.25 --centred=True\n" in text
    assert "  --draws  (an integer; default 4)\n      how many draws\n" in text
    assert "  --share  (a number or none; default none)\n" in text
    assert "  --[no]centred  (true or false; default False)\n" in text
    for record in (Config, flags.Options):
        for field in flags.settable(record):
            assert f"{field.name}  (" in text


@pytest.mark.parametrize("name", ["mine", "smoke"])
def test_what_help_says_of_a_preset_gives_the_preset(name):
    """Its flags on top of the defaults are the preset."""
    text = help.text(EXPERIMENT, "What?")
    words = text.partition(f"\n  {name}")[2].splitlines()[1].split()
    hints, given = {f.name: f.type for f in dataclasses.fields(Config)}, {}
    for word in words:
        flag, _, value = word.removeprefix("--").partition("=")
        given[flag] = flags.Parser(hints[flag]).parse(value)
    assert EXPERIMENT.configure(**given) == EXPERIMENT.configure(name)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("--help", True),
        ("--p=0.5 -help", True),
        ("-h", True),
        ("--helpfull", True),
        ("", False),
        ("--p=0.5", False),
        ("--helpful", False),
        ("help", False),
        ("-- --help", False),
    ],
)
def test_who_asks_for_help(line, answer):
    assert quick_help.asked(line.split()) == answer


def test_quick_help_says_what_the_scripts_say():
    code = (
        "import importlib, json, sys\n"
        "from experiments.harness import quick_help\n"
        "with quick_help.stand_ins():\n"
        "    for name in sys.argv[1:]:\n"
        "        importlib.import_module(name)\n"
        "    said = {name: quick_help.text(name) for name in sys.argv[1:]}\n"
        "assert not {'jax', 'scipy', 'theory'} & set(sys.modules)\n"
        "print(json.dumps(said))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *SCRIPTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(run.stdout)
    for name in SCRIPTS:
        script = importlib.import_module(name)
        assert said[name] == help.text(script.EXPERIMENT, script.__doc__ or "")


def test_help_loads_nothing_heavy_and_ends_well():
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", SCRIPTS[0], "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0
    assert run.stdout.startswith(importlib.import_module(SCRIPTS[0]).__doc__ or "none")
    assert "numpy" in run.stderr
    assert "jax._src" not in run.stderr
    assert "scipy._lib" not in run.stderr


def test_what_stand_ins_cannot_answer_is_left_to_the_script():
    before = set(sys.modules)
    quick_help.answer("experiments.nonesuch")  # neither an exception nor an exit
    assert set(sys.modules) == before
