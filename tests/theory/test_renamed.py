"""Arguments and modules by the names of a version ago."""

import importlib.util
import inspect
import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from problems import prototypes

import ntk_corrupt
import theory
from ntk_corrupt.kernels import empirical
from ntk_corrupt.probes import basic
from theory import renamed

NOISE = theory.Replacement(p=0.8)
OLD: dict[str, Any] = {"noise": NOISE}
X = jnp.ones((2, 5))
ARCH = theory.Architecture(depth=1, activation="relu")
PROBLEM = prototypes((4, 4), n_test=3, d=9, spread=1.0, seed=0)


def test_the_old_name_is_the_new_one_and_says_so():
    key = jax.random.key(0)
    with pytest.warns(
        DeprecationWarning, match="`noise` of corrupt is called `corruption` now"
    ):
        old = theory.corrupt(**OLD, key=key, draw=0, x=X)
    np.testing.assert_array_equal(old, theory.corrupt(NOISE, key, 0, X))
    with pytest.warns(DeprecationWarning, match="`noise` of exact is called"):
        theory.exact(ARCH, **OLD, problem=PROBLEM, draws=1, key=key)


def test_records_take_it_too():
    labels = jnp.zeros(2, int)
    with pytest.warns(DeprecationWarning, match="`noise` of Accuracies is called"):
        probe = basic.Accuracies(**OLD, x=X, labels=labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = basic.Accuracies(corruption=NOISE, x=X, labels=labels)
    assert probe.corruption is again.corruption


def test_both_names_are_refused():
    with raises("`corruption` and `noise` of corrupt are one: pass `corruption`"):
        theory.corrupt(**OLD, corruption=NOISE, key=jax.random.key(0), draw=0, x=X)


FINDERS = [each for each in sys.meta_path if isinstance(each, renamed._Moved)]


@pytest.mark.parametrize("finder", FINDERS)
def test_every_old_name_stands_for_a_module(finder):
    for old, new in finder.names.items():
        spec = importlib.util.find_spec(new)
        assert spec is not None, new
        assert finder.find_spec(old, None) is not None


def test_modules_by_their_old_names(monkeypatch):
    # what an import leaves behind goes again
    monkeypatch.setattr(ntk_corrupt, "empirical", None, raising=False)
    monkeypatch.delattr(ntk_corrupt, "empirical")
    monkeypatch.delitem(sys.modules, "ntk_corrupt.empirical", raising=False)
    with pytest.warns(
        DeprecationWarning,
        match="`ntk_corrupt.empirical` is called `ntk_corrupt.kernels.empirical` now",
    ):
        old = importlib.import_module("ntk_corrupt.empirical")
    assert old.ntk is empirical.ntk
    with pytest.raises(AttributeError):
        assert old.no_such_name


def test_a_function_by_the_name_of_an_old_module_is_called_as_before(monkeypatch):
    monkeypatch.setattr(theory, "exact", theory.exact)
    monkeypatch.delitem(sys.modules, "theory.exact", raising=False)
    with pytest.warns(DeprecationWarning, match="`theory.exact` is called"):
        importlib.import_module("theory.exact")
    assert not inspect.isfunction(theory.exact)
    with raises("`draws` must be an integer of at least 1, got 0"):
        theory.exact(ARCH, NOISE, PROBLEM, draws=0, key=jax.random.key(0))
