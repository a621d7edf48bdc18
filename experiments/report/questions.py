"""What a script asks, read from its source: JAX takes seconds to load."""

import ast
import pathlib


def question(name: str) -> str:
    """Returns the first line of a script's docstring, which is one sentence."""
    source = pathlib.Path(__file__).parents[1] / f"{name}.py"
    text = source.read_text("utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
