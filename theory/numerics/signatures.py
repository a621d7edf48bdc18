"""The door of a public function is its signature: arguments as annotated, or refused.

`checked` reads the annotations once. Arrays are converted by `doors`, and axes of one
name must have one length in all arguments; numbers, keys, names and objects must be
what they are said to be. What a value may be within its type the function checks.
"""

import collections.abc
import functools
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import AbstractArray

from theory.errors import InputError
from theory.numerics import doors

P = ParamSpec("P")
R = TypeVar("R")

# (name, value, lengths of the axes so far) -> the value to go on with
Door = Callable[[str, Any, dict[str, Any]], Any]


@typing.overload
def checked(function: Callable[P, R]) -> Callable[P, R]: ...


@typing.overload
def checked(
    *, infinite: Sequence[str]
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def checked(function: Any = None, *, infinite: Sequence[str] = ()) -> Any:
    """Returns the function behind a door that its annotations describe.

    Whole numbers where floats are asked for become floats, lists arrays, NumPy's
    scalars Python's, and raw keys typed ones; NaN and infinity in arrays, and NaN in
    numbers, are refused. Axes are named as jaxtyping does. An argument whose annotation
    says nothing that can be checked passes as it is.

    Args:
        function: takes annotated arguments.
        infinite: arguments whose arrays may hold infinity.

    Raises:
        InputError: from what is decorated, one line about the first argument that does
            not fit. An argument that is missing or unknown stays Python's `TypeError`.
    """
    if function is None:
        return functools.partial(checked, infinite=infinite)
    signature = inspect.signature(function)
    at = {
        name: door
        for name, parameter in signature.parameters.items()
        if (door := _door(name, parameter.annotation, name in infinite)) is not None
    }

    @functools.wraps(function)
    def through(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python's own words
        lengths: dict[str, Any] = {}
        for name, door in at.items():
            if name in bound.arguments:
                bound.arguments[name] = door(name, bound.arguments[name], lengths)
        return function(*bound.args, **bound.kwargs)

    for name in ("clear_cache", "_cache_size", "lower"):  # of what `jax.jit` returned
        if hasattr(function, name):
            setattr(through, name, getattr(function, name))
    return through


def _door(name: str, annotation: Any, infinite: bool) -> Door | None:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    arms = typing.get_args(annotation) if union else (annotation,)
    optional = type(None) in arms
    arms = tuple(arm for arm in arms if arm is not type(None))
    door = _key if name == "key" and arms == (jax.Array,) else _of_arms(arms, infinite)
    if door is None or not optional:
        return door
    return lambda name, value, lengths: (
        None if value is None else door(name, value, lengths)
    )


def _of_arms(arms: tuple[Any, ...], infinite: bool) -> Door | None:
    """The door of a union: objects, numbers, then arrays; None if an arm is free."""
    arrays = tuple(arm for arm in arms if _is_array(arm))
    scalars = tuple(arm for arm in arms if arm in (bool, int, float, str))
    objects = tuple(arm for arm in arms if arm not in arrays and arm not in scalars)
    classes = tuple(_class(arm) for arm in objects)
    if not arms or any(cls is None for cls in classes):
        return None
    names = " or ".join(
        (
            *(_called(cls) for cls in classes),
            *(_SCALARS[arm] for arm in scalars),
            *(f"an array {_shape(arm)}" for arm in arrays[:1]),
        )
    )

    def door(name: str, value: Any, lengths: dict[str, Any]) -> Any:
        if any(_is_a(value, cls) for cls in classes):
            return value
        kept = arrays and isinstance(value, jax.Array | np.ndarray)
        if not kept and (found := _scalar(name, value, scalars)) is not None:
            return found
        if arrays and not isinstance(value, str | bytes | dict | set | None):
            return _array(name, value, arrays, lengths, infinite)
        raise InputError(f"`{name}` must be {names}, got {_said(value)}.")

    return door


_SCALARS = {bool: "True or False", int: "an integer", float: "a number", str: "a name"}


def _said(value: Any) -> str:
    plain = isinstance(value, bool | int | float | str | np.generic | None)
    return repr(value)[:60] if plain else f"a {type(value).__name__}"


def _called(cls: Any) -> str:
    return "callable" if cls is collections.abc.Callable else f"a {cls.__name__}"


def _class(arm: Any) -> Any:
    """What an argument must be an instance of; None where nothing can be said."""
    origin = typing.get_origin(arm) or arm
    if not isinstance(origin, type) or origin in (
        inspect.Parameter.empty,
        object,
        Any,
    ):
        return None
    if getattr(origin, "_is_protocol", False) and not getattr(
        origin, "_is_runtime_protocol", False
    ):
        return None
    return origin


def _is_a(value: Any, cls: Any) -> bool:
    if cls is collections.abc.Callable:
        return callable(value)
    if cls in (collections.abc.Sequence, collections.abc.Iterable):
        return isinstance(value, cls) and not isinstance(value, str | bytes)
    # of a protocol, a class has all that its objects have
    return isinstance(value, cls) and not isinstance(value, type)


def _scalar(name: str, value: Any, arms: tuple[Any, ...]) -> Any:
    """A number or a name as Python has it, tracers as they are; None if it is none."""
    if isinstance(value, jax.core.Tracer) and value.ndim == 0:
        return value
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0:
        value = value.item() if value.dtype.kind in "biuf" else value
    truth = isinstance(value, bool | np.bool_)
    if bool in arms and truth:
        return bool(value)
    if str in arms and isinstance(value, str):
        return value
    if int in arms and isinstance(value, numbers.Integral) and not truth:
        return int(value)
    if float in arms and isinstance(value, numbers.Real) and not truth:
        if np.isnan(value):
            raise InputError(f"`{name}` must be a number, got nan.")
        return float(value) if isinstance(value, np.generic) else value
    return None


def _key(name: str, value: Any, lengths: dict[str, Any]) -> Any:
    dtype = getattr(value, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if typed and value.shape == ():
        return value
    if dtype == np.uint32 and value.shape == (2,):
        return jax.random.wrap_key_data(value)
    raise InputError(
        f"`{name}` must be a random key, as jax.random.key(0), got {_said(value)}."
    )


def _is_array(arm: Any) -> bool:
    return isinstance(arm, type) and (
        issubclass(arm, AbstractArray) or arm in (jax.Array, np.ndarray)
    )


def _shape(arm: Any) -> str:
    names = getattr(arm, "dim_str", "...").split()
    return f"({', '.join(names)}{',' * (len(names) == 1)})"


def _array(
    name: str,
    value: Any,
    arms: tuple[Any, ...],
    lengths: dict[str, Any],
    infinite: bool,
) -> Any:
    """The value as the arrays of `arms` have it, which differ in their type alone."""
    arm = arms[0]
    host = all(getattr(each, "array_type", each) is np.ndarray for each in arms)
    either = any(getattr(each, "array_type", each) is np.ndarray for each in arms)
    dtypes = getattr(arm, "dtypes", None)
    value = doors.real_array(name, value, _shape(arm))
    if isinstance(dtypes, tuple | list):
        value = _of_dtype(name, value, dtypes)
        if not value.size and "float32" in dtypes:
            raise InputError(f"`{name}` must not be empty, got shape {value.shape}.")
    _check_shape(name, value, arm, lengths)
    seen = value
    if infinite and not isinstance(value, jax.core.Tracer):
        seen = np.where(np.isinf(value), 0, value)
    if jnp.issubdtype(value.dtype, jnp.floating) and not doors.is_finite(seen):
        raise doors.not_finite(name, value)
    if host or (either and isinstance(value, np.ndarray)):
        return np.asarray(value)
    return jnp.asarray(value)


def _of_dtype(name: str, value: Any, dtypes: Sequence[str]) -> Any:
    """Reals, whole numbers or truths, as the annotation asks."""
    kind = np.dtype(value.dtype).kind
    if "float32" in dtypes:
        return doors.floating(name, value)
    if "int32" in dtypes:
        if kind not in "iu":
            raise InputError(f"`{name}` must be integers, got {value.dtype}.")
        small = value.dtype.itemsize < 4 or kind == "u"  # sums of it would wrap
        return value.astype(jnp.result_type(int)) if small else value
    if "bool" in dtypes and kind != "b":
        raise InputError(f"`{name}` must be True or False, got {value.dtype}.")
    return value


def _check_leading(
    name: str, value: Any, words: Sequence[str], lengths: dict[str, Any]
) -> None:
    """The same where the first axes are any number: equal in all arguments."""
    own = len(words) - 1
    if value.ndim < own:
        raise InputError(
            f"`{name}` must be an array of {own} axes at least, got {value.shape}."
        )
    split = value.ndim - own
    first, last = value.shape[:split], value.shape[split:]
    for word, length in zip(words, (first, *last), strict=True):
        expected = lengths.setdefault(word, length) if word != "..." else length
        if length != expected:
            raise InputError(
                f"`{name}` must have {word.strip('*')} = {expected}, got {length}."
            )


def _check_shape(name: str, value: Any, arm: Any, lengths: dict[str, Any]) -> None:
    """Raises `InputError` where axes are too many, empty, or of another length."""
    words = getattr(arm, "dim_str", "...").split()
    if words == ["..."]:
        return
    if words and words[0].startswith(("*", "...")):
        _check_leading(name, value, words, lengths)
        return
    if value.ndim != len(words):
        raise InputError(
            f"`{name}` must be an array {_shape(arm)}, got shape {value.shape}."
        )
    for word, length in zip(words, value.shape, strict=True):
        word = word.rpartition("=")[0] or word
        expected = int(word) if word.isdigit() else lengths.get(word)
        if word.isidentifier() and not word.startswith("_"):
            lengths.setdefault(word, length)
        if expected is not None and length != expected:
            raise InputError(
                f"`{name}` must be an array {_shape(arm)} with {word} = {expected}, "
                f"got shape {value.shape}."
            )
