"""Builds wheel and sdist into dist/, checks them, and uses the wheel as its users do.

`python tests/support/dist.py` installs the wheel into fresh environments on two
Pythons, outside the checkout, and runs there the README's example, which must print the
numbers that it claims, `ntk-corrupt`, and a type checker on code that calls both
packages. TensorFlow stays out, as the Makefile leaves it out. Interpreters that are not
on this machine are skipped; one is needed. `--quick` takes one Python, runs no example
and leaves the metadata unchecked: half a minute in place of some.
"""

import email
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile

from matrix import ROOT, interpreter

DIST = ROOT / "dist"
PYTHONS = ("3.13", "3.12", "3.11")  # the first two of them that are here
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Of which a checker finds one line wrong, if the types come along.
TYPED = """
import ntk_corrupt.theory
from ntk_corrupt import data
import theory

theory.Architecture(depth=3, activation="erf")
ntk_corrupt.theory.Architecture(depth=3, activation="erf")
theory.Architecture(depth="three", activation="erf")
"""
IMPORTS = """
import sys

import theory
import ntk_corrupt.data
import ntk_corrupt.ensembles
import ntk_corrupt.theory.routes.exact.direct as exact

for package in (theory, ntk_corrupt):
    assert package.__file__.startswith(sys.prefix), package.__file__
assert exact is theory.routes.exact.direct
for module in ("tensorflow", "neural_tangents", "sklearn", "matplotlib", "experiments"):
    assert module not in sys.modules, f"{module} is imported at start"
"""


def run(*command, **options):
    return subprocess.run(list(map(str, command)), check=True, text=True, **options)


def build():
    """Builds the sdist and, from it, the wheel; returns the two files."""
    shutil.rmtree(DIST, ignore_errors=True)
    command = (sys.executable, "-m", "build", "--installer", "uv", "--outdir", DIST)
    run(*command, ROOT, stdout=subprocess.DEVNULL)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, sdist


def check(wheel, sdist):
    """What is in the files, and what their metadata say."""
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        (metadata,) = [name for name in names if name.endswith("/METADATA")]
        said = email.message_from_bytes(file.read(metadata))
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"theory", "ntk_corrupt"}, tops
    scripts = "ntk_corrupt/scripts/experiments"
    for path in (ROOT / "experiments").rglob("*"):
        if path.suffix in (".py", ".json"):
            inside = f"{scripts}/{path.relative_to(ROOT / 'experiments')}"
            assert inside in names, inside
    assert {"theory/py.typed", "ntk_corrupt/py.typed"} <= set(names)
    assert said["Version"] == PROJECT["project"]["version"]
    assert "Typing :: Typed" in said.get_all("Classifier", [])
    with tarfile.open(sdist) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    needed = {"pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "Makefile"}
    assert needed <= inside, needed - inside


def example():
    """The README's first example, and the numbers that it claims to print."""
    readme = (ROOT / "README.md").read_text()
    code = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0]
    return code, re.findall(r"# (0\.\d+)", code)


def use(wheel, python, work, *, quick):
    """Installs the wheel for a Python into an empty folder, and uses it there."""
    environment, bin = work / "environment", work / "environment" / "bin"
    overrides = work / "overrides.txt"
    overrides.write_text("\n".join(PROJECT["tool"]["uv"]["override-dependencies"]))
    uv = (sys.executable, "-m", "uv")
    run(*uv, "venv", "-q", "--no-python-downloads", "--python", python, environment)
    pins = ("--constraints", ROOT / "constraints.txt", "--overrides", overrides)
    run(*uv, "pip", "install", "-q", "--python", bin / "python", *pins, wheel)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    here = functools.partial(run, cwd=work, env=clean)
    here(bin / "python", "-c", IMPORTS)
    listed = here(bin / "ntk-corrupt", stdout=subprocess.PIPE).stdout
    assert "ntk-corrupt NAME --help" in listed
    if quick:
        return
    code, claimed = example()
    printed = here(bin / "python", "-c", code, stdout=subprocess.PIPE).stdout
    assert printed.split() == claimed, (printed, claimed)
    smoke = ("noise_gallery", "--preset=smoke", "--workdir=run")
    here(bin / "ntk-corrupt", *smoke, stdout=subprocess.DEVNULL)
    assert (work / "run" / "figures" / "noise_gallery.png").exists()
    (work / "typed.py").write_text(TYPED)
    ty = pathlib.Path(sys.executable).with_name("ty")
    found = subprocess.run(
        [ty, "check", "--python", environment, "--output-format=concise", "typed.py"],
        capture_output=True,
        text=True,
        cwd=work,
        env=clean,
    ).stdout
    wrong = 1 + next(i for i, line in enumerate(TYPED.splitlines()) if "three" in line)
    places = re.findall(r"^typed\.py:(\d+):", found, re.MULTILINE)
    assert places == [str(wrong)], found


def main(quick):
    wheel, sdist = build()
    check(wheel, sdist)
    if not quick:
        twine = ROOT / ".venv-tools" / "bin" / "twine"
        run(twine, "check", "--strict", wheel, sdist)
    there = [path for version in PYTHONS if (path := interpreter(version))]
    assert there, f"no Python of {', '.join(PYTHONS)} is here"
    for python in there[: 1 if quick else 2]:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            use(wheel, python, pathlib.Path(work), quick=quick)
        print(f"{wheel.name} works on {python}, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
