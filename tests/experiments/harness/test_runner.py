"""The runner, on an experiment of no interest."""

import dataclasses
import json
import multiprocessing
import multiprocessing.forkserver
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import fake_experiment
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from checkout import ROOT
from fake_experiment import EXPERIMENT, Config, calls, compute, script, table

from experiments.harness import endings, runner
from experiments.harness.run_directory import RunDirectory
from theory.errors import InputError, NumericalError

# Of a process that hangs: none is waited for as long, on however busy a machine.
HANGS = 500


def execute(workdir, experiment=EXPERIMENT, *, overwrite=False, dry_run=False, **set_):
    calls.clear()
    config = Config(**set_)
    options = {"overwrite": overwrite, "dry_run": dry_run}
    return runner.execute(experiment, config, workdir=workdir, **options)


def without_seconds(rows):
    return [{n: v for n, v in row.items() if n != "seconds"} for row in rows]


def by_key(rows):
    return sorted(without_seconds(rows), key=lambda row: row["key"])


def without_cache():
    """The environment of a script that finds its own cache of compiled programs."""
    import matplotlib

    # without its cache matplotlib looks at all fonts again
    return {"MPLCONFIGDIR": matplotlib.get_cachedir(), "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def start():
    """Starts scripts, of a server that has imported once what all of them import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([fake_experiment.__name__])
    with pytest.MonkeyPatch().context() as patch:
        patch.delenv("JAX_COMPILATION_CACHE_DIR")
        # of its own the server ignores modules that it does not find
        path = {"PYTHONPATH": os.pathsep.join(sys.path)}
        for name, value in (without_cache() | path).items():
            patch.setenv(name, value)
        multiprocessing.forkserver.ensure_running()

    def run(cwd, *arguments):
        process = context.Process(target=script, args=(cwd, arguments))
        process.start()
        return process

    return run


def finish(process, cwd):
    process.join(HANGS)
    assert process.exitcode is not None
    return process.exitcode, *((cwd / name).read_text() for name in ("out", "err"))


def wait_for(process, happened):
    """Waits until something has happened, and no longer than the process lives."""
    while not happened():
        assert process.exitcode is None
        time.sleep(0.01)


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


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("`p` must\nbe less."), 2, "error: `p` must be less."),
        (NumericalError("indefinite"), 2, "error: indefinite"),
        (flags.Error("unknown flag"), 2, "error: unknown flag"),
        (MemoryError("8 GiB"), 2, "error: out of memory, ask for smaller sizes: 8 GiB"),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 8 GiB"),
            2,
            "error: out of memory, ask for smaller sizes: RESOURCE_EXHAUSTED: 8 GiB",
        ),
        (
            RuntimeError("Unable to initialize backend 'tpu': (set it to '')"),
            2,
            "error: JAX_PLATFORMS must name a device that there is: "
            "Unable to initialize backend 'tpu': (set it to '')",
        ),
        (
            KeyboardInterrupt(),
            130,
            "interrupted: finished cells are stored, the same command without "
            "--overwrite computes the rest.",
        ),
    ],
)
def test_errors_of_the_user_are_one_line_and_a_status(capsys, error, status, line):
    with pytest.raises(SystemExit) as exit_, endings.one_line_errors():
        raise error
    assert exit_.value.code == status
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize("error", [KeyError, jax.errors.JaxRuntimeError, OSError])
def test_bugs_keep_their_traceback(error):
    with pytest.raises(error), endings.one_line_errors():
        raise error("INTERNAL")


def test_memory_of_the_device_running_out_is_an_error_that_is_caught():
    with pytest.raises(SystemExit), endings.one_line_errors():
        jnp.zeros((2**22, 2**22)).block_until_ready()


def test_two_experiments_share_a_process():
    other = dataclasses.replace(EXPERIMENT, name="other")
    for experiment in (EXPERIMENT, other):
        runner.define_flags(experiment, flags.FlagValues())
    assert "width" not in flags.FLAGS
    assert "workdir" not in flags.FLAGS


def test_kills_at_any_moment_cost_nothing_but_time(tmp_path, start):
    cells = 40
    settings = {"p": tuple(i / 20 for i in range(20)), "routes": ("exact", "network")}
    whole = execute(tmp_path / "whole", **settings)
    p, routes = (",".join(map(str, settings[name])) for name in ("p", "routes"))
    command = ("--workdir=run", f"--p={p}", f"--routes={routes}")
    command += ("--x64" if whole[0]["x64"] else "--nox64",)
    metrics = tmp_path / "run" / "metrics.jsonl"
    stored = lambda: metrics.read_bytes().count(b"\n") if metrics.exists() else 0
    random = np.random.default_rng()
    counts = [0]
    for _ in range(3):
        for entry in tmp_path.glob("cache/ntk-corrupt/jax/*-cache"):
            os.truncate(entry, 10)  # torn by the kill as well
        # all cells take so long that a busy machine does not miss the next one
        process = start(tmp_path, *command, "--pause=0.2")
        wait_for(process, lambda: stored() > counts[-1])
        time.sleep(random.uniform(0, 0.4))
        process.kill()
        assert finish(process, tmp_path)[0] == -signal.SIGKILL
        counts.append(len(RunDirectory(tmp_path / "run").rows()))
    assert 0 < counts[1] < counts[2] < counts[3] < cells
    status, out, err = finish(start(tmp_path, *command), tmp_path)
    assert status == 0, err
    assert out.splitlines()[:cells] == table(None, whole).splitlines()
    assert f"{cells} cells, {cells - counts[3]} to compute" in err
    assert len(err.splitlines()) == 1 + cells - counts[3]  # no warnings
    directory = RunDirectory(tmp_path / "run")
    assert by_key(directory.rows()) == by_key(whole)
    for row in whole:
        expected = RunDirectory(tmp_path / "whole").arrays(row)["outputs"]
        np.testing.assert_array_equal(directory.arrays(row)["outputs"], expected)
    assert any((tmp_path / "cache" / "ntk-corrupt" / "jax").iterdir())


def test_control_c_says_how_to_go_on(tmp_path, start):
    process = start(tmp_path, f"--pause={HANGS}")
    wait_for(process, (tmp_path / "asleep").exists)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    status, out, err = finish(process, tmp_path)
    assert status == 130
    assert out == ""
    assert err.splitlines()[1].startswith("interrupted: finished cells are stored")
    assert len(err.splitlines()) == 2


# Python with Ctrl-C as at a terminal: the jobs of a shell in the background ignore it.
AT_A_TERMINAL = (
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
)
SWALLOWING = """
import gc, sys, time
import fake_experiment
from experiments.harness import runner

class Finalised:
    def __del__(self):  # what it raises is printed and forgotten
        fake_experiment.pathlib.Path("asleep").touch()
        time.sleep({hangs})

def compute(config, cell):
    Finalised()
    time.sleep({hangs})

runner.main(fake_experiment.dataclasses.replace(
    fake_experiment.EXPERIMENT, compute=compute))
"""


def test_control_c_ends_what_python_would_go_on_with(tmp_path):
    process = subprocess.Popen(
        [*AT_A_TERMINAL, "-c", SWALLOWING.format(hangs=HANGS)],
        cwd=tmp_path,
        env={
            **os.environ,
            **without_cache(),
            "PYTHONPATH": f"{ROOT}:{ROOT}/tests/support",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "asleep").exists():
        assert process.poll() is None
        time.sleep(0.05)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=HANGS)[1]
    assert process.returncode == 130
    assert time.monotonic() - start < HANGS / 2
    assert "interrupted: finished cells are stored" in err


def test_control_c_during_the_imports_ends_without_an_exception(tmp_path):
    """One may be swallowed there, or crash a library that is being loaded."""
    process = subprocess.Popen(
        [*AT_A_TERMINAL, "-m", "experiments.noise_gallery", "--preset=smoke"],
        cwd=tmp_path,
        env={**os.environ, **without_cache(), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while "numpy" not in pathlib.Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=HANGS)[1]
    assert process.returncode == 130
    assert err == "interrupted before anything was run.\n"
    assert not list(tmp_path.iterdir())


BAD_COMMANDS = [("--widht=3",), ("--p=1.5",), ("--p", "0.5", "0.9")]


@pytest.mark.parametrize("arguments", BAD_COMMANDS)
def test_bad_command_line_is_one_line_with_status_2(tmp_path, start, arguments):
    status, out, err = finish(start(tmp_path, *arguments), tmp_path)
    assert status == 2
    assert out == ""
    assert re.fullmatch(r"error: .+\n", err)
    assert not (tmp_path / "results").exists()


def test_a_script_is_run_by_its_name(tmp_path):
    done = subprocess.run(
        [sys.executable, fake_experiment.__file__, *BAD_COMMANDS[0]],
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
