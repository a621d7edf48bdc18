"""Frozen dataclasses that JAX sees as pytrees, told apart by their class.

`jax.tree_util.register_dataclass` leaves the class out of the equality of tree
structures (jax 0.10.2): the structures of two classes with equally many fields are
equal, only their hashes differ. Structures are keys of the jit cache, so that once in a
while one noise is computed in place of another. Here the class is part of the key.
"""

import dataclasses
import typing
from typing import Any

import jax


def static(*, default: Any = dataclasses.MISSING) -> Any:
    """Returns a field that is part of the jit key."""
    return dataclasses.field(default=default, metadata={"static": True})


@typing.dataclass_transform(
    frozen_default=True, field_specifiers=(dataclasses.field, static)
)
def record(cls: Any = None, *, kw_only: bool = False, repr: bool = True) -> Any:
    """Makes a frozen dataclass and registers it as a pytree.

    Fields are traced unless declared with `static()`; static ones are part of the jit
    key and must be hashable. Without `repr` the class, or one that it extends, has its
    own.
    """
    if cls is None:
        return lambda cls: record(cls, kw_only=kw_only, repr=repr)
    # Fields hold tracers, shapes and batches inside JAX: annotated, never checked.
    made = dataclasses.dataclass(frozen=True, kw_only=kw_only, repr=repr)(cls)
    cls = typing.no_type_check(made)
    fields = dataclasses.fields(cls)
    static = tuple(f.name for f in fields if f.metadata.get("static"))
    traced = tuple(f.name for f in fields if not f.metadata.get("static"))

    def flatten(self):
        children = tuple(
            (jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in traced
        )
        return children, (cls, *(getattr(self, name) for name in static))

    def unflatten(key, children):
        self = object.__new__(cls)  # not __init__: children may be anything
        values = (*children, *key[1:])
        for name, value in zip((*traced, *static), values, strict=True):
            object.__setattr__(self, name, value)
        return self

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
    return cls
