"""The README's promises: its example runs and prints its numbers, its paths exist."""

import contextlib
import io
import re

import jax
from checkout import ROOT

README = (ROOT / "README.md").read_text()


def test_the_example_prints_the_numbers_it_claims():
    code, of_mnist = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 7
    compile(of_mnist, "README.md", "exec")  # needs files that are not here
    printed = io.StringIO()
    # in single precision, as whoever copies it has it
    jax.config.update("jax_enable_x64", False)
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), {})
    finally:
        jax.config.update("jax_enable_x64", True)
    assert printed.getvalue().split() == re.findall(r"# (0\.\d+)", code)


def test_every_make_target_and_relative_link_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link
    for folder in re.findall(r"^\| `([a-z_]+/)`", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder


def test_equations_cited_in_code_exist_in_the_derivations():
    derivations = (ROOT / "theory" / "README.md").read_text()
    tags = re.findall(r"\\tag\{([A-Z]?)(\d+)\}", derivations)
    assert len(tags) == len(set(tags))
    for letter in {letter for letter, _ in tags}:
        numbers = {int(number) for found, number in tags if found == letter}
        assert numbers == set(range(1, max(numbers) + 1)), letter
    for source in (ROOT / "theory").rglob("*.py"):
        for cited in re.findall(
            r"theory/README\.md((?: |-|and|,|\([A-Z]?\d+\))+)", source.read_text()
        ):
            found = set(re.findall(r"([A-Z]?)(\d+)", cited))
            assert found <= set(tags), (source.name, cited)
