"""The README's promises: its example runs and prints its numbers, its paths exist."""

import contextlib
import importlib
import io
import re
import shlex
import subprocess
import sys

import jax
import pytest
from checkout import ROOT

README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "guide.md").read_text()


def test_the_example_prints_the_numbers_it_claims():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 7
    printed = io.StringIO()
    # in single precision, as whoever copies it has it
    jax.config.update("jax_enable_x64", False)
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), {})
    finally:
        jax.config.update("jax_enable_x64", True)
    assert printed.getvalue().split() == re.findall(r"# (0\.\d+)", code)


def test_it_is_read_in_a_minute():
    lines = README.splitlines()
    assert len(lines) <= 75
    assert all(len(line) <= 130 for line in lines)


def test_every_name_exists():
    named = re.findall(r"`((?:theory|ntk_corrupt)\.[\w.]+)`", README)
    assert len(named) > 7
    for name in named:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    compile(code, "guide.md", "exec")  # needs files that are not here


# weekly: scripts of this size are run always, by tests of their own
@pytest.mark.slow
def test_its_script_runs(tmp_path):
    (command,) = re.findall(r"^python -m (experiments\..*)$", README, re.MULTILINE)
    module, *flags = shlex.split(command)
    flags = [f for f in flags if not f.startswith("--workdir=")]
    done = subprocess.run(
        [sys.executable, "-m", module, *flags, f"--workdir={tmp_path}/run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").exists()


def test_every_make_target_and_relative_link_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert {"demo", "test", "docs"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link
    folders = re.findall(r"^\| `([a-z_]+/)`", GUIDE, re.MULTILINE)
    assert folders
    for folder in folders:
        assert (ROOT / folder).is_dir(), folder


def tags_of_pages():
    """Page to the tags of its equations, as (letter, number)."""
    return {
        f"docs/theory/{page.name}": [
            (letter, int(number))
            for letter, number in re.findall(
                r"\\tag\{([A-Z]?)(\d+)\}", page.read_text()
            )
        ]
        for page in (ROOT / "docs" / "theory").glob("*.md")
    }


def wrong_citations(text):
    """Citations of a page that is not there, or does not hold what is cited."""
    pages = tags_of_pages()
    # an equation is cited with its page, and may stand on the next line of a comment
    cited = re.findall(
        r"([\w./]+\.md)((?:\s|#|-|and|,|\([A-Z]?\d+\))*)", text, re.MULTILINE
    )
    for page, equations in cited:
        found = {
            (letter, number)
            for letter, low, high in re.findall(
                r"\(([A-Z]?)(\d+)\)(?:-\(\1(\d+)\))?", equations
            )
            for number in range(int(low), int(high or low) + 1)
        }
        known = pages.get(page)
        if known is None and (found or page.startswith("docs/theory/")):
            yield page
        elif known is not None and not found <= set(known):
            yield page + equations


def test_equations_have_one_tag_each_and_no_gap():
    tags = [tag for page in tags_of_pages().values() for tag in page]
    assert len(tags) == len(set(tags))
    for letter in {letter for letter, _ in tags}:
        numbers = {number for found, number in tags if found == letter}
        assert numbers == set(range(1, max(numbers) + 1)), letter


def test_equations_cited_in_code_exist_in_the_derivations():
    cited = 0
    for package in ("theory", "ntk_corrupt", "experiments", "benchmarks", "tests"):
        for source in (ROOT / package).rglob("*.py"):
            if source.parent.name != "project":
                text = source.read_text()
                assert not list(wrong_citations(text)), source
                cited += text.count("docs/theory/")
    assert cited > 60


@pytest.mark.parametrize(
    "text",
    [
        "docs/theory/regression.md (E15)",
        "docs/theory/regression.md (E10)-(E15)",
        "docs/theory/regression.md (E1), (E2) and\n    # (L8)",
        "docs/theory/linearised.md (L8), (L10)",
        "docs/theory/absent.md",
        "theory/README.md (E1)",
    ],
)
def test_a_wrong_citation_is_seen(text):
    assert list(wrong_citations(f"# as in {text}: so"))


def test_the_index_says_which_page_holds_an_equation():
    index = (ROOT / "theory" / "README.md").read_text()
    rows = re.findall(r"^\| (\(.*\)) \| \[\w+\]\(\.\./(\S+)\) \|$", index, re.MULTILINE)
    assert not list(wrong_citations("\n".join(f"{page} {tags}" for tags, page in rows)))
    for page, tags in tags_of_pages().items():
        said = " ".join(equations for equations, of in rows if of == page)
        count = sum(
            int(high or low) - int(low) + 1
            for low, high in re.findall(r"\([A-Z]?(\d+)\)(?:-\([A-Z]?(\d+)\))?", said)
        )
        assert count == len(tags), page
