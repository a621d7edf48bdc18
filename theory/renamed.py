"""Arguments and modules under the names that they had a version ago, with a warning."""

import functools
import importlib.abc
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from theory.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


def renamed(old: str, new: str) -> Callable[[F], F]:
    """Lets a function, or a class, take the keyword `new` by the name `old` too.

    Raises:
        InputError: from what is decorated, on both names in one call.
    """

    def decorate(called: Any) -> Any:
        if isinstance(called, type):
            called.__init__ = _translating(old, new, called.__name__, called.__init__)
            return called
        return _translating(old, new, called.__name__, called)

    return decorate


def _translating(old: str, new: str, name: str, function: Callable) -> Callable:
    @functools.wraps(function)
    def translating(*args, **kwargs):
        if old in kwargs:
            if new in kwargs:
                raise InputError(
                    f"`{new}` and `{old}` of {name} are one: pass `{new}`."
                )
            warnings.warn(
                f"`{old}` of {name} is called `{new}` now.",
                DeprecationWarning,
                stacklevel=2,
            )
            kwargs[new] = kwargs.pop(old)
        return function(*args, **kwargs)

    return translating


class _Alias(types.ModuleType):
    """A module by the name that it had; a function of that name is called as before."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._stands_for), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


class _Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules by the names that they had."""

    def __init__(self, names: Mapping[str, str]):
        self.names = names

    def find_spec(self, fullname, path, target=None):
        if fullname in self.names:
            return importlib.util.spec_from_loader(fullname, self)
        return None

    def create_module(self, spec):
        alias = _Alias(spec.name)
        alias.__dict__["_stands_for"] = self.names[spec.name]
        return alias

    def exec_module(self, module):
        new = self.names[module.__name__]
        warnings.warn(
            f"`{module.__name__}` is called `{new}` now.",
            DeprecationWarning,
            stacklevel=2,  # frames of the import system do not count
        )


def moved(package: str, folders: Mapping[str, str]) -> None:
    """Lets modules of a package be imported by the names that they had.

    Args:
        package: its name.
        folders: folder -> the names that its modules had outside, as old or old=new.
    """
    names = {}
    for folder, modules in folders.items():
        for each in modules.split():
            old, _, new = each.partition("=")
            names[f"{package}.{old}"] = f"{package}.{folder}.{new or old}"
    sys.meta_path.append(_Moved(names))


class _Same(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of a package by a second name of it: themselves, not copies."""

    def __init__(self, name: str, of: str):
        self.prefix, self.of = f"{name}.", of

    def _stands_for(self, fullname):
        return f"{self.of}.{fullname.removeprefix(self.prefix)}"

    def find_spec(self, fullname, path, target=None):
        if not fullname.startswith(self.prefix):
            return None
        if importlib.util.find_spec(self._stands_for(fullname)) is None:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec):
        module = importlib.import_module(self._stands_for(spec.name))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        # it ran when it was made; the import system has set another spec since
        module.__spec__ = module.__spec__.loader_state


def alias(name: str, of: str) -> None:
    """Makes a module name, and names below it, stand for a package and its modules.

    Called from the module of that name, which the package takes the place of.

    Args:
        name: the second name.
        of: the package, which is imported.
    """
    sys.modules[name] = sys.modules[of]
    # before the finder of files, which would load the modules of `of` once more
    sys.meta_path.insert(0, _Same(name, of))
