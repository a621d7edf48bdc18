"""The experiments of an installed ntk-corrupt: `ntk-corrupt NAME --flags`.

What `python -m experiments.NAME --flags` is in a checkout. A wheel has the scripts in
`scripts/` beside this file, outside Python's path: a package of so common a name would
stand in the way of its user's own. They run as programs of their own would; nothing
here imports them.
"""

import os
import pathlib
import runpy
import sys

from theory.errors import InputError, unknown


def _folder() -> pathlib.Path:
    """Returns the folder that holds the scripts' package: of a wheel, of a checkout."""
    here = pathlib.Path(__file__).resolve().parent
    for folder in (here / "scripts", here.parent):
        if (folder / "experiments" / "__main__.py").is_file():
            return folder
    raise InputError(f"the scripts must be beside {here}, got none: install it again.")


def _run(arguments: list[str]) -> None:
    folder = _folder()
    # for jobs and other processes that a script starts, too
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    sys.path.insert(0, str(folder))
    menu = runpy.run_module("experiments.__main__", run_name="menu")
    name, *flags = arguments or ["--help"]
    if name in ("-h", "--help"):
        menu["show"]("ntk-corrupt NAME")
        return
    names = {name for family in menu["FAMILIES"].values() for name in family}
    if name not in names:
        raise unknown("script", name, names)
    sys.argv = ["-m", *flags]  # as Python has it while it looks for a module
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)


def main() -> None:
    """Runs the script that the command line names, or prints which there are."""
    try:
        _run(sys.argv[1:])
    except InputError as error:  # of a script it has been printed
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
