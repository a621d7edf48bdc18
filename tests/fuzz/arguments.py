"""Arguments of public functions: spelt in other ways, and made nonsense of.

A spelling means the same as the argument that it stands for: a call must give the same
result, or refuse it. Nonsense must be refused. Whatever an object is made of is made
when it is asked for, as its own class may refuse it.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

# (what was done, how to make the value)
Variant = tuple[str, Callable[[], Any]]


@dataclasses.dataclass(frozen=True)
class Argument:
    """One argument of a base call: its kind, a function of this module, and its value.

    Attributes:
        kind: name of the kind.
        value: a value that is right.
        optional: whether None means something.
    """

    kind: str
    value: Any
    optional: bool = False

    def spellings(self, rng: np.random.Generator) -> list[Variant]:
        """Other ways to say the same."""
        return list(_SPELT.get(self.kind, _none)(self.value, rng))

    def nonsense(self, rng: np.random.Generator) -> list[Variant]:
        """What makes no sense in its place."""
        found = list(_WRONG[self.kind](self.value, rng))
        if not self.optional and not self.kind.startswith("own"):
            found.append(("None", lambda: None))
        return found


def _none(value, rng) -> Iterator[Variant]:
    yield from ()


def _value(said: str, value: Any) -> Variant:
    return said, lambda: value


# --- arrays ------------------------------------------------------------------------


def _spelt_points(x, rng):
    host = np.asarray(x)
    yield _value("float32", jnp.asarray(host, jnp.float32))
    yield _value("NumPy", host)
    yield _value("Fortran order", np.asfortranarray(host))
    yield _value("a strided view", np.repeat(host, 2, axis=0)[::2])
    yield _value("read only, big endian", host.astype(">f8"))
    yield _value("nested lists", host.tolist())
    yield _value("float16", host.astype(np.float16))
    yield _value("bfloat16", host.astype(ml_dtypes.bfloat16))
    yield _value("long double", host.astype(np.longdouble))


def _damaged(x, rng, bad):
    x = np.array(x, float)
    x.flat[rng.integers(x.size)] = bad
    return x


def _wrong_array(x, rng):
    host = np.asarray(x)
    yield _value("NaN", _damaged(host, rng, np.nan))
    yield _value("infinity", jnp.asarray(_damaged(host, rng, np.inf)))
    yield _value("one axis more", host[None])
    yield _value("complex", host + 1j)
    yield _value("strings", host.astype(str))
    yield _value("objects", host.astype(object))
    yield _value("a dictionary", {"x": host})
    yield _value("text", "points")
    yield _value("empty", host[:0])
    yield _value("dates", np.full(host.shape, np.datetime64("2020-01-01")))


def _wrong_points(x, rng):
    yield from _wrong_array(x, rng)
    host = np.asarray(x)
    yield _value("one axis less", host[0])
    yield _value("no pixels", host[:, :0])
    yield _value("rows of several lengths", [[1.0, 2.0], [3.0]])
    yield _value("a number", 3.0)


def _wrong_paired(x, rng):
    """Points whose number, or whose pixels, another argument fixes."""
    yield from _wrong_points(x, rng)
    yield _value("a row less", np.asarray(x)[:-1])


def _wrong_images(x, rng):
    """Of any number of axes, compared as they are."""
    meant = ("one axis more", "NaN", "infinity", "complex")
    yield from (each for each in _wrong_array(x, rng) if each[0] not in meant)


def _wrong_pixels(x, rng):
    yield from _wrong_points(x, rng)
    yield _value("a pixel less", np.asarray(x)[:, :-1])


def _spelt_labels(y, rng):
    host = np.asarray(y)
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64):
        yield _value(np.dtype(dtype).name, host.astype(dtype))
    yield _value("a list", host.tolist())
    yield _value("JAX, uint32", jnp.asarray(host, jnp.uint32))


def _wrong_labels(y, rng):
    host = np.asarray(y)
    at = rng.integers(host.size)
    outside, negative = host.copy(), host.copy()
    outside[at], negative[at] = 100, -1
    yield _value("floats", host.astype(float))
    yield _value("halves", host + 0.5)
    yield _value("booleans", host.astype(bool))
    yield _value("out of range", outside)
    yield _value("negative", negative)
    yield _value("one less", host[:-1])
    yield _value("one axis more", host[None])
    yield _value("one-hot", np.eye(int(host.max()) + 1)[host])
    yield _value("strings", host.astype(str))
    yield _value("empty", host[:0])
    yield _value("a number", 3)


def _wrong_free_labels(y, rng):
    """Classes of which nothing says how many there are."""
    meant = ("out of range", "negative", "one axis more", "one-hot", "empty")
    yield from (each for each in _wrong_labels(y, rng) if each[0] not in meant)


def _wrong_indices(y, rng):
    meant = ("one less", "empty")
    yield from (each for each in _wrong_labels(y, rng) if each[0] not in meant)


def _spelt_curve(x, rng):
    host = np.asarray(x)
    yield _value("a list", host.tolist())
    yield _value("JAX", jnp.asarray(host))
    yield _value("float32", host.astype(np.float32))


def _wrong_stack(x, rng):
    """Curves along the last axis, of which there may be several; NaN ends one."""
    meant = ("one axis more", "NaN")
    yield from (each for each in _wrong_curve(x, rng) if each[0] not in meant)


def _wrong_positive_curve(x, rng):
    """NaN stands for what is not known there."""
    yield from (each for each in _wrong_curve(x, rng) if each[0] != "NaN")
    yield _value("zero", np.asarray(x) * 0)


def _wrong_curve(x, rng):
    host = np.asarray(x)
    yield _value("NaN", _damaged(host, rng, np.nan))
    yield _value("infinity", _damaged(host, rng, np.inf))
    yield _value("one axis more", host[None])
    yield _value("a number", 3.0)
    yield _value("text", "curve")
    yield _value("strings", host.astype(str))
    yield _value("complex", host + 1j)
    yield _value("empty", host[:0])


# --- numbers -----------------------------------------------------------------------


def _spelt_count(value, rng):
    for dtype in (np.int64, np.int32, np.uint16):
        yield _value(np.dtype(dtype).name, dtype(value))
    yield _value("an array of no axes", np.asarray(value))
    yield _value("JAX", jnp.asarray(value))


def _wrong_whole(value, rng):
    yield _value("negative", -int(rng.integers(1, 10)))
    yield _value("a half", value + 0.5)
    yield _value("a float", float(value))
    yield _value("True", True)
    yield _value("text", str(value))
    yield _value("NaN", float("nan"))
    yield _value("infinity", float("inf"))
    yield _value("a list", [value])
    yield _value("an array", np.array([value, value]))


def _wrong_count(value, rng):
    yield from _wrong_whole(value, rng)
    yield _value("zero", 0)


def _wrong_size(value, rng):
    """Counts of what must be held, or done: far too many are refused."""
    yield from _wrong_count(value, rng)
    yield _value("a billion billions", 10**18)
    yield _value("a million millions", 10**12)


def _spelt_number(value, rng):
    yield _value("float64", np.float64(value))
    yield _value("float32", np.float32(value))
    yield _value("an array of no axes", np.asarray(value))
    yield _value("JAX", jnp.asarray(value))


def _wrong_number(value, rng):
    yield _value("NaN", float("nan"))
    yield _value("text", str(value))
    yield _value("a list", [value])
    yield _value("an array", np.array([value, value]))
    yield _value("complex", value + 1j)


def _wrong_positive(value, rng):
    yield from _wrong_number(value, rng)
    yield _value("negative", -float(rng.uniform(0.1, 10)))
    yield _value("infinity", float("inf"))


def _wrong_length(value, rng):
    """Of which infinity means that there is no bound."""
    yield from (each for each in _wrong_positive(value, rng) if each[0] != "infinity")


def _wrong_above_zero(value, rng):
    yield from _wrong_positive(value, rng)
    yield _value("zero", 0.0)


def _wrong_share(value, rng):
    yield from _wrong_positive(value, rng)
    yield _value("more than one", 1 + float(rng.uniform(0.01, 10)))


# --- names, keys, objects ----------------------------------------------------------


def _wrong_flag(value, rng):
    yield _value("text", "yes")
    yield _value("a number", 2)
    yield _value("an array", np.array([True, False]))


def _wrong_name(value, rng):
    yield _value("unknown", value + "x")
    yield _value("capitals", value.upper())
    yield _value("empty", "")
    yield _value("a number", 3)
    yield _value("a list", [value])
    yield _value("bytes", value.encode())


def _spelt_key(value, rng):
    yield _value("raw", jax.random.key_data(value))


def _wrong_key(value, rng):
    yield _value("a number", 0)
    yield _value("text", "key")
    yield _value("two keys", jax.random.split(value))
    yield _value("floats", np.zeros(2))
    yield _value("raw, too long", jnp.zeros(3, jnp.uint32))


def _wrong_object(value, rng):
    yield _value("text", "object")
    yield _value("a number", 3)
    yield _value("an array", np.ones(3))
    yield _value("another object", object())
    yield _value("its class", type(value))
    yield _value("a list of it", [value])


def _replaced(value, **changes) -> Callable[[], Any]:
    return lambda: dataclasses.replace(value, **changes)


def _wrong_architecture(arch, rng):
    yield from _wrong_object(arch, rng)
    for name, bad in (
        ("depth", 0),
        ("depth", 1.5),
        ("depth", True),
        ("depth", "2"),
        ("activation", "rleu"),
        ("activation", jax.nn.softmax),
        ("activation", None),
        ("w_var", -1.0),
        ("w_var", float("nan")),
        ("w_var", float("inf")),
        ("w_var", "1"),
        ("b_var", -0.1),
        ("b_var", float("nan")),
    ):
        yield f"{name} = {bad!r:.20}", _replaced(arch, **{name: bad})


def _wrong_corruption(corruption, rng):
    yield from _wrong_object(corruption, rng)
    for bad in (2.0, -0.5, float("nan"), "0.5", None, np.ones(3)):
        yield f"p = {bad!r:.20}", _replaced(corruption, p=bad)


def _spelt_problem(problem, rng):
    parts = ("x_train", "labels_train", "x_test", "labels_test")
    host = {name: np.asarray(getattr(problem, name)) for name in parts}
    yield "NumPy", _replaced(problem, **host)
    yield "float32", lambda: problem.astype(jnp.float32)
    labels = {n: v.astype(np.uint8) for n, v in host.items() if n[0] == "l"}
    yield "labels of uint8", _replaced(problem, **labels)


def _wrong_problem(problem, rng):
    yield from _wrong_object(problem, rng)
    for part in ("train", "test"):
        x, labels = f"x_{part}", f"labels_{part}"
        images, y = (
            np.asarray(getattr(problem, x)),
            np.asarray(getattr(problem, labels)),
        )
        for said, wrong in _wrong_pixels(images, rng):
            yield f"{x}: {said}", _replaced(problem, **{x: wrong()})
        for said, wrong in _wrong_labels(y, rng):
            yield f"{labels}: {said}", _replaced(problem, **{labels: wrong()})
        bytes_ = images.astype(np.uint8)
        yield f"{x}: uint8", _replaced(problem, **{x: bytes_})
    for bad in (0, 1, -3, 2.5, "3", None, 2):
        yield f"num_classes = {bad!r}", _replaced(problem, num_classes=bad)


def _wrong_law(law, rng):
    yield from _wrong_object(law, rng)
    yield from _damaged_law(law, rng)


def _damaged_law(law, rng):
    for name in ("mean", "cov"):
        bad = _damaged(getattr(law, name), rng, np.nan)
        yield f"{name}: NaN", _replaced(law, **{name: jnp.asarray(bad)})


def _wrong_draws(draws, rng):
    yield from _wrong_object(draws, rng)
    yield from _damaged_draws(draws, rng)


def _damaged_draws(draws, rng):
    bad = jnp.asarray(_damaged(draws.outputs, rng, np.nan))
    yield "outputs: NaN", _replaced(draws, outputs=bad)


_SPELT: dict[str, Callable[..., Iterator[Variant]]] = {
    "points": _spelt_points,
    "paired": _spelt_points,
    "pixels": _spelt_points,
    "images": _spelt_points,
    "labels": _spelt_labels,
    "free_labels": _spelt_labels,
    "indices": _spelt_labels,
    "curve": _spelt_curve,
    "stack": _spelt_curve,
    "positive_curve": _spelt_curve,
    "whole": _spelt_count,
    "count": _spelt_count,
    "size": _spelt_count,
    "number": _spelt_number,
    "positive": _spelt_number,
    "above_zero": _spelt_number,
    "length": _spelt_number,
    "share": _spelt_number,
    "key": _spelt_key,
    "problem": _spelt_problem,
}
_WRONG: dict[str, Callable[..., Iterator[Variant]]] = {
    "points": _wrong_points,
    "paired": _wrong_paired,
    "pixels": _wrong_pixels,
    "images": _wrong_images,
    "labels": _wrong_labels,
    "curve": _wrong_curve,
    "stack": _wrong_stack,
    "positive_curve": _wrong_positive_curve,
    "whole": _wrong_whole,
    "count": _wrong_count,
    "size": _wrong_size,
    "number": _wrong_number,
    "positive": _wrong_positive,
    "above_zero": _wrong_above_zero,
    "length": _wrong_length,
    "share": _wrong_share,
    "flag": _wrong_flag,
    "name": _wrong_name,
    "key": _wrong_key,
    "object": _wrong_object,
    "architecture": _wrong_architecture,
    "corruption": _wrong_corruption,
    "problem": _wrong_problem,
    "law": _wrong_law,
    "draws": _wrong_draws,
    # the object of a method is one
    "own_law": _damaged_law,
    "free_labels": _wrong_free_labels,
    "indices": _wrong_indices,
    "gram": _wrong_paired,
    "own_draws": _damaged_draws,
}
