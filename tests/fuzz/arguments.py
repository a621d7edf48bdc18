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
import numpy as np
from array_arguments import (
    Variant,
    damaged,
    spelt_curve,
    spelt_labels,
    spelt_points,
    variant,
    wrong_curve,
    wrong_free_labels,
    wrong_images,
    wrong_indices,
    wrong_labels,
    wrong_paired,
    wrong_pixels,
    wrong_points,
    wrong_positive_curve,
    wrong_stack,
)


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


# --- numbers -----------------------------------------------------------------------


def _spelt_count(value, rng):
    for dtype in (np.int64, np.int32, np.uint16):
        yield variant(np.dtype(dtype).name, dtype(value))
    yield variant("an array of no axes", np.asarray(value))
    yield variant("JAX", jnp.asarray(value))


def _wrong_whole(value, rng):
    yield variant("negative", -int(rng.integers(1, 10)))
    yield variant("a half", value + 0.5)
    yield variant("a float", float(value))
    yield variant("True", True)
    yield variant("text", str(value))
    yield variant("NaN", float("nan"))
    yield variant("infinity", float("inf"))
    yield variant("a list", [value])
    yield variant("an array", np.array([value, value]))


def _wrong_count(value, rng):
    yield from _wrong_whole(value, rng)
    yield variant("zero", 0)


def _wrong_size(value, rng):
    """Counts of what must be held, or done: far too many are refused."""
    yield from _wrong_count(value, rng)
    yield variant("a billion billions", 10**18)
    yield variant("a million millions", 10**12)


def _spelt_number(value, rng):
    yield variant("float64", np.float64(value))
    yield variant("float32", np.float32(value))
    yield variant("an array of no axes", np.asarray(value))
    yield variant("JAX", jnp.asarray(value))


def _wrong_number(value, rng):
    yield variant("NaN", float("nan"))
    yield variant("text", str(value))
    yield variant("a list", [value])
    yield variant("an array", np.array([value, value]))
    yield variant("complex", value + 1j)


def _wrong_positive(value, rng):
    yield from _wrong_number(value, rng)
    yield variant("negative", -float(rng.uniform(0.1, 10)))
    yield variant("infinity", float("inf"))


def _wrong_length(value, rng):
    """Of which infinity means that there is no bound."""
    yield from (each for each in _wrong_positive(value, rng) if each[0] != "infinity")


def _wrong_above_zero(value, rng):
    yield from _wrong_positive(value, rng)
    yield variant("zero", 0.0)


def _wrong_share(value, rng):
    yield from _wrong_positive(value, rng)
    yield variant("more than one", 1 + float(rng.uniform(0.01, 10)))


# --- names, keys, objects ----------------------------------------------------------


def _wrong_flag(value, rng):
    yield variant("text", "yes")
    yield variant("a number", 2)
    yield variant("an array", np.array([True, False]))


def _wrong_name(value, rng):
    yield variant("unknown", value + "x")
    yield variant("capitals", value.upper())
    yield variant("empty", "")
    yield variant("a number", 3)
    yield variant("a list", [value])
    yield variant("bytes", value.encode())


def _spelt_key(value, rng):
    yield variant("raw", jax.random.key_data(value))


def _wrong_key(value, rng):
    yield variant("a number", 0)
    yield variant("text", "key")
    yield variant("two keys", jax.random.split(value))
    yield variant("floats", np.zeros(2))
    yield variant("raw, too long", jnp.zeros(3, jnp.uint32))


def _wrong_object(value, rng):
    yield variant("text", "object")
    yield variant("a number", 3)
    yield variant("an array", np.ones(3))
    yield variant("another object", object())
    yield variant("its class", type(value))
    yield variant("a list of it", [value])


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
        for said, wrong in wrong_pixels(images, rng):
            yield f"{x}: {said}", _replaced(problem, **{x: wrong()})
        for said, wrong in wrong_labels(y, rng):
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
        bad = damaged(getattr(law, name), rng, np.nan)
        yield f"{name}: NaN", _replaced(law, **{name: jnp.asarray(bad)})


def _wrong_draws(draws, rng):
    yield from _wrong_object(draws, rng)
    yield from _damaged_draws(draws, rng)


def _damaged_draws(draws, rng):
    bad = jnp.asarray(damaged(draws.outputs, rng, np.nan))
    yield "outputs: NaN", _replaced(draws, outputs=bad)


_SPELT: dict[str, Callable[..., Iterator[Variant]]] = {
    "points": spelt_points,
    "paired": spelt_points,
    "pixels": spelt_points,
    "images": spelt_points,
    "labels": spelt_labels,
    "free_labels": spelt_labels,
    "indices": spelt_labels,
    "curve": spelt_curve,
    "stack": spelt_curve,
    "positive_curve": spelt_curve,
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
    "points": wrong_points,
    "paired": wrong_paired,
    "pixels": wrong_pixels,
    "images": wrong_images,
    "labels": wrong_labels,
    "curve": wrong_curve,
    "stack": wrong_stack,
    "positive_curve": wrong_positive_curve,
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
    "free_labels": wrong_free_labels,
    "indices": wrong_indices,
    "gram": wrong_paired,
    "own_draws": _damaged_draws,
}
