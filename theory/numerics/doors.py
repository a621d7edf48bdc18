"""What comes in at a public function: arrays as they are needed, or a clear refusal.

Values are looked at where they are known: under `jit`, `grad` and `vmap` a tracer may
stand for them, and shapes and dtypes alone are checked.
"""

import numbers
from collections.abc import Callable, Mapping
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


def known(*trees: PyTree) -> bool:
    """Whether host decisions can be taken: derivatives may be, programs are not traced.

    `jax.grad` carries values along with the tracers, `jit` and `vmap` do not.
    """
    leaves = jax.tree.leaves(trees)
    try:
        for leaf in leaves:
            if isinstance(leaf, jax.core.Tracer):
                bool(jnp.isfinite(leaf).any())
    except jax.errors.ConcretizationTypeError:
        return False
    return True


def holds(condition: Callable[[Array], Array], x: ArrayLike) -> bool:
    """Whether a condition holds of known values, in the middle of a trace too."""
    with jax.ensure_compile_time_eval():
        return bool(condition(jnp.asarray(x)).all())


def real(name: str, value: Any) -> float | None:
    """Returns a real number that is known, None of a tracer.

    Raises:
        InputError: for what is neither.
    """
    if not concrete(value):
        return None
    plain = isinstance(value, numbers.Real) and not isinstance(value, bool)
    shaped = isinstance(value, np.ndarray | jax.Array) and value.shape == ()
    if not (plain or (shaped and jnp.issubdtype(value.dtype, jnp.number))):
        raise InputError(f"`{name}` must be a number, got {value!r:.60}.")
    return float(value)


def host(name: str, value: Any) -> np.ndarray:
    """Returns real numbers in NumPy's float64, NaN and infinity among them.

    Raises:
        InputError: for anything else: text is not parsed, nothing imaginary dropped.
    """
    return np.asarray(real_array(name, value), float)


def real_array(name: str, value: Any, shape: str = "") -> Array | np.ndarray:
    """Returns real numbers as an array, of any dtype that JAX takes.

    Args:
        name: of the argument, for the message.
        value: an array or nested lists.
        shape: names of the axes, for the message.

    Raises:
        InputError: for anything else.
    """
    if not isinstance(value, jax.Array):
        try:
            value = np.asarray(value)
        except ValueError:
            wanted = f"an array {shape}".rstrip()
            raise InputError(
                f"`{name}` must be {wanted}, got rows of several lengths."
            ) from None
    if value.dtype.kind not in "biuf" and not jnp.issubdtype(value.dtype, jnp.floating):
        raise InputError(f"`{name}` must hold real numbers, got {value.dtype}.")
    if isinstance(value, np.ndarray):
        wide = value.dtype.kind == "f" and value.dtype.itemsize > 8  # long double
        dtype = np.dtype(np.float64) if wide else value.dtype.newbyteorder("=")
        value = value.astype(dtype, copy=False)
    return value


def is_finite(x: Array | np.ndarray) -> bool:
    """Whether all values are known to be finite, or none of them is known."""
    if not concrete(x):
        return True
    if isinstance(x, jax.Array) and x.sharding.device_set != {jax.devices("cpu")[0]}:
        return holds(jnp.isfinite, x)
    # where it lies already, and without a program for every shape
    return bool(np.isfinite(np.asarray(x)).all())


def described(x: Array, *axes: str) -> str:
    """Returns the shape of an array in words, as "2 draws x 10 points in float64"."""
    plural = lambda word: f"{word}es" if word.endswith("s") else f"{word}s"
    sizes = (
        f"{n} {word if n == 1 else plural(word)}"
        for n, word in zip(x.shape[-len(axes) :], axes, strict=False)
    )
    return f"{' x '.join(sizes)} in {x.dtype}"


def doubts(diagnostics: Mapping[str, Any], **results: Array) -> list[str]:
    """Returns what speaks against a result, in words; nothing where all is well."""
    said = []
    if not diagnostics.get("valid", True):
        said.append(f"NOT VALID: {'; '.join(diagnostics.get('doubts', ()))}")
    for name, value in results.items():
        if concrete(value) and not is_finite(value):
            said.append(f"NOT FINITE: {name}")
    return said


def not_finite(name: str, x: Array | np.ndarray) -> InputError:
    """Returns the refusal of an array that is not finite: what is where."""
    host = np.asarray(x, float)
    where = np.argwhere(~np.isfinite(host))[0]
    at = f" at [{', '.join(map(str, where))}]" if where.size else ""
    return InputError(
        f"`{name}` must be finite, got NaN or infinity: {host[tuple(where)]}{at}."
    )


def check_finite(what: str, *results: ArrayLike) -> None:
    """Raises `NumericalError` where results are known and not all of them finite."""
    if not all(is_finite(jnp.asarray(each)) for each in results):
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
    value = floating(name, real_array(name, value, shape), whole)
    axes = shape.strip("()").replace(" ", "").rstrip(",").split(",")
    if value.ndim != len(axes) or (filled and 0 in value.shape):
        least = f" with {', '.join(axes)} >= 1" if filled else ""
        raise InputError(
            f"`{name}` must be an array {shape}{least}, got {value.shape}."
        )
    if finite and not is_finite(value):
        raise not_finite(name, value)
    return value


def floating(name: str, value: Array | np.ndarray, whole: bool = True) -> Array:
    """Returns real numbers in float32 or float64, see `array`."""
    dtype = np.dtype(value.dtype)
    if dtype.kind in "biu":
        if not whole:
            raise InputError(
                f"`{name}` must be floating point, got {dtype}: normalise it first."
            )
        if isinstance(value, np.ndarray):  # before JAX cuts it to 32 bits
            value = value.astype(np.float64)
        return jnp.asarray(value).astype(jnp.result_type(float))
    if dtype.itemsize < 4:  # half precision, of several kinds
        return jnp.asarray(value).astype(jnp.float32)
    return jnp.asarray(value)
