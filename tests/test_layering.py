"""Imports go one way: theory <- ntk_corrupt <- experiments, benchmarks."""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("theory", "ntk_corrupt", "experiments", "benchmarks")
# What `theory` needs: it must stay usable with these alone.
THEORY_NEEDS = {"jax", "numpy", "scipy", "jaxtyping"}
HEAVY = {
    *("tensorflow", "tensorflow_datasets", "flax", "optax", "neural_tangents"),
    *("sklearn", "matplotlib", "pandas", "absl", "tqdm", "ntk_corrupt", "experiments"),
}


def modules():
    """Dotted name to file, of every module of the packages."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


@functools.cache
def imports(name):
    """Dotted names that a module imports, at any depth of its code."""
    found = set()
    path = MODULES[name]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = (
                    name if path.name == "__init__.py" else name.rpartition(".")[0]
                )
                for _ in range(node.level - 1):
                    package = package.rpartition(".")[0]
                base = f"{package}.{base}".rstrip(".")
            # `from package import module` imports the module
            found |= {
                full if (full := f"{base}.{alias.name}") in MODULES else base
                for alias in node.names
            }
    return frozenset(found)


def roots(name):
    return {target.partition(".")[0] for target in imports(name)}


def test_the_packages_are_there():
    assert {"theory.kernels", "ntk_corrupt.training", "benchmarks"} <= set(MODULES)
    assert "theory.duals" in imports("theory.activations")  # by `from theory import`


@pytest.mark.parametrize("name", [n for n in MODULES if n.split(".")[0] == "theory"])
def test_theory_needs_little(name):
    allowed = THEORY_NEEDS | {"theory"} | sys.stdlib_module_names
    assert roots(name) <= allowed


@pytest.mark.parametrize("name", MODULES)
def test_lower_packages_do_not_know_higher_ones(name):
    package = name.partition(".")[0]
    forbidden = {
        "theory": {"ntk_corrupt", "experiments", "benchmarks", "tests"},
        "ntk_corrupt": {"experiments", "benchmarks", "tests"},
    }.get(package, {"tests"})
    assert not roots(name) & forbidden


@pytest.mark.parametrize("name", MODULES)
def test_a_leaf_does_not_import_its_own_package(name):
    if MODULES[name].name != "__init__.py":
        assert name.partition(".")[0] not in imports(name)


def test_no_cycles():
    graph = {name: imports(name) & set(MODULES) for name in MODULES}
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for target in sorted(graph[name]):
                visit(target)
            path.pop()
            done.add(name)

    for name in MODULES:
        visit(name)


@pytest.fixture(scope="module")
def imported():
    """What importing theory changes: settings of JAX that differ, packages loaded."""
    code = (
        "import sys, jax; before = dict(jax.config.values); "
        "import theory, theory.solve; "
        "after = dict(jax.config.values); "
        "print(*{k for k in before | after if before.get(k) != after.get(k)}); "
        "print(*{n.partition('.')[0] for n in sys.modules})"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    settings, loaded = run.stdout.splitlines()
    return set(settings.split()), set(loaded.split())


def test_importing_theory_loads_nothing_heavy(imported):
    loaded = imported[1]
    assert "theory" in loaded
    assert not loaded & HEAVY


def test_importing_theory_does_not_touch_jax_settings(imported):
    assert not imported[0]
