"""Runs whose cells are computed by jobs: here, and by programs named as Slurm's."""

import os
import re
import signal
import sys
import time

import numpy as np
import pytest
import submitit
from absl import flags as absl_flags
from checkout import ROOT
from fake_experiment import EXPERIMENT, table
from fake_slurm import install
from run_scripts import HANGS, by_key, execute, finish, wait_for

from experiments.harness import flags, jobs, runner, sizes
from experiments.harness.run_directory import RunDirectory
from theory.errors import InputError

P = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
COMMAND = ("--workdir=run", f"--p={','.join(map(str, P))}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run directory of one process, and its rows."""
    path = tmp_path_factory.mktemp("whole")
    return RunDirectory(path), execute(path, p=P)


def assert_same(found, whole):
    directory, rows = whole
    assert by_key(found.rows()) == by_key(rows)
    for row in rows:
        one, two = found.arrays(row)["outputs"], directory.arrays(row)["outputs"]
        np.testing.assert_array_equal(one, two)


def test_a_killed_job_is_told_and_the_same_command_goes_on(tmp_path, start, whole):
    run, command = RunDirectory(tmp_path / "run"), (*COMMAND, "--cluster=local")
    (tmp_path / "SIGKILL-0.5").touch()  # the second cell of the second job
    status, out, err = finish(start(tmp_path, *command, "--jobs=3"), tmp_path)
    assert status == 2
    assert out == ""
    first, *_, last = err.splitlines()
    assert first == "run: 6 cells, 6 to compute in 3 jobs, local, with logs in run/jobs"
    told = "job 2/3 ended without 1 of its 2 cells: it was killed, see (.*_log.err)\n"
    lost = re.search(told, err)
    assert lost, err
    assert "[1/2] p=0.2" in (tmp_path / lost[1]).read_text()
    assert last.startswith("error: jobs ended without 1 of 6 cells, see above; ")
    assert "the same command without --overwrite computes the rest." in last
    assert {row["p"] for row in run.rows()} == set(P) - {0.5}
    status, out, err = finish(start(tmp_path, *command, "--jobs=3"), tmp_path)
    assert status == 0, err
    assert "6 cells, 1 to compute in 1 jobs" in err
    assert out.splitlines()[: len(P)] == table(None, whole[1]).splitlines()
    assert (tmp_path / "run" / "figures" / "fake.png").exists()
    assert_same(run, whole)
    assert not (tmp_path / "run" / "shards").exists()
    assert not list(tmp_path.glob("run/jobs/*.pkl"))
    status, _, err = finish(start(tmp_path, *command, "--jobs=3"), tmp_path)
    assert (status, err) == (0, "run: 6 cells, 0 to compute\n")


@pytest.mark.slow
def test_jobs_of_slurm_are_queued_again_and_go_on(tmp_path, start, whole):
    state = install(tmp_path / "bin")
    (tmp_path / "SIGUSR2-0.4").touch()  # as before a time-out, or for another's job
    options = "partition=gpu cpus_per_task=2 array_parallelism=1 setup='export A=b,c'"
    command = (*COMMAND, "--cluster=slurm", "--jobs=2", f"--cluster_options={options}")
    status, out, err = finish(start(tmp_path, *command), tmp_path)
    assert status == 0, err
    assert out.splitlines()[: len(P)] == table(None, whole[1]).splitlines()
    assert_same(RunDirectory(tmp_path / "run"), whole)
    text = (state / "script").read_text()
    for line in ("partition=gpu", "cpus-per-task=2", "array=0-1%1", "time=60"):
        assert f"#SBATCH --{line}\n" in text
    assert "#SBATCH --job-name=fake_experiment\n" in text
    assert "\nexport A=b,c\n" in text
    assert not (tmp_path / "SIGUSR2-0.4").exists()
    (log,) = (tmp_path / "run" / "jobs").glob("7_1_0_log.err")
    assert log.read_text().count("[1/3]") == 1
    assert "[1/2]" in log.read_text()  # its first cell was not computed again


@pytest.mark.parametrize("cluster", ["local", "slurm"])
def test_control_c_ends_the_jobs(tmp_path, start, cluster):
    state = install(tmp_path / "bin")
    arguments = (f"--cluster={cluster}", "--jobs=2", f"--pause={HANGS}")
    process = start(tmp_path, *COMMAND, *arguments)
    wait_for(process, (tmp_path / "asleep").exists)
    os.kill(process.pid, signal.SIGINT)
    status, out, err = finish(process, tmp_path)
    assert (status, out) == (130, "")
    assert "interrupted: finished cells are stored, the same command" in err
    assert len(err.splitlines()) == 2
    shards = list((tmp_path / "run" / "shards").iterdir())
    assert shards
    for shard in shards:
        _wait_until_nobody_writes(RunDirectory(shard))
    if cluster == "slurm":
        assert (state / "cancelled").read_text() == "7"


def _wait_until_nobody_writes(directory):
    end = time.monotonic() + HANGS / 2
    while True:
        try:
            with directory.writing():
                return
        except InputError:
            assert time.monotonic() < end
            time.sleep(0.05)


def read(*arguments, script="fake.py"):
    values = absl_flags.FlagValues()
    runner.define_flags(EXPERIMENT, values)
    values(["program", *arguments])
    options = runner.read_flags(EXPERIMENT, values)[1]
    command = [script, *flags.given(EXPERIMENT, ("preset", "x64"), values)]
    return jobs.Cluster.read(options, command)


def test_jobs_are_given_the_flags_that_were_given():
    assert read() is None
    given = ("--p=0.1,1e-7", "--ridge=none", "--nox64", "--centred", "--routes=a, b")
    cluster = read("--cluster=local", "--jobs=2", "--preset=paper", *given)
    assert cluster is not None
    script, *arguments = cluster.command
    assert os.path.isabs(script)
    one, two = absl_flags.FlagValues(), absl_flags.FlagValues()
    for values, line in ((one, (*given, "--preset=paper")), (two, arguments)):
        runner.define_flags(EXPERIMENT, values)
        values(["program", *line])
    assert runner.read_flags(EXPERIMENT, one) == runner.read_flags(EXPERIMENT, two)


def _plan(path, cluster):
    config = EXPERIMENT.configure(p=P)
    runner.execute(EXPERIMENT, config, workdir=path, cluster=cluster, dry_run=True)


def test_a_plan_says_which_job_computes_what(tmp_path, capsys):
    execute(tmp_path, p=P[:1])
    capsys.readouterr()
    _plan(tmp_path, read("--cluster=local", "--jobs=9"))
    first, second, *_, last = capsys.readouterr().out.splitlines()
    assert first.endswith("  p=0.1")
    assert second.endswith("  p=0.2  job 1/5")
    assert last == "6 cells, 5 to compute, about 12 s, in 5 jobs of at most 2 s"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--jobs=2",), "`--jobs` must come with --cluster"),
        (("--cluster_options=time=3",), "`--cluster_options` must come with --cluster"),
        (("--cluster=local",), "`--jobs` must say how many jobs share the cells"),
        (("--cluster=pbs", "--jobs=2"), "unknown --cluster 'pbs': valid are local, sl"),
        (
            ("--cluster=local", "--jobs=2", "--shard=1/2"),
            "`--shard` must come without --cluster",
        ),
    ],
)
def test_flags_that_make_no_sense_together_are_refused(arguments, message):
    with pytest.raises(InputError) as error:
        read(*arguments)
    assert message in str(error.value)


