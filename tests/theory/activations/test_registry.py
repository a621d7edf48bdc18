"""Names, functions and slopes of activations, and those that users make."""

import activation_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from activation_cases import BY_NAME
from closeness import assert_close
from dual_cases import CORRELATIONS, compiled, in_fours, over, relative_errors

from theory.activations import duals, registry
from theory.errors import InputError


def test_the_table_is_the_whole_registry():
    names = {*BY_NAME, *activation_cases.ALIASES}
    assert names == set(registry.names())
    for alias, name in activation_cases.ALIASES.items():
        one, other = registry.get(alias), registry.get(name)
        assert (one.fn, one.dual) == (other.fn, other.dual)


@over(activation_cases.CASES)
def test_functions_and_slopes(case):
    u = np.linspace(-6, 6, 40)  # an even number: not at zero, where kinks are
    fn = registry.get(case.name).fn
    value, slope = jax.jit(lambda u, ones: jax.jvp(fn, (u,), (ones,)))(u, 1 + 0 * u)
    assert_close(value, case.phi(u))
    assert_close(slope, case.slope(u))


@over(activation_cases.CASES)
def test_classification(case):
    activation = registry.get(case.name)
    assert activation.closed_form == (case.kind != "quadrature")
    assert activation.trainable == case.trainable
    assert isinstance(activation.dual, duals.Dual)
    assert registry.get(activation) is activation


def test_unknown_names_and_degrees():
    with pytest.raises(
        InputError, match="unknown activation 'rellu': did you mean 're"
    ):
        registry.get("rellu")
    with pytest.raises(InputError, match=r"must be 1, 2, 3 or 4, got 5"):
        registry.monomial(5)


def test_custom_function():
    fn = lambda u: u * jnp.tanh(jax.nn.softplus(u))  # mish
    activation = registry.custom(fn, name="mish")
    soft = lambda u: np.logaddexp(u, 0)
    case = activation_cases.Case(
        "mish",
        lambda u: u * np.tanh(soft(u)),
        lambda u: (
            np.tanh(soft(u))
            + u * activation_cases._sech_squared(soft(u)) * scipy.special.expit(u)
        ),
        "quadrature",
    )
    assert (activation.name, activation.closed_form) == ("mish", False)
    errors, _ = relative_errors(case, activation.dual, [(0.5, 1.5)], CORRELATIONS)
    assert errors.max() < 1e-10
    assert registry.custom(jnp.tanh).name == "tanh"


@pytest.mark.parametrize("negative_slope", [0.0, 0.2, 1.0, -1.0])
def test_leaky_relu(negative_slope):
    case = activation_cases.Case(
        "leaky",
        lambda u: np.where(u > 0, u, negative_slope * u),
        lambda u: np.where(u > 0, 1.0, negative_slope),
        "kinked",
    )
    activation = registry.leaky_relu(negative_slope)
    assert activation.name == f"leaky_relu({negative_slope:g})"
    errors, _ = relative_errors(
        case, activation.dual, [(0.5, 2.0)], (0.0, 0.6, -0.6, 0.999, -0.999)
    )
    assert errors.max() < 1e-10


def test_monomial_one_is_the_identity():
    args = [0.4], [2.0], [0.5]
    one, other = registry.monomial(1).dual, registry.get("identity").dual
    assert_close(*(in_fours(compiled(dual)[0], *args) for dual in (one, other)))
