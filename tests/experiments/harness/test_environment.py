"""What is noted of the machine and of the versions."""

import json
import subprocess

import jax.numpy as jnp
import numpy as np

from experiments.harness import environment


def test_environment_names_versions_device_and_commit(monkeypatch):
    found = environment.environment()
    assert {"commit", "dirty", "python", "jax", "jaxlib", "flax", "numpy"} <= set(found)
    assert found["numpy"] == np.__version__
    assert found["device"]
    assert found["x64"] == (jnp.ones(1).dtype == np.float64)
    json.dumps(found, allow_nan=False)


def test_commit_is_that_of_this_package(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True)

    package = tmp_path / "results.py"
    package.write_text("1")
    monkeypatch.setattr(environment, "__file__", str(package))
    assert environment._commit() == {"commit": None, "dirty": None}
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "a checkout around an installed package")
    assert environment._commit() == {"commit": None, "dirty": None}
    git("add", ".")
    git("commit", "-q", "-m", "the package's own checkout")
    found = environment._commit()
    assert len(found["commit"]) == 40
    assert found["dirty"] is False
    package.write_text("2")
    assert environment._commit() == {"commit": found["commit"], "dirty": True}
    monkeypatch.setenv("PATH", "")
    assert environment._commit() == {"commit": None, "dirty": None}
