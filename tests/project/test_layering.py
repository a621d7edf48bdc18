"""Imports go one way, from folder to folder: what each may import, as data."""

import ast
import functools
import subprocess
import sys

import pytest
from checkout import ROOT

# A folder may import those on the lines above its own, none on its line but itself;
# a file inside a folder may import any other that does not lead back to it.
LEVELS = {
    "theory": (
        "errors",
        "files records renamed keys",
        "numerics",
        "problem",
        "activations corruption outputs regression",
        "kernels",
        "architectures linearised two_layer",
        "routes",
    ),
    "ntk_corrupt": (
        "curves data networks neural_tangents plots rbm training",
        "adversarial estimators kernels label_noise models spectral",
        "clusters probes",
        "ensembles",
        "theory __main__",
    ),
    "experiments": (
        "report",
        "harness",
        "shared",
        "laws networks perturbations wrong_labels",
    ),
}
# Which packages a package may import, beside itself.
BELOW = {
    "theory": set(),
    "ntk_corrupt": {"theory"},
    "experiments": {"theory", "ntk_corrupt"},
    "benchmarks": {"theory", "ntk_corrupt", "experiments"},
}
# What `theory` needs: it must stay usable with these alone.
THEORY_NEEDS = {"jax", "numpy", "scipy", "jaxtyping"}
HEAVY = {
    *("tensorflow", "tensorflow_datasets", "flax", "optax", "neural_tangents"),
    *("sklearn", "matplotlib", "pandas", "absl", "tqdm", "ntk_corrupt", "experiments"),
}
# These alone re-export what their files define; the others hold a docstring.
REEXPORTS = {
    "experiments",  # what must come first
    *("theory", "theory.activations", "theory.corruption", "theory.kernels"),
    "theory.architectures",
    *("theory.outputs", "ntk_corrupt.adversarial", "ntk_corrupt.data"),
    *("ntk_corrupt.ensembles", "ntk_corrupt.label_noise", "ntk_corrupt.probes"),
    *("ntk_corrupt.spectral", "ntk_corrupt.training"),
    *("ntk_corrupt.clusters", "ntk_corrupt.curves", "ntk_corrupt.rbm"),
}


def modules():
    """Dotted name to file, of every module of the packages."""
    found = {}
    for package in BELOW:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}
FILES = [name for name in MODULES if name not in PACKAGES]


@functools.cache
def imports(name):
    """Dotted names that a module imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports by a relative name"
            # `from package import module` imports the module
            found |= {
                full if (full := f"{node.module}.{alias.name}") in MODULES else base
                for base in [node.module]
                for alias in node.names
            }
    return frozenset(found)


def place(name):
    """Package and folder, or file at the package's top, that a module belongs to."""
    package, _, rest = name.partition(".")
    return package, rest.partition(".")[0]


def level(name):
    """Number of the line that allows a module, None if it is on none."""
    package, folder = place(name)
    lines = LEVELS.get(package, ())
    return next((i for i, line in enumerate(lines) if folder in line.split()), None)


def test_the_packages_are_there():
    assert {"theory.kernels.matrices", "ntk_corrupt.training", "benchmarks"} <= set(
        MODULES
    )
    # by `from package import module`
    assert "theory.numerics.blocks" in imports("theory.kernels.matrices")


def test_every_folder_has_a_line():
    for package, lines in LEVELS.items():
        named = " ".join(lines).split()
        there = {place(name)[1] for name in MODULES if place(name)[0] == package}
        # a script is a file beside the folders of `experiments`
        there -= {""} | {f for f in there if f"{package}.{f}" in scripts()}
        assert sorted(named) == sorted(there)


def scripts():
    return {name for name in FILES if place(name)[0] == "experiments"} & {
        f"experiments.{path.stem}" for path in (ROOT / "experiments").glob("*.py")
    }


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_imports_stands_below_it(name):
    package, folder = place(name)
    for target in imports(name) & set(MODULES):
        to, inside = place(target)
        assert to == package or to in BELOW[package], target
        if to != package or package not in LEVELS or name == package:
            continue
        if inside == folder:
            continue
        own, other = level(name), level(target)
        if name in scripts():
            assert other is not None, f"a script imports another: {target}"
        else:
            assert None not in (own, other), target
            assert other < own, target


@pytest.mark.parametrize("name", [n for n in MODULES if n.split(".")[0] == "theory"])
def test_theory_needs_little(name):
    roots = {target.partition(".")[0] for target in imports(name)}
    assert roots <= THEORY_NEEDS | {"theory"} | sys.stdlib_module_names


def test_nothing_imports_the_tests():
    known = {path.stem for path in (ROOT / "tests").rglob("*.py")} - {"__init__"}
    names = {name.rpartition(".")[2] for name in MODULES}
    for name in MODULES:
        roots = {target.partition(".")[0] for target in imports(name)}
        assert not roots & ({"tests"} | known - names), name


@pytest.mark.parametrize("name", FILES)
def test_a_file_does_not_import_the_package_it_is_in(name):
    above = {name.rpartition(".")[0], name.partition(".")[0]}
    assert not above & imports(name)


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_package_holds_its_docstring_alone(name):
    (doc, *rest) = ast.parse(MODULES[name].read_text()).body
    assert isinstance(doc, ast.Expr)
    if rest and ast.unparse(rest[-1]).startswith("moved("):  # names of before
        rest = [node for node in rest[:-1] if "import moved" not in ast.unparse(node)]
    assert not rest or name in REEXPORTS
    assert all(isinstance(node, (ast.ImportFrom, ast.Assign)) for node in rest)


def test_no_folder_of_theory_is_named_as_a_function():
    import theory

    folders = {place(name)[1] for name in MODULES if place(name)[0] == "theory"}
    for name in folders - {""}:
        assert not callable(getattr(theory, name, None)), name


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
        "import theory, theory.numerics.solve; "
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
