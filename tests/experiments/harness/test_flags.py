"""What the values of flags may be: in all scripts, and where it is declared."""

import dataclasses
import importlib
import typing

import absl.flags
import pytest
from closeness import raises

from experiments.__main__ import FAMILIES
from experiments.harness import flags, runner

SCRIPTS = [name for names in FAMILIES.values() for name in names]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.Config):
    draws: int = flags.setting(4, "draws")
    epochs: int = flags.setting(4, "epochs", least=0, most=10)
    rate: float = flags.setting(0.1, "rate", above=0)
    share: float | None = flags.setting(None, "share")
    p: tuple[float, ...] = flags.setting((0.5,), "levels")
    channels: tuple[int, ...] = flags.setting((2, 2), "channels", distinct=False)
    centred: bool = flags.setting(False, "centred")
    name: str = flags.setting("digits", "name")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"draws": 2**31 - 1, "epochs": 0, "rate": 1e-15},
        {"share": 0, "p": (0, 1)},  # a Python integer where a number is meant
        {"share": 0.0, "p": (), "channels": (3, 3), "seed": 0},
    ],
)
def test_what_is_in_its_range_is_taken(settings):
    flags.check(Config(**settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"draws": 0}, "`--draws` must be at least 1, got 0."),
        ({"draws": 10**12}, "`--draws` must be at most 2147483647, got 1000000000000."),
        ({"epochs": -1}, "`--epochs` must be at least 0, got -1."),
        ({"epochs": 11}, "`--epochs` must be at most 10, got 11."),
        ({"rate": 0.0}, "`--rate` must be positive, got 0.0."),
        ({"rate": float("inf")}, "`--rate` must be finite, got inf."),
        ({"share": float("nan")}, "`--share` must be finite, got nan."),
        ({"share": -0.1}, "`--share` must be at least 0, got -0.1."),
        ({"share": 1e300}, "`--share` must be at most 1e+15, got 1e+300."),
        ({"share": 1e-300}, "`--share` must be 0 or at least 1e-15, got 1e-300."),
        ({"p": (0.5, -1.0)}, "`--p` must be at least 0, got -1.0."),
        ({"p": (0.5, 1, 0.5)}, "`--p` must be different ones, got 0.5 more than once."),
        ({"channels": (2, 0)}, "`--channels` must be at least 1, got 0."),
    ],
)
def test_what_is_out_of_its_range_is_refused(settings, said):
    with raises(said):
        flags.check(Config(**settings))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_number_of_every_script_has_a_range(script, tmp_path):
    experiment = importlib.import_module(f"experiments.{script}").EXPERIMENT
    hints = typing.get_type_hints(experiment.config)
    for field in flags.settable(experiment.config):
        parser = flags.Parser(hints[field.name])
        if parser.kind not in (int, float):
            continue
        for bad in (-1, parser.kind(10**12) * 10**12, parser.kind(-(10**12))):
            value = (bad,) if parser.many else bad
            config = experiment.configure("smoke", **{field.name: value})
            with raises(f"`--{field.name}` must be"):
                runner.execute(experiment, config, workdir=tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("given", [["--draws=1", "--draws=1"], ["--centred"] * 2])
def test_a_flag_is_given_once(given):
    values = absl.flags.FlagValues()
    experiment = runner.Experiment(
        name="any",
        config=Config,
        presets={},
        check=lambda config: None,
        cells=lambda config: [],
        compute=lambda config, cell: ({}, {}),
        table=lambda directory, rows: "",
        figure=lambda directory, rows: None,
    )
    flags.define_flags(experiment, values)
    with pytest.raises(absl.flags.Error, match="must be given once, not twice"):
        values(["program", *given])
