"""The site, as `make docs` builds it: whole, formulas drawn, nothing fetched.

Slow, since it is built, in half a minute, and looked at in a browser where one is.
The fast test of the same links is `test_pages.py`.
"""

import html.parser
import json
import os
import pathlib
import re
import subprocess
import urllib.parse

import browser
import pytest
from checkout import ROOT

MKDOCS = ROOT / ".venv-tools" / "bin" / "mkdocs"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not MKDOCS.exists(), reason=".venv-tools is not installed: `make docs` does it"
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built; a warning would have ended it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [MKDOCS, "build", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


class Page(html.parser.HTMLParser):
    """Addresses, ids and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.loaded, self.links, self.ids, self.prose = [], [], set(), []
        self._code = 0
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids.add(found.get("id"))
        if tag in ("img", "script", "iframe") and found.get("src"):
            self.loaded.append(found["src"])
        if tag == "link" and found.get("rel") != "canonical":
            self.loaded.append(found["href"])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        self._code += tag in ("pre", "code", "script")

    def handle_endtag(self, tag):
        self._code -= tag in ("pre", "code", "script")

    def handle_data(self, data):
        if not self._code:
            self.prose.append(data)


@pytest.fixture(scope="module")
def pages(site):
    found = {path: Page(path) for path in site.rglob("*.html") if path.stem != "404"}
    assert len(found) > 60
    return found


def test_what_a_page_loads_is_of_the_site(site, pages):
    for path, page in pages.items():
        for address in page.loaded:
            assert not urllib.parse.urlsplit(address).netloc, (path, address)
            file = path.parent / urllib.parse.unquote(address.partition("?")[0])
            assert file.exists(), (path, address)
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?https?:", style.read_text("utf-8")), style


def test_links_lead_to_pages_and_their_headings(site, pages):
    inside = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            to = (
                (path.parent / urllib.parse.unquote(parts.path)) if parts.path else path
            )
            to = pathlib.Path(os.path.normpath(to))
            to = to / "index.html" if to.is_dir() else to
            assert to.is_file(), (path, link)
            if parts.fragment and to.suffix == ".html":
                anchor = urllib.parse.unquote(parts.fragment)
                assert anchor in pages[to].ids, (path, link)
            inside += 1
    assert inside > 5000


def test_formulas_are_found(site, pages):
    for path, page in pages.items():
        assert "$$" not in "".join(page.prose), path
    # no formula of a page is left over
    text = (site / "theory" / "linearised.html").read_text("utf-8")
    source = (ROOT / "docs" / "theory" / "linearised.md").read_text()
    assert text.count('<div class="arithmatex">') == source.count("$$") // 2


def test_the_search_knows_names_and_words(site):
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    found = {
        entry["location"].partition("#")[0]
        for entry in index["docs"]
        if "resummed" in (entry["title"] + entry["text"]).lower()
    }
    assert {"api/theory.routes.resummed.html", "index.html"} <= found


PAGES = (
    "index.html",
    *(f"theory/{path.stem}.html" for path in sorted(ROOT.glob("docs/theory/*.md"))),
    "experiments/accuracy_curve.html",
    "explorer.html",
    "notebooks/01_closed_form_predictions.html",
    "api/theory.kernels.html",
    "index.html?q=resummed",
)


@pytest.fixture(scope="module")
def seen(site):
    if browser.CHROMIUM is None:
        pytest.skip("no Chromium on PATH: `apt-get install chromium`, or a like one")
    return browser.looked_at(site, PAGES)


def test_pages_complain_of_nothing(seen):
    assert not seen[1]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_with_its_pictures_and_formulas(page, seen):
    found = seen[0][page]
    assert not found["broken"]
    assert not found["errors"]
    assert found["drawn"] == found["formulas"]
    assert found["formulas"] or not page.startswith("theory/")


def test_the_search_finds_a_word(seen):
    found = seen[0]["index.html?q=resummed"]["results"]
    assert any("theory.routes.resummed" in link for link in found)


def test_the_explorer_says_what_its_tables_do(seen):
    tables = json.loads((ROOT / "docs/site/explorer_tables.json").read_text())
    curve = tables["curves"][f"erf replacement {tables['n_train'][-1]}"]
    for said, point in zip(seen[0]["explorer.html"]["moved"], curve[::8], strict=True):
        accuracy = f"{point['mean']['accuracy']:.2f}".removeprefix("0")
        assert f"Accuracy {accuracy} ±" in " ".join(said.split())
        assert ("not valid" in said) == bool(point["doubts"])
