"""Pages of the site that stand elsewhere in the repository, links, the navigation.

Pages are written for the repository: their links are paths of files. Here they become
paths of pages, and a file that is no page is shown as one.
"""

import importlib.util
import pathlib
import posixpath
import re
import sys
from collections.abc import Iterator

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Page of the repository, or folder of pages, to page of the site.
ELSEWHERE = {
    "README.md": "index.md",
    "theory/README.md": "theory/index.md",
    "docs/theory": "theory/index.md",
    "experiments/README.md": "experiments/index.md",
    "docs/experiments": "experiments/index.md",
    "benchmarks/README.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
ORIGINS = {page: origin for origin, page in ELSEWHERE.items() if origin[-3:] == ".md"}
# In the order of the derivation; what is not named follows.
THEORY = (
    *("notation", "kernels", "corruption", "outputs", "training", "first_order"),
    *("linearised", "regression", "one_network", "finite_width", "architectures"),
    *("two_layer", "sources"),
)
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=(?:#[^)\s]*)?\))")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def families() -> dict[str, tuple[str, ...]]:
    """Returns the scripts of each family, in the order of the menu."""
    sys.path.insert(0, str(ROOT))
    try:
        from experiments.__main__ import FAMILIES
    finally:
        sys.path.remove(str(ROOT))
    return FAMILIES


def origin_of(uri: str) -> str:
    """Returns the path in the repository of what a page of the site shows."""
    return ORIGINS.get(uri, f"docs/{uri}")


def page_of(path: str) -> str:
    """Returns the page or picture of the site that shows a path of the repository.

    Raises:
        PluginError: there is no such path.
    """
    if path in ELSEWHERE:
        return ELSEWHERE[path]
    if not (ROOT / path).is_file():
        raise PluginError(f"a page links to {path}, which is not there.")
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"sources/{path}.md"


def beside(path: str, link: str) -> str:
    """Returns the path that a link of a file leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def targets(uri: str, markdown: str) -> Iterator[str]:
    """Yields the paths of the repository that a page links to."""
    for prose in CODE.split(markdown)[::2]:
        for link in LINK.findall(prose):
            yield beside(origin_of(uri), link)


def open_questions() -> str:
    """Returns the page of what was not run, from the pages of the scripts."""
    lines = [
        "# Not run",
        "What each page says that it lacks. Who runs one of these, or finds why not, "
        "adds to what is known: see [contributing](contributing.md).",
    ]
    for family, names in families().items():
        lines.append(f"## {family}")
        for name in names:
            text = (ROOT / f"docs/experiments/{name}.md").read_text("utf-8")
            left = text.partition("\n## Not run\n")[2].strip()
            left = re.sub(r"\]\((?![a-z]+:|#)", "](experiments/", left)
            lines += [f"### [{name}](experiments/{name}.md)", left]
    return "\n\n".join(lines) + "\n"


def formulas() -> pathlib.Path:
    """Returns the script that draws formulas, of the package that holds MathJax."""
    found = importlib.util.find_spec("mathjax")
    if found is None or not found.submodule_search_locations:
        raise PluginError("the group `docs` is not installed: `make docs` does it.")
    here = pathlib.Path(next(iter(found.submodule_search_locations)))
    return here / "static" / "mathjax" / "es5" / "tex-svg-full.js"


def on_config(config):
    """Sets the navigation; the sections of the other hooks are filled there."""
    theory = sorted(path.stem for path in (ROOT / "docs" / "theory").glob("*.md"))
    theory = [*THEORY, *(name for name in theory if name not in THEORY)]
    scripts = [
        {family: [f"experiments/{name}.md" for name in names]}
        for family, names in families().items()
    ]
    config.nav = [
        {"Start": ["index.md", "guide.md"]},
        {"Theory": ["theory/index.md", *(f"theory/{name}.md" for name in theory)]},
        {
            "Experiments": ["experiments/index.md", *scripts],
        },
        {"Benchmarks": "benchmarks.md"},
        {
            "Project": [
                {"Missed and open": "open.md"},
                {"Not run": "open_questions.md"},
                {"Changes": "changelog.md"},
                {"Contributing": "contributing.md"},
            ]
        },
    ]
    return config


def on_files(files, config):
    """Adds the pages that stand elsewhere, and the sources that pages link to."""
    for uri, origin in ORIGINS.items():
        path = str(ROOT / origin)
        files.append(File.generated(config, uri, abs_src_path=path))
    files.append(File.generated(config, "open_questions.md", content=open_questions()))
    files.append(
        File.generated(config, "site/tex-svg-full.js", abs_src_path=str(formulas()))
    )
    pages = [file.src_uri for file in files.documentation_pages()]
    linked = {
        path
        for uri in pages
        if (ROOT / origin_of(uri)).is_file()
        for path in targets(uri, (ROOT / origin_of(uri)).read_text("utf-8"))
    }
    for path in sorted(linked):
        page = page_of(path)
        if page.startswith("sources/"):
            code = (ROOT / path).read_text("utf-8")
            content = f"# {path}\n\n````python\n{code}````\n"
            files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown, *, page, config, files):
    """Returns the page with links to pages of the site."""
    uri = page.file.src_uri
    if uri == "index.md":
        page.meta["hide"] = ["navigation"]
    elif uri.startswith("theory/") and "\n## " not in markdown:
        page.meta["hide"] = ["toc"]  # room for formulas where a column would be empty
    if not (ROOT / origin_of(uri)).is_file():
        return markdown  # made here, with links of the site

    def moved(link):
        target = page_of(beside(origin_of(uri), link[1]))
        return posixpath.relpath(target, posixpath.dirname(uri) or ".")

    parts = CODE.split(markdown)
    parts[::2] = [LINK.sub(moved, prose) for prose in parts[::2]]
    return "".join(parts)
