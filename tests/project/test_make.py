"""What others run: make targets, public jobs that call them, pinned versions."""

import re
import tomllib

import pytest
import yaml
from checkout import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = DECLARED["project"]


def targets():
    makefile = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))


def steps(path):
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        yield from job["steps"]


def pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [
        re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)", line) for line in lines
    ]
    assert all(pins), "names and versions only, one on a line"
    found = {canonicalize_name(pin[1]): Version(pin[2]) for pin in pins if pin}
    assert len(found) == len(pins), "one version of each"
    return found


def requirements():
    """Core, dev and the groups: what the Makefile installs."""
    every = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    for group in DECLARED["dependency-groups"].values():
        every += group
    return [Requirement(line) for line in every]


def test_there_are_workflows():
    assert [path.stem for path in WORKFLOWS] == ["ci", "weekly"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_public_jobs_run_make_targets_alone(path):
    runs = [step["run"] for step in steps(path) if "run" in step]
    assert runs
    for run in runs:
        words = run.split()
        assert words[0] == "make", run
        called = [word for word in words[1:] if "=" not in word]
        assert called, run
        assert set(called) <= targets(), run


def test_every_promised_job_is_there():
    of = {path.stem: [step.get("run") for step in steps(path)] for path in WORKFLOWS}
    assert {"make lint", "make test", "make portable"} <= set(of["ci"])
    weekly = {"make test-all", "make matrix", "make run-notebooks", "make dist"}
    weekly |= {"make gallery docs"}
    assert weekly | {"make UNPINNED=1 test"} <= set(of["weekly"])


def test_pythons_are_those_that_are_declared():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    pythons = jobs["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    assert len(pythons) == 3


def test_versions_are_pinned_as_the_project_allows():
    pins = pinned()
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is not in constraints.txt: `make constraints`"
        assert pins[name] in requirement.specifier, (name, pins[name])


def test_what_installs_is_not_pinned():
    assert not {"pip", "setuptools", "ntk-corrupt"} & set(pinned())
