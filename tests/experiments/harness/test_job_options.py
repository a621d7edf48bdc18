"""What `--cluster_options` may say."""

import pytest
import submitit
from fake_slurm import install

from experiments.harness import job_options
from theory.errors import InputError


def test_options_are_read_as_sbatch_has_them():
    text = "partition=gpu --cpus-per-task=4 mem=32G setup='module load cuda,gcc/12' "
    text += 'setup="source env.sh" constraint=a=b'
    assert job_options.read(text, "slurm") == {
        "partition": "gpu",
        "cpus_per_task": 4,
        "mem": "32G",
        "setup": ["module load cuda,gcc/12", "source env.sh"],
        "constraint": "a=b",
    }
    assert job_options.read("", "local") == {}


@pytest.mark.parametrize(
    ("text", "cluster", "message"),
    [
        ("partitoin=gpu", "slurm", "'partitoin': did you mean 'partition'?"),
        ("mem=3G", "local", "valid are gpus_per_node, time"),
        ("time=1:00:00", "slurm", "time=VALUE with a positive integer, got 'time=1:00"),
        ("time=0", "local", "with a positive integer, got 'time=0'"),
        ("partition", "slurm", "with a value, got 'partition'"),
        ("time=1 time=2", "slurm", "must give time once"),
        ("setup='module", "slurm", "must close its quotes"),
    ],
)
def test_options_that_make_no_sense_are_refused(text, cluster, message):
    with pytest.raises(InputError) as error:
        job_options.read(text, cluster)
    assert message in str(error.value)


def test_submitit_takes_every_option(tmp_path, monkeypatch):
    install(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    values: dict[type, str] = {int: "5", str: "x", list: "x"}
    known = job_options.KNOWN["slurm"]
    text = " ".join(f"{name}={values[kind]}" for name, kind in known.items())
    executor = submitit.SlurmExecutor(tmp_path / "jobs")
    executor.update_parameters(**job_options.read(text, "slurm"))
