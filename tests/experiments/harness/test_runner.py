"""The runner, on an experiment of no interest."""

import dataclasses
import json
import os
import re
import subprocess
import sys

import fake_experiment
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from checkout import ROOT
from fake_experiment import EXPERIMENT, Config, calls, compute
from run_scripts import (
    HANGS,
    execute,
    without_cache,
    without_seconds,
)

from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from theory.errors import InputError, NumericalError


def test_run_leaves_rows_arrays_table_and_figures(tmp_path, capsys):
    rows = execute(tmp_path / "run", p=(0.9, 0.5))
    out, err = capsys.readouterr()
    assert out.startswith("0.9 0.300\n0.5 0.167\nfigure: ")
    assert err.splitlines()[0] == f"{tmp_path}/run: 2 cells, 2 to compute"
    assert re.fullmatch(r"\[1/2\] p=0\.9 \(\d+\.\d s\)", err.splitlines()[1])
    assert [row["p"] for row in rows] == [0.9, 0.5]
    assert rows[0]["seconds"] >= 0
    directory = RunDirectory(tmp_path / "run")
    assert directory.rows() == rows
    assert directory.arrays(rows[0])["outputs"].shape == (8,)
    config = directory.read_json("config.json")
    assert (config["experiment"], config["p"]) == ("fake", [0.9, 0.5])
    assert directory.read_json("environment.json")["jax"] == jax.__version__
    figures = tmp_path / "run" / "figures"
    assert (figures / "fake.png").read_bytes().startswith(b"\x89PNG")
    assert (figures / "fake.pdf").read_bytes().startswith(b"%PDF")


def test_tables_and_what_is_below_them_tell_what_is_no_number(tmp_path, capsys):
    def doubtful(config, cell):
        row = {"accuracy": None, "doubts": "too many images"}
        return row, {"outputs": np.zeros(2)}

    execute(tmp_path, dataclasses.replace(EXPERIMENT, compute=doubtful), p=(0.5,))
    assert capsys.readouterr().out.splitlines()[:3] == [
        "0.5 nan",
        "not valid (too many images)",
        "not finite: accuracy of 1 of 1 cells",
    ]


def test_longer_sweep_computes_what_is_new_and_shows_all(tmp_path):
    first = execute(tmp_path, p=(0.5, 0.9))
    rows = execute(tmp_path, p=(0.97, 0.9, 0.5))
    assert calls == [0.97]
    assert [row["p"] for row in rows] == [0.97, 0.9, 0.5]
    assert rows[1:] == first[::-1]  # with their `seconds`
    execute(tmp_path, p=(0.5,))
    assert calls == []
    execute(tmp_path, p=(0.5,), width=9)
    assert calls == [0.5]


def test_settings_that_ask_for_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match="must ask for one cell at least"):
        execute(tmp_path / "never", p=())
    assert not (tmp_path / "never").exists()


def test_x64_decides_the_key(tmp_path):
    (row,) = execute(tmp_path, p=(0.5,))
    assert row["x64"] == (jnp.ones(()).dtype == jnp.float64)
    jax.config.update("jax_enable_x64", not row["x64"])
    try:
        (other,) = execute(tmp_path, p=(0.5,))
    finally:
        jax.config.update("jax_enable_x64", row["x64"])
    assert calls == [0.5]
    assert other["x64"] is not row["x64"]


def test_overwrite_discards_the_cells_asked_for_and_no_others(tmp_path):
    execute(tmp_path, p=(0.5, 0.9))
    execute(tmp_path, p=(0.9,), overwrite=True)
    assert calls == [0.9]
    assert {row["p"] for row in RunDirectory(tmp_path).rows()} == {0.5, 0.9}
    assert len((tmp_path / "metrics.jsonl").read_bytes().splitlines()) == 2


