"""What comes in at a public function: arrays as they are needed, or a clear refusal.

Values are looked at where they are known: under `jit`, `grad` and `vmap` a tracer may
stand for them, and shapes and dtypes alone are checked.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree

from theory.errors import InputError, NumericalError


def concrete(*trees: PyTree) -> bool:
    """Whether all values are known: no tracer among them."""
    leaves = jax.tree.leaves(trees)
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)


def holds(condition: Callable[[Array], Array], x: ArrayLike) -> bool:
    """Whether a condition holds of known values, in the middle of a trace too."""
    with jax.ensure_compile_time_eval():
        return bool(condition(jnp.asarray(x)).all())


def check_finite(what: str, *results: ArrayLike) -> None:
    """Raises `NumericalError` where results are known and not all of them finite."""
    if concrete(*results) and not all(holds(jnp.isfinite, each) for each in results):
        raise NumericalError(
            f"{what} hold NaN or infinity: see `diagnostics`, and use float64 or an "
            "activation that grows less."
        )


def array(
    name: str,
    value: Any,
    shape: str,
    *,
    whole: bool = True,
    finite: bool = True,
    filled: bool = True,
) -> Array:
    """Returns real numbers as an array of float32 or float64.

    Whole numbers and booleans become the default float: in their own dtypes sums wrap
    and noise is cut off. Half precision becomes float32, which holds all of it.

    Args:
        name: of the argument, for the message.
        value: an array or nested lists.
        shape: names of the axes, as "(n, d)".
        whole: whether whole numbers and booleans are taken.
        finite: whether NaN and infinity are refused.
        filled: whether an axis of length zero is.

    Raises:
        InputError: for anything else.
    """
    if not isinstance(value, jax.Array):
        try:
            value = np.asarray(value)
        except ValueError:
            raise InputError(
                f"`{name}` must be an array {shape}, got rows of several lengths."
            ) from None
    value = _floating(name, value, whole)
    axes = shape.strip("()").replace(" ", "").rstrip(",").split(",")
    if value.ndim != len(axes) or (filled and 0 in value.shape):
        least = f" with {', '.join(axes)} >= 1" if filled else ""
        raise InputError(
            f"`{name}` must be an array {shape}{least}, got {value.shape}."
        )
    if finite and concrete(value) and not holds(jnp.isfinite, value):
        raise InputError(f"`{name}` must be finite, got NaN or infinity.")
    return value


def _floating(name: str, value: Array | np.ndarray, whole: bool) -> Array:
    dtype = np.dtype(value.dtype)
    if dtype.kind in "biu":
        if not whole:
            raise InputError(
                f"`{name}` must be floating point, got {dtype}: normalise it first."
            )
        if isinstance(value, np.ndarray):  # before JAX cuts it to 32 bits
            value = value.astype(np.float64)
        return jnp.asarray(value).astype(jnp.result_type(float))
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"`{name}` must hold real numbers, got {dtype}.")
    if dtype.itemsize < 4:  # half precision, of several kinds
        return jnp.asarray(value).astype(jnp.float32)
    if dtype.itemsize > 8:
        value = value.astype(np.float64)
    return jnp.asarray(value)
