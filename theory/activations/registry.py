"""The registry of activations: a name, the function and its dual.

`get("erf")` looks a name up; an `Activation` made by hand, `custom(fn)` or
`leaky_relu(0.2)`, goes wherever a name goes.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from theory.activations import closed_forms, duals, hermite
from theory.errors import InputError, unknown
from theory.numerics.signatures import checked

# Where a function that does not pickle, as many of JAX do not, is looked up again.
_NAMESPACES = ("jax.numpy", "jax.nn", "jax.lax", "jax.scipy.special")


def _portable(value: Any) -> Any:
    """Stands for a function of JAX, or a dual that holds one, in a pickle."""
    if isinstance(value, hermite.Quadrature):
        return "quadrature", _portable(value.fn), value.terms, value.curvature_jump
    for module in _NAMESPACES if callable(value) else ():
        name = getattr(value, "__name__", "")
        if getattr(importlib.import_module(module), name, None) is value:
            return "jax", module, name
    return "as it is", value


def _restored(part: tuple) -> Any:
    kind, *rest = part
    if kind == "quadrature":
        return hermite.Quadrature(_restored(rest[0]), *rest[1:])
    if kind == "jax":
        return getattr(importlib.import_module(rest[0]), rest[1])
    return rest[0]


def _rebuilt(name: str, fn: tuple, dual: tuple, trainable: bool) -> "Activation":
    return Activation(name, _restored(fn), _restored(dual), trainable)


@jax.tree_util.register_static  # without leaves: a record may hold one
@dataclasses.dataclass(frozen=True)
class Activation:
    """An elementwise function with its dual; hashable, hence static under jit.

    Made again it is equal, compiles nothing again, and pickles if its function does.

    Attributes:
        name: what tables print.
        fn: phi, elementwise in jax.numpy.
        dual: E[phi phi] and E[phi' phi'].
        trainable: False where phi' vanishes almost everywhere (step): such a network
            has a covariance but no tangent kernel.
    """

    name: str
    fn: Callable[[Array], Array]
    dual: duals.Dual
    trainable: bool = True

    @property
    def closed_form(self) -> bool:
        """Whether the dual is a formula rather than quadrature."""
        return isinstance(self.dual, closed_forms.ClosedForm)

    def __reduce__(self):
        """Pickles functions of JAX by their public names."""
        parts = _portable(self.fn), _portable(self.dual)
        return _rebuilt, (self.name, *parts, self.trainable)


def _leaky(negative_slope, u):
    return jax.nn.leaky_relu(u, negative_slope=negative_slope)


def _power(degree, u):
    return jax.lax.integer_pow(u, degree)


def _identity(u):
    return u


def _step(u):
    return (u > 0).astype(u.dtype)


def _gelu(u):
    return jax.nn.gelu(u, approximate=False)


def _gaussian(u):
    return jnp.exp(-(u**2))


def _sin_less_sin3(u: Array) -> Array:
    """Odd, of a linear part that turns round with the variance, (F12)."""
    return jnp.sin(u) - jnp.sin(3 * u)


@checked
def leaky_relu(negative_slope: float = 0.01) -> Activation:
    """Returns max(u, 0) + negative_slope min(u, 0)."""
    return Activation(
        f"leaky_relu({negative_slope:g})",
        closed_forms.Bound(_leaky, negative_slope),
        closed_forms.leaky_relu(negative_slope),
    )


@checked
def monomial(degree: int) -> Activation:
    """Returns u^degree for degree 1 to 4."""
    if degree not in (1, 2, 3, 4):
        raise InputError(f"`degree` of a monomial must be 1, 2, 3 or 4, got {degree}.")
    return Activation(
        f"u^{degree}",
        closed_forms.Bound(_power, degree),
        closed_forms.monomial(degree),
    )


# The polynomials of so many terms at their nodes take a gigabyte.
_MOST_TERMS = 2**13


def _check_elementwise(fn: Callable[[Array], Array]) -> None:
    """Raises `InputError` unless `fn` takes numbers one by one, with a derivative."""
    u = jnp.asarray([0.5, -1.25, 2.0])
    try:
        whole, single = fn(u), jnp.stack([fn(one) for one in u])
        slope = jax.jvp(fn, (u,), (jnp.ones_like(u),))[1]
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise InputError(
            f"`fn` must be a function of jax.numpy of one number, got an error: {said}"
        ) from error
    same = getattr(whole, "shape", None) == u.shape == slope.shape
    if not (same and jnp.issubdtype(whole.dtype, jnp.floating)):
        raise InputError("`fn` must take an array to one of its shape and dtype.")
    close = jnp.allclose(whole, single, rtol=1e-4)
    if not (close and jnp.isfinite(whole).all() and jnp.isfinite(slope).all()):
        raise InputError(
            "`fn` must be a function of one number, finite, as its slope: what it "
            "gives for an array is not what it gives for its entries (softmax?)."
        )


@checked
def custom(
    fn: Callable[[Array], Array],
    *,
    name: str | None = None,
    terms: int = 256,
    curvature_jump: float = 0.0,
) -> Activation:
    """Returns any activation, its dual by a Hermite series of `terms` terms.

    The series suits functions that are smooth apart from zero; see
    `theory.activations.hermite.Quadrature` for its error and cost.

    Args:
        fn: elementwise, in jax.numpy, differentiable by JAX.
        name: what tables print; the function's own by default.
        terms: number of terms; raise it when a route reports a truncation error.
        curvature_jump: phi''(0+) - phi''(0-), where there is one.

    Raises:
        InputError: where `fn` is no function of one number that JAX can differentiate.
    """
    if not 1 <= terms <= _MOST_TERMS:
        raise InputError(f"`terms` must be in 1 ... {_MOST_TERMS}, got {terms}.")
    _check_elementwise(fn)
    label = name or getattr(fn, "__name__", "custom")
    return _series(fn, label, terms, curvature_jump)


def _series(fn, name, terms=256, curvature_jump=0.0) -> Activation:
    """`custom` without a look at `fn`: nothing is computed while this is imported."""
    return Activation(name, fn, hermite.Quadrature(fn, terms, curvature_jump))


_REGISTRY = {
    activation.name: activation
    for activation in (
        Activation("identity", _identity, closed_forms.IDENTITY),
        Activation("erf", jax.lax.erf, closed_forms.ERF),
        Activation("relu", jax.nn.relu, closed_forms.RELU),
        dataclasses.replace(leaky_relu(), name="leaky_relu"),
        Activation("step", _step, closed_forms.STEP, False),
        Activation("sin", jnp.sin, closed_forms.SIN),
        Activation("cos", jnp.cos, closed_forms.COS),
        Activation("sin_less_sin3", _sin_less_sin3, closed_forms.SIN_LESS_SIN3),
        Activation("gelu", _gelu, closed_forms.GELU),
        Activation("exp", jnp.exp, closed_forms.EXP),
        Activation("gaussian", _gaussian, closed_forms.GAUSSIAN),
        *(dataclasses.replace(monomial(n), name=f"monomial{n}") for n in (2, 3, 4)),
        _series(jnp.tanh, "tanh"),
        _series(jax.nn.sigmoid, "sigmoid"),
        _series(jax.nn.silu, "silu"),
        _series(jax.nn.silu, "swish"),
        _series(jax.nn.softplus, "softplus"),
        _series(jax.nn.elu, "elu", 384, -1.0),
    )
}


def names() -> tuple[str, ...]:
    """Returns the names that `get` knows, sorted."""
    return tuple(sorted(_REGISTRY))


@checked
def get(activation: str | Activation) -> Activation:
    """Returns the activation of that name; an `Activation` is returned as it is.

    Raises:
        InputError: for an unknown name, with the nearest valid ones.
    """
    if isinstance(activation, Activation):
        return activation
    if activation not in _REGISTRY:
        raise unknown("activation", activation, _REGISTRY)
    return _REGISTRY[activation]