def test_dry_run_shows_cells_and_cost_and_writes_nothing(tmp_path, capsys):
    assert execute(tmp_path / "new", dry_run=True) == []
    assert not (tmp_path / "new").exists()
    execute(tmp_path / "run", p=(0.5,))
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    capsys.readouterr()
    execute(tmp_path / "run", p=(0.5, 0.9, 1.0), dry_run=True)
    first, second, third, summary = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"computed  [0-9a-f]{16}  p=0\.5", first)
    assert re.fullmatch(r"missing   [0-9a-f]{16}  p=0\.9", second)
    assert re.fullmatch(r"missing   [0-9a-f]{16}  p=1\.0", third)
    assert summary == "3 cells, 2 to compute, about 5 s"
    assert calls == []
    execute(tmp_path / "run", p=(0.5, 0.9), dry_run=True, overwrite=True)
    assert "2 cells, 2 to compute, about 5 s" in capsys.readouterr().out
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("bad", [{"p": (1.5,)}, {"seed": -1}, {"seed": 2**31}])
def test_bad_settings_create_nothing(tmp_path, bad):
    with pytest.raises(InputError, match=r"^`--(p|seed)` must be in"):
        execute(tmp_path / "run", **bad)
    assert not (tmp_path / "run").exists()


def test_largest_seed_is_a_key(tmp_path):
    execute(tmp_path, p=(0.5,), seed=2**31 - 1)


def test_directory_of_another_experiment_is_refused(tmp_path):
    execute(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    other = dataclasses.replace(EXPERIMENT, name="other")
    with pytest.raises(InputError, match="of other, got .*config.json is of fake"):
        execute(tmp_path, other)
    assert (tmp_path / "config.json").read_bytes() == before


def test_failing_cell_keeps_the_ones_before(tmp_path):
    def fail_at_second(config, cell):
        if cell.settings["p"] == 0.9:
            raise KeyboardInterrupt
        return compute(config, cell)

    broken = dataclasses.replace(EXPERIMENT, compute=fail_at_second)
    with pytest.raises(KeyboardInterrupt):
        execute(tmp_path / "a", broken, p=(0.5, 0.9, 1.0))
    assert [row["p"] for row in RunDirectory(tmp_path / "a").rows()] == [0.5]
    rows = execute(tmp_path / "a", p=(0.5, 0.9, 1.0))
    assert calls == [0.9, 1.0]
    whole = execute(tmp_path / "b", p=(0.5, 0.9, 1.0))
    assert without_seconds(rows) == without_seconds(whole)


@pytest.mark.parametrize("bad", [0.5, 0.9])
@pytest.mark.parametrize("how", ["raises", "NaN"])
def test_cells_that_fail_are_told_and_the_others_stored(tmp_path, capsys, bad, how):
    def fail_at_one(config, cell):
        row, arrays = compute(config, cell)
        if cell.settings["p"] != bad:
            return row, arrays
        if how == "raises":
            raise NumericalError("`accuracy` came out as NaN or infinity")
        return {**row, "accuracy": np.nan}, arrays

    broken = dataclasses.replace(EXPERIMENT, compute=fail_at_one)
    message = rf"1 of 3 cells failed; .*: p={bad}: `accuracy` came out as NaN"
    with pytest.raises(NumericalError, match=message):
        execute(tmp_path, broken, p=(0.5, 0.9, 1.0))
    assert f"p={bad} (failed: `accuracy` came out as NaN" in capsys.readouterr().err
    others = [p for p in (0.5, 0.9, 1.0) if p != bad]
    assert [row["p"] for row in RunDirectory(tmp_path).rows()] == others
    execute(tmp_path, broken, p=tuple(others))
    assert calls == []
    assert f"{others[0]:g} " in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"3", b"null", b'"fake"', b'{"experiment": 3}', b"{}", None]
)
def test_a_config_that_does_not_say_whose_rows_they_are_is_refused(tmp_path, content):
    execute(tmp_path)
    config = tmp_path / "config.json"
    if content is None:
        config.unlink()
    else:
        config.write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json must (be JSON|say of which)"):
        execute(tmp_path)
    assert config.exists() == (content is not None)
    config.write_text('{"experiment": "fake"}')
    execute(tmp_path)
    assert calls == []


