"""Arguments by the name of a version ago."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from problems import prototypes

import theory
from ntk_corrupt.probes import basic

NOISE = theory.Replacement(p=0.8)
OLD: dict[str, Any] = {"noise": NOISE}
X = jnp.ones((2, 5))


def test_the_old_name_is_the_new_one_and_says_so():
    key = jax.random.key(0)
    with pytest.warns(
        DeprecationWarning, match="`noise` of corrupt is called `corruption` now"
    ):
        old = theory.corrupt(**OLD, key=key, draw=0, x=X)
    np.testing.assert_array_equal(old, theory.corrupt(NOISE, key, 0, X))
    problem = prototypes((4, 4), n_test=3, d=9, spread=1.0, seed=0)
    arch = theory.Architecture(depth=1, activation="relu")
    with pytest.warns(DeprecationWarning, match="`noise` of exact is called"):
        theory.exact(arch, **OLD, problem=problem, draws=1, key=key)


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
