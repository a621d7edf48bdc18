"""Draws of averages over all initialisations, which hold no networks."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

from theory.outputs.draws import Draws


def test_averages_over_all_initialisations_hold_no_networks(tmp_path):
    outputs, labels = jnp.ones((2, 1, 3, 2)), np.zeros(3, int)
    average = Draws(outputs=outputs, averaged=True)
    assert average.accuracy(labels) == 1
    average.save(tmp_path / "average.npz")
    for draws in (average, Draws.load(tmp_path / "average.npz")):
        with raises("`inits` needs `init_var`, which these averages over all"):
            draws.accuracy(labels, inits=1)
        with raises("`inits` must be left out: these draws are averages over all"):
            draws.decisions(1)
    known = dataclasses.replace(average, init_var=jnp.ones((2, 3)))
    assert known.accuracy(labels, inits=1) == pytest.approx(0.5)
    with raises("`inits` must be left out"):
        known.decisions(1)
    partly = dataclasses.replace(
        known, init_var=jnp.ones((2, 2)), init_var_at=jnp.array([0, 2])
    )
    with raises("`inits` needs `init_var` at all test points"):
        partly.accuracy(labels, inits=1)
    assert partly.law().init_var is None
    at_known = partly.known_points()
    assert at_known.outputs.shape == (2, 1, 2, 2)
    assert at_known.accuracy(labels[:2], inits=1) == pytest.approx(0.5)
    # of networks it is what it was
    assert Draws(outputs=outputs).accuracy(labels, inits=1) == 1
