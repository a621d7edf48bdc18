"""A plan needs no data, takes no time, and writes nothing."""

import importlib

import pytest

from experiments.__main__ import FAMILIES
from experiments.harness import planning, runner

PRESETS = [
    (name, preset)
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
