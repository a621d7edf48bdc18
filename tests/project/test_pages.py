"""The pages: names and files that they mention exist, and so does what they link to."""

import ast
import functools
import importlib
import re

import pytest
from checkout import ROOT

FOLDERS = ("docs", "theory", "ntk_corrupt", "experiments", "benchmarks", "notebooks")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md"))]
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
PACKAGES = ("theory", "ntk_corrupt", "experiments")
DOTTED = re.compile(rf"(?<![\w./])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+(?![\w/])")
ids = functools.partial(map, lambda path: str(path.relative_to(ROOT)))


def parts(text):
    """Blocks of code with their languages, and what stands between backticks."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return blocks, re.findall(r"`([^`]+)`", prose)


def dotted(text):
    """Dotted names in a text, but for names of files and NAME, which stands for any."""
    found = DOTTED.findall(text)
    return [
        name for name in found if name.rpartition(".")[2] not in ("NAME", "md", "py")
    ]


def names_of_code(source):
    """Dotted names that code imports, or reaches from what it imports."""
    tree, bound, found = ast.parse(source), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.add(alias.name)
                first = alias.name.partition(".")[0]
                bound[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        chain, inner = [], node
        while isinstance(inner, ast.Attribute):
            chain, inner = [inner.attr, *chain], inner.value
        if isinstance(inner, ast.Name) and inner.id in bound:
            found.add(".".join([bound[inner.id], *chain]))
    found |= set(bound.values())
    return {name for name in found if name.partition(".")[0] in PACKAGES}


def names(path):
    """Dotted names of our packages that a page or a notebook mentions."""
    text = path.read_text()
    if path.suffix == ".py":
        prose = "\n".join(re.findall(r"^#(.*)$", text, re.MULTILINE))
        return names_of_code(text) | {
            name for span in parts(prose)[1] for name in dotted(span)
        }
    blocks, spans = parts(text)
    found = {name for span in spans for name in dotted(span)}
    imports = ""
    for language, code in blocks:
        if language == "python":
            # a later block goes on with what the first imported
            found |= names_of_code(imports + code)
            lines = code.splitlines()
            imports += "".join(
                f"{line}\n" for line in lines if re.match("(import|from) ", line)
            )
        else:
            found |= set(dotted(code))
    return found


def resolve(name):
    """Imports as much of a name as there is to import, and looks the rest up."""
    words = name.split(".")
    found = importlib.import_module(words[0])
    for i, word in enumerate(words[1:], 2):
        if hasattr(found, word):
            found = getattr(found, word)
        else:
            found = importlib.import_module(".".join(words[:i]))
    return found


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=ids([*PAGES, *NOTEBOOKS]))
def test_names_exist(path):
    missing = []
    for name in sorted(names(path)):
        try:
            resolve(name)
        except ImportError:
            missing.append(name)
    assert not missing


@pytest.mark.parametrize("folder", [*PACKAGES, "benchmarks"])
def test_names_in_docstrings_and_comments_exist(folder):
    for source in sorted((ROOT / folder).rglob("*.py")):
        for span in re.findall(r"`([^`\n]+)`", source.read_text()):
            list(map(resolve, dotted(span)))


def test_many_names_are_looked_up():
    found = set().union(*map(names, [*PAGES, *NOTEBOOKS]))
    assert len(found) > 60
    # by a block of code, by a span, by a command
    assert {"theory.resummed", "ntk_corrupt.data.load"} <= found
    assert {"theory.custom", "experiments.accuracy_curve"} <= found


@pytest.mark.parametrize(
    "text",
    [
        "as `theory.resumed(arch)` does",
        "```bash\npython -m experiments.acuracy_curve --seed=1\n```",
        "```python\nfrom ntk_corrupt import data\nx = data.laod('digits')\n```",
        "```python\nimport theory\n```\n\n```python\ntheory.Architecture.depht\n```",
        "```python\nfrom theory.outputs import lwa\n```",
    ],
)
def test_a_wrong_name_is_seen(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ImportError):
        list(map(resolve, names(page)))


def anchors(path):
    """What a heading of a page is linked by, as GitHub names it."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings
    }


def broken(path):
    """Relative links of a page that lead nowhere."""
    text = re.sub(r"`[^`\n]*`", "", path.read_text())
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        to = path.parent / target if target else path
        if not to.exists() or anchor and anchor not in anchors(to):
            yield link


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_links_lead_somewhere(path):
    assert not list(broken(path))


def test_a_broken_link_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A head, in two\n[a](#a-head-in-two) [b](#two) [c](absent.md) $x$"
    )
    assert list(broken(page)) == ["#two", "absent.md"]


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_tables_are_whole(path):
    # a blank line inside a table leaves its rest without a head
    for table in re.findall(r"(?:^\|.*\n?)+", path.read_text(), re.MULTILINE):
        head, rule, *_ = [*table.splitlines(), ""]
        assert re.fullmatch(r"\|( --- \|)+", rule), head


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_files_that_pages_mention_exist(path):
    tops = "|".join((*FOLDERS, "tests"))
    for span in parts(path.read_text())[1]:
        for file in re.findall(rf"^(?:{tops})/[\w/.]*(?=[:`]|$)", span):
            assert "NAME" in file or (ROOT / file).exists(), file


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_make_targets_that_pages_mention_exist(path):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))
    blocks, spans = parts(path.read_text())
    for text in [*spans, *(code for _, code in blocks)]:
        called = re.findall(r"^make (?:[A-Z]+=\S+ )*([a-z-]+)", text, re.MULTILINE)
        assert set(called) <= targets


def test_every_page_is_linked_from_another():
    linked = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())
    }
    assert set(PAGES) - linked <= {ROOT / "README.md"}
