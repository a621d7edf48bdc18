"""The menu of experiments: every script once, by family, as the pages have it."""

import ast
import os
import re
import subprocess
import sys

import pytest
from checkout import ROOT

from experiments.__main__ import FAMILIES, menu, question

FOLDER = ROOT / "experiments"
NAMES = [name for names in FAMILIES.values() for name in names]


def test_every_script_is_in_the_menu_once():
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "__main__"}
    assert sorted(NAMES) == sorted(scripts)


def test_the_page_of_experiments_lists_what_the_menu_does():
    rows = re.findall(
        r"^\| `(.+)` \| \[(\w+)\]\((.+)\) \| (.+) \|$",
        (FOLDER / "README.md").read_text(),
        re.MULTILINE,
    )
    assert rows == [
        (family, name, f"../docs/experiments/{name}.md", question(name))
        for family, names in FAMILIES.items()
        for name in names
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_of_the_family_that_it_imports(name):
    (family,) = (family for family, names in FAMILIES.items() if name in names)
    package = f"experiments.{family.replace('/', '.')}"
    common = ("experiments.harness", "experiments.shared")
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    own = {
        target
        for target in imported
        if target.startswith("experiments.") and not target.startswith(common)
    }
    assert own
    assert all(target.startswith(f"{package}.") for target in own), own


@pytest.mark.parametrize("name", NAMES)
def test_a_script_asks_one_question_and_has_a_page(name):
    assert re.fullmatch(r"[^.?]+\?", question(name))
    page = (ROOT / "docs" / "experiments" / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == ["Run", "Numbers", "Not run"]
    assert f"python -m experiments.{name} " in page


def test_there_are_no_other_pages():
    pages = {path.stem for path in (ROOT / "docs" / "experiments").glob("*.md")}
    assert pages == set(NAMES)


def test_the_menu_loads_nothing_heavy():
    code = (
        "import runpy, sys; runpy.run_module('experiments', run_name='__main__'); "
        "assert not {'jax', 'numpy', 'absl', 'theory'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == menu() + "\n"
    for family, names in FAMILIES.items():
        block = re.search(rf"^{family}\n((?:  .+\n)+)", run.stdout, re.MULTILINE)
        assert block is not None, family
        found = [tuple(re.split("  +", line.strip())) for line in block[1].splitlines()]
        assert found == [(name, question(name)) for name in names]


def test_a_reader_that_has_left_ends_the_menu_quietly():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "experiments"],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        timeout=500,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