def parse(*arguments):
    flag_values = flags.FlagValues()
    runner.define_flags(EXPERIMENT, flag_values)
    flag_values(["program", *arguments])
    return runner.read_flags(EXPERIMENT, flag_values)


def test_flags_beat_the_preset_and_the_preset_the_defaults():
    assert parse()[0] == Config()
    assert parse("--preset=cpu")[0] == Config()
    assert parse("--preset=smoke")[0] == Config(p=(0.9,), width=2)
    assert parse("--width=8", "--preset=smoke")[0] == Config(p=(0.9,))
    assert parse("--p=0.1,1", "--preset=paper")[0] == Config(p=(0.1, 1.0), width=2048)


def test_every_type_of_setting_has_a_flag():
    config, options = parse(
        "--seed=3",
        "--data_dir=images",
        "--routes=exact, network",
        "--ridge=1e-3",
        "--centred",
        "--nox64",
        "--workdir=run",
        "--dry_run",
        "--overwrite=false",
    )
    routes = ("exact", "network")
    assert config == Config(
        seed=3, data_dir="images", routes=routes, ridge=1e-3, centred=True
    )
    assert (options.workdir, options.x64) == ("run", False)
    assert (options.dry_run, options.overwrite) == (True, False)
    assert parse("--ridge=none", "--x64=True")[0].ridge is None


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--width=3.5", "flag --width=3.5: must be an integer, got '3.5'."),
        ("--width=", "flag --width=: must be an integer, got ''."),
        ("--pause=nan", "flag --pause=nan: must be a number, got 'nan'."),
        ("--ridge=big", "flag --ridge=big: must be a number or none, got 'big'."),
        (
            "--p=0.5,,1",
            "must be a number or several with commas between, got '0.5,,1'.",
        ),
        ("--p=", "must be a number or several with commas between, got ''."),
        (
            "--routes=exact,",
            "must be a name or several with commas between, got 'exact,'.",
        ),
        ("--centred=maybe", "must be true or false, got 'maybe'."),
        ("--widht=3", "Unknown command line flag 'widht'. Did you mean: width ?"),
        ("--preset=smok", "unknown --preset 'smok': did you mean 'smoke'?"),
    ],
)
def test_bad_flag_is_told_with_what_it_must_be(argument, message):
    with pytest.raises((flags.Error, InputError)) as error:
        parse(argument)
    assert message in str(error.value)


def test_two_experiments_share_a_process():
    other = dataclasses.replace(EXPERIMENT, name="other")
    for experiment in (EXPERIMENT, other):
        runner.define_flags(experiment, flags.FlagValues())
    assert "width" not in flags.FLAGS
    assert "workdir" not in flags.FLAGS


def test_a_script_is_run_by_its_name(tmp_path):
    done = subprocess.run(
        [sys.executable, fake_experiment.__file__, "--widht=3"],
        cwd=tmp_path,
        env={**os.environ, **without_cache(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: .+\n", done.stderr)


def test_help_lists_the_settings():
    flag_values = flags.FlagValues()
    runner.define_flags(EXPERIMENT, flag_values)
    text = flag_values.main_module_help()
    assert "--p: corruption levels (default 0.5,0.9)" in text
    assert "(a number or several with commas between)" in text
    assert "--[no]centred: whether to centre (default False)" in text
    assert "--workdir: run directory" in text


def test_rows_hold_settings_for_a_data_frame(tmp_path):
    execute(tmp_path)
    line = (tmp_path / "metrics.jsonl").read_text().splitlines()[0]
    names = ["key", "route", "p", "seed", "width", "ridge", "x64"]
    assert list(json.loads(line)) == [*names, "accuracy", "seconds", "checksum"]
