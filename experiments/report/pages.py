"""Pages of HTML in one file: no script, nothing fetched, light or dark, any width.

Verdicts are told by their words; the colour only helps to find them.
"""

import base64
import html
import re
from collections.abc import Iterable, Sequence

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --paper: #fff; --rule: #d5dae0;
  --quiet: #59636e; --block: #f5f7f9; --good: #116329; --bad: #b3261e; --doubt: #7d4e00;
  --link: #0b57a4 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --paper: #15181c;
  --rule: #3a424c; --quiet: #9aa5b1; --block: #1e2329; --good: #6fd08c; --bad: #ff8f86;
  --doubt: #f0b958; --link: #7db7f0 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem) 3rem; max-width: 82rem;
  font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p { margin: .3rem 0; max-width: 46rem } .quiet { color: var(--quiet) }
a { color: var(--link) }
pre { background: var(--block); border: 1px solid var(--rule); border-radius: 6px;
  padding: .8rem 1rem; overflow-x: auto; font: 13px/1.45 ui-monospace, monospace }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px;
  border: 1px solid var(--rule) }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr));
  gap: .1rem 1.5rem; margin: 0 }
dl div { display: flex; justify-content: space-between; gap: 1rem;
  border-bottom: 1px solid var(--rule); padding: .15rem 0 }
dt { color: var(--quiet) }
dd { margin: 0; text-align: right; overflow-wrap: anywhere }
.changed { font-weight: 600 }
.good { color: var(--good); font-weight: 600 } .bad { color: var(--bad);
  font-weight: 700 } .doubt { color: var(--doubt); font-weight: 600 }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem }
th, td { border-bottom: 1px solid var(--rule); padding: .3rem .8rem .3rem 0;
  text-align: left; vertical-align: top }
.runs { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)) }
"""
# At the end of a line they are verdicts; elsewhere they may be words of a sentence.
_VERDICTS = re.compile(
    r"(?P<bad>\bMISSED\b)|(?P<good>\b(?:holds|within)(?=\s*$))"
    r"|(?P<doubt>\b(?:not valid|not finite|failed)\b.*$)",
    re.MULTILINE,
)


def text(value: object) -> str:
    """Returns a value as it is shown in HTML."""
    return html.escape(str(value))


def page(title: str, body: Iterable[str]) -> str:
    """Returns a whole page; `body` is HTML, in blocks."""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            *body,
            "</body>\n</html>\n",
        ]
    )


def section(title: str, *blocks: str) -> str:
    """Returns a heading and what belongs to it."""
    return "\n".join([f"<section>\n<h2>{text(title)}</h2>", *blocks, "</section>"])


def table(lines: str) -> str:
    """Returns a table of the terminal, with its verdicts coloured."""

    def coloured(match: re.Match) -> str:
        return f'<span class="{match.lastgroup}">{match[0]}</span>'

    shown = _VERDICTS.sub(coloured, html.escape(lines.strip("\n"), quote=False))
    return f'<pre tabindex="0">{shown}</pre>'


def picture(png: bytes, about: str) -> str:
    """Returns an image, inside the page."""
    inlined = base64.b64encode(png).decode()
    return f'<img alt="{text(about)}" src="data:image/png;base64,{inlined}">'


def pairs(items: Iterable[tuple[str, object, object]]) -> str:
    """Returns names and values; those that differ from a default are marked.

    Args:
        items: name, value as it is shown, and the default or None where there is none.
    """
    shown = []
    for name, value, default in items:
        changed = default is not None and value != default
        note = f' class="changed" title="default {text(default)}"' if changed else ""
        cell = f"<dd{note}>{text(value)}</dd>"
        shown.append(f"<div><dt>{text(name)}</dt>{cell}</div>")
    return "\n".join(["<dl>", *shown, "</dl>"])


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of HTML cells below a line of headings, which are HTML too."""

    def line(kind: str, cells: Sequence[str]) -> str:
        return f"<tr>{''.join(f'<{kind}>{cell}</{kind}>' for cell in cells)}</tr>"

    body = [line("td", row) for row in rows]
    inner = "\n".join([line("th", head), *body])
    return f'<div class="wide"><table>\n{inner}\n</table></div>'
