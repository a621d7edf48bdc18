"""Base calls of what activations, architectures and corruptions are made of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from arguments import Argument
from base_calls import Call, problem

import theory


def calls() -> list[Call]:
    """Each is made, and then used."""
    key = jax.random.key(0)
    x = problem(np.random.default_rng(0)).x_train
    arch = theory.Architecture(depth=2, activation="erf", w_var=1.5, b_var=0.25)
    return [
        Call(
            "theory.leaky_relu",
            lambda slope, x, arch: theory.ntk_gram(
                x, dataclasses.replace(arch, activation=theory.leaky_relu(slope))
            ),
            {"slope": Argument("number", 0.25)},
            {"x": x, "arch": arch},
        ),
        Call(
            "theory.monomial",
            lambda degree, x, arch: theory.ntk_gram(
                x, dataclasses.replace(arch, activation=theory.monomial(degree))
            ),
            {"degree": Argument("size", 2)},
            {"x": x, "arch": arch},
        ),
        Call(
            "theory.custom",
            lambda terms, curvature_jump, x, arch: theory.nngp(
                x,
                x,
                dataclasses.replace(
                    arch,
                    activation=theory.custom(
                        jnp.tanh, terms=terms, curvature_jump=curvature_jump
                    ),
                ),
            ),
            {"terms": Argument("size", 256), "curvature_jump": Argument("number", 0.0)},
            {"x": x, "arch": arch},
        ),
        Call(
            "Architecture",
            lambda x, **settings: theory.ntk_gram(x, theory.Architecture(**settings)),
            {
                "depth": Argument("count", 2),
                "activation": Argument("name", "relu"),
                "w_var": Argument("positive", 1.5),
                "b_var": Argument("positive", 0.25),
            },
            {"x": x},
        ),
        Call(
            "Replacement",
            lambda p, x, key: theory.corrupt(theory.Replacement(p=p), key, 0, x),
            {"p": Argument("share", 0.5)},
            {"x": x, "key": key},
        ),
        Call(
            "Additive",
            lambda p, x, key: theory.corrupt(theory.Additive(p=p), key, 0, x),
            {"p": Argument("share", 0.5)},
            {"x": x, "key": key},
        ),
        Call(
            "BinaryReplacement",
            lambda p, x, key: theory.corrupt(theory.BinaryReplacement(p=p), key, 0, x),
            {"p": Argument("share", 0.5)},
            {"x": x, "key": key},
        ),
    ]
