"""The door of a public function: what its annotations say, or one line."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from closeness import raises
from jaxtyping import Array, Bool, Float, Int

from theory.errors import InputError
from theory.numerics.signatures import checked

KEY = jax.random.key(0)


@checked
def function(
    x: Float[Array, "n d"],
    labels: Int[Array, " n"] | Int[np.ndarray, " n"],
    *,
    count: int = 1,
    share: float = 0.5,
    flag: bool = False,
    name: str | None = None,
    key: Array = KEY,
    fn: Callable | None = None,
    several: Sequence[int] = (),
    wrong: Bool[np.ndarray, " n"] | None = None,
    free: Any = None,
) -> dict[str, Any]:
    """Returns what it got."""
    return locals()


X, Y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 0])


def got(name, value):
    given: Any = {"x": X, "labels": Y} | {name: value}
    return function(**given)[name]


@pytest.mark.parametrize(
    "x",
    [
        X,
        X.tolist(),
        X.astype(int),
        X.astype(np.uint8),
        X.astype(np.float16),
        X.astype(ml_dtypes.bfloat16),
        X.astype(">f8"),
        jnp.asarray(X),
    ],
)
def test_what_is_an_array_of_numbers(x):
    found = got("x", x)
    assert isinstance(found, jax.Array)
    assert found.dtype in (jnp.float32, jnp.float64)
    np.testing.assert_array_equal(found, X)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.int64])
def test_labels_are_widened_so_that_nothing_wraps(dtype):
    found = got("labels", Y.astype(dtype))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, Y)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("x", X[0], "`x` must be an array (n, d), got shape (2,)"),
        ("x", np.array([[0, np.nan]] * 3), "got NaN or infinity: nan at [0, 1]"),
        ("x", X + 1j, "`x` must hold real numbers, got complex128"),
        ("x", X.astype(str), "`x` must hold real numbers, got <U"),
        ("x", [[1.0], [1.0, 2.0]], "got rows of several lengths"),
        ("x", None, "`x` must be an array (n, d), got None"),
        ("x", "points", "`x` must be an array (n, d), got 'points'"),
        ("labels", Y[:2], "`labels` must be an array (n,) with n = 3, got shape (2,)"),
        ("labels", Y + 0.0, "`labels` must be integers, got float64"),
        ("labels", Y > 0, "`labels` must be integers, got bool"),
        ("count", True, "`count` must be an integer, got True"),
        ("count", 1.0, "`count` must be an integer, got 1.0"),
        ("count", "1", "`count` must be an integer, got '1'"),
        ("count", None, "`count` must be an integer, got None"),
        ("share", float("nan"), "`share` must be a number, got nan"),
        ("share", True, "`share` must be a number, got True"),
        ("share", [0.5], "`share` must be a number, got a list"),
        ("flag", 1, "`flag` must be True or False, got 1"),
        ("name", 3, "`name` must be a name, got 3"),
        ("key", 0, "`key` must be a random key, as jax.random.key(0), got 0"),
        ("key", jax.random.split(KEY), "`key` must be a random key"),
        ("fn", 3, "`fn` must be callable, got 3"),
        ("several", "12", "`several` must be a Sequence, got '12'"),
        ("wrong", Y, "`wrong` must be True or False, got int64"),
    ],
)
def test_what_is_refused(name, value, text):
    with raises(text):
        got(name, value)


@pytest.mark.parametrize("value", [np.int32(3), np.uint8(3), np.array(3), jnp.array(3)])
def test_numbers_of_numpy_are_numbers(value):
    assert type(got("count", value)) is int
    assert got("share", value) == 3


def test_what_passes_as_it_is():
    assert got("free", Ellipsis) is Ellipsis
    assert got("name", None) is None
    assert got("share", float("inf")) == float("inf")
    assert got("fn", abs) is abs
    call: Any = function
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        call(X)
    with pytest.raises(TypeError, match="unexpected"):
        call(X, Y, other=3)


def test_raw_keys_are_typed():
    found = got("key", jax.random.key_data(KEY))
    assert jax.random.uniform(found) == jax.random.uniform(KEY)


def test_tracers_pass_by_shape_and_dtype():
    def total(x, share):
        assert function(x, Y, share=share)["share"] is share
        return (function(x, Y)["x"] * share).sum()

    assert jax.jit(total)(X, 0.5) == pytest.approx(7.5)
    assert jax.grad(total, argnums=1)(X, 0.5) == pytest.approx(15.0)
    with pytest.raises(InputError, match="got shape"):
        jax.jit(lambda x: function(x, Y))(X[0])
