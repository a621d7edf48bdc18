"""`python -m experiments.NAME --help` in half a second: without what computes.

JAX and the others take three seconds to import, and saying which settings there are
needs none of them. So the script is imported with stand-ins for these packages, as
documentation is built (`autodoc_mock_imports` of Sphinx). Where they will not do, it is
imported as it is, which says the same later.
"""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections.abc import Generator, Sequence
from typing import Any

_PACKAGES = {
    *("jax", "jaxlib", "jaxtyping", "flax", "optax", "scipy", "sklearn"),
    *("matplotlib", "tqdm", "PIL"),
}
_OURS = {"theory", "ntk_corrupt", "experiments"}


def asked(arguments: Sequence[str]) -> bool:
    """Tells whether a command line asks for help, in any of absl's spellings."""
    words = [*arguments, "--"]
    given = words[: words.index("--")]
    names = ("help", "helpshort", "helpfull", "h", "?")
    return any(word in (f"-{name}", f"--{name}") for word in given for name in names)


class _Anything:
    """What a name of a stand-in is: called, asked or indexed, it is itself.

    Classes that it decorates stay what they are, and bases are left out.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return next((each for each in args if isinstance(each, type)), self)

    def __getattr__(self, name: str) -> Any:
        return _lacking(name) or self

    def __getitem__(self, key: Any) -> Any:
        return self

    def __or__(self, other: Any) -> Any:
        return self

    __ror__ = __or__

    def __mro_entries__(self, bases: tuple) -> tuple:
        return ()


class _AnyClass(type):
    """The type of a stand-in's classes, for `issubclass` and in annotations."""

    def __getattr__(cls, name: str) -> Any:
        return _lacking(name) or _Anything()

    def __getitem__(cls, key: Any) -> Any:
        return cls


def _lacking(name: str) -> None:
    if name.startswith("__"):  # Python asks for these to know what it has
        raise AttributeError(name)


class _StandIn(types.ModuleType):
    """A module that has every name: of classes those in capitals."""

    def __getattr__(self, name: str) -> Any:
        _lacking(name)
        value = _AnyClass(name, (), {}) if name[0].isupper() else _Anything()
        setattr(self, name, value)
        return value


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stand-ins for `_PACKAGES`."""

    def find_spec(self, fullname, path, target=None):
        if fullname.partition(".")[0] not in _PACKAGES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        return _StandIn(spec.name)

    def exec_module(self, module):
        pass


@contextlib.contextmanager
def stand_ins() -> Generator[None, None, None]:
    """Stand-ins inside; afterwards nothing that was imported with them is left."""
    before, finder = set(sys.modules), _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in _PACKAGES | _OURS:  # NumPy loads once
                del sys.modules[name]


def text(script: str) -> str:
    """Returns the help of a script, by its dotted name; any error is a stand-in's."""
    with stand_ins():
        help = importlib.import_module("experiments.harness.help")
        module = importlib.import_module(script)
        return help.text(module.EXPERIMENT, module.__doc__ or "")


def _script() -> str | None:
    """The script that `python -m` is looking for, of which help is asked."""
    if sys.argv[:1] != ["-m"] or not asked(sys.argv[1:]):
        return None
    with contextlib.suppress(ValueError, IndexError):
        name = sys.orig_argv[sys.orig_argv.index("-m") + 1]
        return name if name.startswith("experiments.") else None
    return None


def answer(script: str) -> None:
    with contextlib.suppress(Exception):
        words = text(script)
        try:
            print(words, flush=True)
        except BrokenPipeError:  # the reader has what it wanted, as of `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if (_asked := _script()) is not None:
    answer(_asked)