@pytest.mark.parametrize("cluster", ["local", "slurm"])
def test_a_missing_submitit_is_told_with_the_way_out(monkeypatch, cluster):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r'pip install "ntk-corrupt\[cluster\]"'):
        read(f"--cluster={cluster}", "--jobs=2")


@pytest.mark.parametrize("program", ["sbatch", "srun"])
def test_a_machine_without_slurm_is_told(tmp_path, monkeypatch, program):
    install(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert read("--cluster=slurm", "--jobs=2")
    (tmp_path / "bin" / program).unlink()
    with pytest.raises(InputError, match=f"must find {program}, which is not on PATH"):
        read("--cluster=slurm", "--jobs=2")
    assert read("--cluster=local", "--jobs=2")


def test_what_sbatch_refuses_is_told_in_its_words(tmp_path, monkeypatch):
    install(tmp_path / "bin")
    (tmp_path / "bin" / "sbatch").write_text(
        "#!/bin/sh\necho 'error: invalid partition specified: gpu' >&2\nexit 1\n"
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with pytest.raises(InputError, match="sbatch refused the jobs.*partition .*: gpu"):
        runner.execute(
            EXPERIMENT,
            EXPERIMENT.configure(p=P),
            workdir=tmp_path / "run",
            cluster=read("--cluster=slurm", "--jobs=2", "--cluster_options=mem=3G"),
        )


def test_local_jobs_take_gpus_in_turn(tmp_path, monkeypatch):
    visible = []

    def submit(executor, script):
        visible.append(executor.parameters.get("visible_gpus"))
        assert executor.parameters["gpus_per_node"] == (visible[-1] is not None)

    monkeypatch.setattr(submitit.LocalExecutor, "submit", submit)
    for option in ("gpus_per_node=2", "time=5"):
        cluster = read("--cluster=local", "--jobs=3", f"--cluster_options={option}")
        cluster._submit(tmp_path, 3, [])
    assert visible == [(0,), (1,), (0,), None, None, None]


def test_jobs_of_this_machine_share_its_memory(tmp_path, monkeypatch):
    install(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setattr(sizes, "available_bytes", lambda: 10)
    monkeypatch.setattr(sizes, "held_bytes", lambda cell: 4)
    for count, jobs_of in ((2, "local"), (3, "slurm")):
        _plan(tmp_path, read(f"--cluster={jobs_of}", f"--jobs={count}"))
    with pytest.raises(InputError, match="more, and 3 jobs as often, and .* are free"):
        _plan(tmp_path, read("--cluster=local", "--jobs=3"))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone has it")
@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_local_jobs_share_the_cores_out(count):
    cores, shares = os.sched_getaffinity(0), []
    for number in range(count):
        with jobs._on_share(number, count):
            shares.append(os.sched_getaffinity(0))
        assert os.sched_getaffinity(0) == cores
    assert set().union(*shares) == cores
    sizes = [len(share) for share in shares]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    if count <= len(cores):
        assert sum(sizes) == len(cores)


def test_the_harness_imports_no_submitit():
    for path in (ROOT / "experiments").rglob("*.py"):
        assert "\nimport submitit" not in path.read_text("utf-8")
