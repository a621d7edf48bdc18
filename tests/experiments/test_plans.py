"""A plan needs no data, takes no time, and writes nothing."""

import importlib
import re
import shlex

import absl.flags
import pytest
from checkout import ROOT

from experiments.__main__ import FAMILIES
from experiments.harness import flags, planning, runner

LONG = {("rbm", "paper")}  # ten seconds to plan
PRESETS = [
    pytest.param(name, preset, marks=[pytest.mark.slow] * ((name, preset) in LONG))
    for names in FAMILIES.values()
    for name in names
    for preset in ("smoke", "cpu", "paper")
]


@pytest.fixture
def no_data(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("data were read")

    monkeypatch.setattr("ntk_corrupt.data.loading.load", refuse)


@pytest.mark.parametrize(("script", "preset"), PRESETS)
def test_every_preset_is_planned_without_data(
    tmp_path, capsys, no_data, script, preset
):
    experiment = importlib.import_module(f"experiments.{script}").EXPERIMENT
    # whatever is cached of other tests is of other settings
    config = experiment.configure(preset, seed=97)
    assert (
        runner.execute(experiment, config, workdir=tmp_path / "new", dry_run=True) == []
    )
    assert " to compute" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()
    assert not planning.active()


def documented():
    """Command lines of scripts on the pages, without the name of Python."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    text = "\n".join(page.read_text("utf-8") for page in pages).replace("\\\n", " ")
    found = re.findall(r"python -m experiments\.([a-z_]+)([^\n`#|&;]*)", text)
    return sorted({(name, arguments.strip()) for name, arguments in found})


def test_every_documented_command_line_is_planned(tmp_path, no_data):
    commands = documented()
    assert len(commands) > 20
    for script, arguments in commands:
        experiment = importlib.import_module(f"experiments.{script}").EXPERIMENT
        values = absl.flags.FlagValues()
        flags.define_flags(experiment, values)
        assert values(["program", *shlex.split(arguments)])[1:] == []
        config, _ = flags.read_flags(experiment, values)
        runner.execute(experiment, config, workdir=tmp_path / "new", dry_run=True)
    assert not (tmp_path / "new").exists()
