"""The API reference: a page for each folder, from what its docstrings say.

Sources are read, not imported: the site is built without JAX.
"""

import ast
import pathlib
import re

import griffe
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("theory", "ntk_corrupt")


def docstring(path: pathlib.Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def folders(package: str) -> dict[str, list[str]]:
    """Returns the modules of a package, by the folder that they are in."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        folder, _, module = name.rpartition(".")
        modules = found.setdefault(folder, [])
        if module not in ("__init__", "__main__"):
            modules.append(name)
    return dict(sorted(found.items()))


def exported(package: str) -> list[str]:
    """Returns the lines of a table: what a package exports, and what each is."""
    path = ROOT / package.replace(".", "/") / "__init__.py"
    lines = []
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            lines += [
                row(f"{package}.{alias.name}", f"{node.module}.{alias.name}")
                for alias in node.names
                if alias.asname == alias.name
            ]
    return ["| name | what |", "| --- | --- |", *lines] if lines else []


def row(name: str, home: str) -> str:
    """Returns the row of a name that a package exports, and that is defined at home."""
    found = loaded(home.partition(".")[0])[home.partition(".")[2]]
    if not found.docstring:  # a constant
        return f"| `{name}` | |"
    link = f"({home}.md)" if found.is_module else f"[{home}]"
    first = found.docstring.value.partition("\n")[0].replace("|", "\\|")
    return f"| [`{name}`]{link} | {first} |"


_LOADED: dict[str, griffe.Module] = {}


def loaded(package: str) -> griffe.Module:
    if package not in _LOADED:
        found = griffe.load(package, search_paths=[ROOT], resolve_aliases=False)
        assert isinstance(found, griffe.Module)
        _LOADED[package] = found
    return _LOADED[package]


def undocumented(part: griffe.Object) -> list[str]:
    """Returns the public modules, classes and functions that say nothing."""
    found = [] if part.docstring else [part.path]
    for name, member in part.members.items():
        if not name.startswith("_") and not member.is_alias and not member.is_attribute:
            found += undocumented(member)
    return found


def page(folder: str, modules: list[str]) -> str:
    """Returns the page of a folder."""
    path = ROOT / folder.replace(".", "/") / "__init__.py"
    blocks = [f"# {folder}", docstring(path), "\n".join(exported(folder))]
    for module in modules:
        # the heading of a module is its name, and its docstring the text below
        blocks.append(f"::: {module}\n    options: {{heading_level: 2}}")
    return "\n\n".join(block for block in blocks if block) + "\n"


def on_config(config):
    """Adds the section to the navigation."""
    section = [
        {package: [f"api/{folder}.md" for folder in folders(package)]}
        for package in PACKAGES
    ]
    config.nav.insert(3, {"API": section})
    return config


def on_page_content(html, *, page, config, files):
    """Links the pages that docstrings cite."""
    if not page.file.src_uri.startswith("api/"):
        return html
    link = r'<a href="../\1.html">docs/\1.md</a>'
    return re.sub(r"docs/((?:theory|experiments)/\w+)\.md", link, html)


def on_files(files, config):
    """Adds the pages; refuses a public name that says nothing of itself."""
    _LOADED.clear()  # of a build before, where the site is served
    silent = [name for each in PACKAGES for name in undocumented(loaded(each))]
    if silent:
        raise PluginError(f"no docstring: {', '.join(silent)}")
    for package in PACKAGES:
        for folder, modules in folders(package).items():
            content = page(folder, modules)
            files.append(File.generated(config, f"api/{folder}.md", content=content))
    return files
