"""`ntk_corrupt.theory` is `theory`: the same modules, whichever name comes first."""

import importlib
import pickle
import subprocess
import sys

import pytest
from checkout import ROOT

import ntk_corrupt.theory
import theory

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "theory").rglob("*.py")
)


def test_both_are_one():
    assert ntk_corrupt.theory is theory
    assert ntk_corrupt.theory.first_order is theory.first_order
    assert theory.__spec__.name == "theory"


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_one(name):
    found = importlib.import_module(f"ntk_corrupt.{name}")
    assert found is importlib.import_module(name)
    assert found.__spec__ is not None
    assert found.__name__ == found.__spec__.name == name


def test_what_is_stored_is_of_the_one_that_everybody_has():
    arch = ntk_corrupt.theory.Architecture(depth=2, activation="erf")
    assert b"ntk_corrupt" not in pickle.dumps(arch)


def test_a_module_that_is_not_there_is_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"ntk_corrupt\.theory\.absent"):
        importlib.import_module("ntk_corrupt.theory.absent")


def test_the_second_name_may_come_first():
    code = (
        "import ntk_corrupt.theory.routes.exact.direct as second; "
        "import theory.routes.exact.direct as first; assert first is second"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
