"""Pages of runs: whole HTML, one file, all that they must say; and their index."""

import base64
import dataclasses
import html.parser
import re
import subprocess
import sys

import numpy as np
import pytest
from checkout import ROOT
from fake_experiment import EXPERIMENT
from run_scripts import execute

from experiments.report import pages
from theory.errors import NumericalError

# Tags that need no end.
VOID = {"meta", "img"}


class Page(html.parser.HTMLParser):
    """Text, pictures and links of a page; refuses tags that do not match."""

    def __init__(self, content):
        super().__init__()
        self.open, self.words, self.pictures, self.links = [], [], [], []
        self.coloured = {}
        self.feed(content)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in VOID:
            self.open.append((tag, attributes.get("class")))
        if tag == "img":
            assert attributes["alt"]
            self.pictures.append(attributes["src"])
        if tag == "a":
            self.links.append(attributes["href"])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open[-1:] != [("style", None)]:
            self.words.append(data)
        if self.open and self.open[-1][0] == "span":
            self.coloured.setdefault(self.open[-1][1], []).append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read(path):
    return Page(path.read_text("utf-8"))


def test_a_run_leaves_a_report_that_needs_no_other_file(tmp_path, capsys):
    execute(tmp_path / "run", p=(0.9, 0.5))
    assert f"report: {tmp_path}/run/report.html\n" in capsys.readouterr().out
    page = read(tmp_path / "run" / "report.html")
    (picture,) = page.pictures
    png = base64.b64decode(picture.removeprefix("data:image/png;base64,"))
    assert png == (tmp_path / "run" / "figures" / "fake.png").read_bytes()
    assert "0.9 0.300 0.5 0.167" in page.text
    command = f"python -m experiments.fake --workdir={tmp_path}/run --p=0.9,0.5"
    assert command in page.text
    assert "p 0.9,0.5" in page.text
    assert "device cpu" in page.text
    assert not page.links
    # what is overwritten is there again, in one step
    execute(tmp_path / "run", p=(0.5,))
    assert "0.9 0.300" not in read(tmp_path / "run" / "report.html").text
    assert not list((tmp_path / "run").glob(".*partial*"))


def test_a_report_says_what_is_missing_and_why(tmp_path):
    def failing(config, cell):
        if cell.settings["p"] == 0.9:
            raise NumericalError("the kernel is singular: pass <ridge>")
        return {"accuracy": 0.5}, {"outputs": np.zeros(2)}

    experiment = dataclasses.replace(EXPERIMENT, compute=failing)
    with pytest.raises(NumericalError):
        execute(tmp_path, experiment, p=(0.5, 0.9))
    page = read(tmp_path / "report.html")
    assert "Missing: 1 cells" in page.text
    assert "the kernel is singular: pass <ridge>" in page.text
    assert page.coloured == {"doubt": ["failed: p=0.9"]}
    assert not page.pictures


def test_verdicts_are_coloured_and_other_words_are_not():
    lines = (
        "slope of 5      0.9 to 1.1  holds\nit holds that a < b\nspread  MISSED\n"
        "kernel within .01: within\n0.9 law  0.7  not valid: too few pixels\n"
        "not finite: gap of 1 of 2 cells"
    )
    page = Page(pages.page("a & b", [pages.table(lines)]))
    assert page.coloured == {
        "good": ["holds", "within"],
        "bad": ["MISSED"],
        "doubt": ["not valid: too few pixels", "not finite: gap of 1 of 2 cells"],
    }
    assert "it holds that a < b" in page.text


def run_index(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "experiments.report", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_the_index_sets_runs_side_by_side(tmp_path):
    for name, levels in (("a", (0.5,)), ("b", (0.9, 0.5))):
        execute(tmp_path / "runs" / name, p=levels)
    (tmp_path / "runs" / "b" / "report.html").unlink()
    done = run_index(tmp_path, "runs/a", "runs/b", "--output=runs/index.html")
    assert done.returncode == 0
    assert done.stdout == "runs/index.html\n"
    assert "jax._src" not in done.stderr
    page = read(tmp_path / "runs" / "index.html")
    assert page.pictures == ["a/figures/fake.png", "b/figures/fake.png"]
    assert set(page.links) == {"a/report.html"}
    assert page.text.count("no report yet") == 1
    assert "p 0.5 0.9,0.5" in page.text  # what differs
    assert "width" not in page.text  # what does not
    assert "cells 1 2" in page.text
    assert not re.search(r"<script|https?:", (tmp_path / "runs/index.html").read_text())


def test_what_is_no_run_is_refused(tmp_path):
    done = run_index(tmp_path, "nowhere")
    assert done.returncode == 2
    assert "error: nowhere must be a run directory" in done.stderr
    assert not (tmp_path / "index.html").exists()
