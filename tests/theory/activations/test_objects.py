"""Activations as objects of Python: pickled, copied, made again, in other processes."""

import concurrent.futures
import copy
import multiprocessing
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory
from theory import activations
from theory.kernels.matrices import nngp_ntk


def cubed(u):
    return u**3


MADE = {
    **{name: lambda name=name: activations.get(name) for name in activations.names()},
    "leaky_relu(.2)": lambda: theory.leaky_relu(0.2),
    "monomial(3)": lambda: theory.monomial(3),
    "custom(tanh)": lambda: theory.custom(jnp.tanh, terms=64),
    "custom(gelu)": lambda: theory.custom(jax.nn.gelu),
    "custom of a user's own": lambda: theory.custom(cubed),
}


@pytest.mark.parametrize("name", MADE)
def test_made_again_pickled_and_copied_it_is_the_same(name):
    one = MADE[name]()
    for other in (MADE[name](), pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert other == one
        assert hash(other) == hash(one)
    arch = theory.Architecture(depth=2, activation=one)
    assert pickle.loads(pickle.dumps(arch)) == arch
    u = jnp.linspace(-1.0, 1.0, 5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).fn(u), one.fn(u))


def test_others_differ():
    assert theory.leaky_relu(0.2) != theory.leaky_relu(0.3)
    assert theory.monomial(2) != theory.monomial(3)
    assert theory.custom(jnp.tanh) != theory.custom(jnp.tanh, terms=64)
    assert theory.custom(jnp.tanh) != theory.custom(jax.nn.gelu)


def test_made_again_it_compiles_nothing():
    x = jnp.ones((2, 3))
    at = lambda: theory.Architecture(depth=2, activation=theory.leaky_relu(0.37))
    nngp_ntk(x, x, at())
    with jax.no_tracing():
        nngp_ntk(x, x, at())


def test_in_another_process():
    context = multiprocessing.get_context("spawn")
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    arch = theory.Architecture(depth=3, activation=theory.leaky_relu(0.2))
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        found = pool.submit(theory.ntk_gram, jnp.asarray(x), arch).result()
    expected = theory.ntk_gram(jnp.asarray(x), arch)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-6)
