"""The notebooks as pages: with the outputs that `make gallery` computed, if it did.

A notebook that was changed since is shown without them, as is one that was not run.
"""

import base64
import json
import pathlib
import re
import tomllib
from typing import Any

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
RUN = ROOT / "build" / "gallery"
NOT_RUN = "Without outputs: this site was built without `make gallery`."
# What ends a line that a terminal colours.
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def cells(path: pathlib.Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text("utf-8"))["cells"]


def sources(path: pathlib.Path) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(path)]


def run_of(path: pathlib.Path) -> pathlib.Path | None:
    """Returns the notebook with its outputs, None unless it is of these sources."""
    run = RUN / path.name
    return run if run.exists() and sources(run) == sources(path) else None


def title(path: pathlib.Path) -> str:
    return sources(path)[0].partition("\n")[0].removeprefix("# ")


def first_paragraph(path: pathlib.Path) -> str:
    return sources(path)[0].split("\n\n")[1]


def colab(path: pathlib.Path) -> str:
    """Returns the badge that opens a notebook in Colab, where the address is known."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    home = project.get("urls", {}).get("Repository", "")
    if not home.startswith("https://github.com/"):
        return ""
    there = home.removeprefix("https://github.com/").rstrip("/")
    address = "https://colab.research.google.com/github"
    return f"[Open in Colab]({address}/{there}/blob/main/notebooks/{path.name})"


def shown(output: dict[str, Any], picture: str) -> tuple[str, bytes | None]:
    """Returns an output as Markdown, and the picture in it."""
    data = output.get("data", {})
    if "image/png" in data:
        return f"![output]({picture})", base64.b64decode("".join(data["image/png"]))
    text = "".join(output.get("text", data.get("text/plain", "")))
    if output.get("name") == "stderr" or not text.strip():  # warnings of the machine
        return "", None
    body = COLOUR.sub("", text).rstrip()
    return f"``` {{.text .output}}\n{body}\n```", None


def page(path: pathlib.Path) -> tuple[str, dict[str, bytes]]:
    """Returns the page of a notebook, and its pictures by name."""
    run, pictures = run_of(path), {}
    note = "" if run else f"!!! note\n    {NOT_RUN}"
    links = " · ".join(filter(None, [colab(path), f"[Notebook]({path.name})"]))
    blocks = []
    for cell in cells(run or path):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(source)
        else:
            blocks.append(f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            name = f"{path.stem}_{len(pictures)}.png"
            text, picture = shown(output, name)
            blocks.append(text)
            if picture is not None:
                pictures[name] = picture
    blocks[1:1] = [links, note]
    return "\n\n".join(block for block in blocks if block) + "\n", pictures


def index() -> str:
    """Returns the page of the gallery, with the last picture of each notebook."""
    blocks = [
        "# Notebooks",
        "Each runs on a laptop, and on Colab with the wheel of `make dist` in its "
        "Files panel: the first cell installs what is missing, and keeps the JAX that "
        "is there.",
    ]
    for path in paths():
        _, pictures = page(path)
        blocks += [f"## [{title(path)}]({path.stem}.md)", first_paragraph(path)]
        for name in list(pictures)[-1:]:
            blocks.append(f"[![a figure of it]({name})]({path.stem}.md)")
    return "\n\n".join(blocks) + "\n"


def paths() -> list[pathlib.Path]:
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def on_config(config):
    """Adds the section to the navigation."""
    pages = [f"notebooks/{path.stem}.md" for path in paths()]
    config.nav.insert(3, {"Notebooks": ["notebooks/index.md", *pages]})
    return config


def on_files(files, config):
    """Adds the pages of the notebooks, their pictures, and the notebooks."""
    files.append(File.generated(config, "notebooks/index.md", content=index()))
    for path in paths():
        content, pictures = page(path)
        made = {f"{path.stem}.md": content, **pictures}
        for name, what in made.items():
            files.append(File.generated(config, f"notebooks/{name}", content=what))
        at = f"notebooks/{path.name}"
        files.append(File.generated(config, at, abs_src_path=str(path)))
    return files
