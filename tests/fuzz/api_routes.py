"""Base calls of the routes of `theory`."""

import jax
import numpy as np
from arguments import Argument
from base_calls import Call, D, N, problem

import theory


def _known_variances(**arguments):
    """Outputs and variances, without residuals, which are rounding."""
    draws = theory.exact_iterative(**arguments)
    return draws.outputs, draws.init_var


def calls() -> list[Call]:
    """First order, resummed, exact, iterative, and along paths."""
    rng = np.random.default_rng(0)
    given = problem(rng)
    arch = theory.Architecture(depth=2, activation="erf", w_var=1.5, b_var=0.25)
    noise = theory.Replacement(p=0.75)
    key = jax.random.key(0)
    law = theory.resummed(arch, noise, given)
    of = {
        "arch": Argument("architecture", arch),
        "corruption": Argument("corruption", noise),
        "problem": Argument("problem", given),
    }
    drawn = {
        "draws": Argument("size", 2),
        "key": Argument("key", key),
        "first_draw": Argument("whole", 1),
    }
    others = Argument("pixels", given.x_test)
    options = {
        "copies": Argument("size", 2),
        "test_corruption": Argument("corruption", theory.Additive(p=0.25), True),
    }
    ridge = {"ridge": Argument("positive", 0.5)}
    return [
        Call(
            "theory.first_order",
            theory.first_order,
            of | options | ridge | {"isotropic": Argument("flag", True)},
        ),
        Call(
            "theory.resummed",
            theory.resummed,
            of
            | options
            | ridge
            | {
                "with_init_var": Argument("flag", True),
                "landmarks": Argument("whole", N, True),
            },
        ),
        Call(
            "theory.resummed, of a width",
            theory.resummed,
            of | options | ridge | {"width": Argument("size", 9, True)},
        ),
        Call(
            "theory.resummed, for a time",
            theory.resummed,
            of | {"time": Argument("above_zero", 2.0, True)},
        ),
        Call(
            "theory.resummed_at",
            theory.resummed_at,
            {
                "law": Argument("object", law),
                "x_test": others,
                "test_corruption": options["test_corruption"],
            },
        ),
        Call(
            "theory.surrogate",
            theory.surrogate,
            {
                "law": Argument("law", law),
                "corruption": of["corruption"],
                "problem": of["problem"],
            }
            | drawn,
        ),
        Call(
            "theory.exact",
            theory.exact,
            of | options | ridge | drawn | {"with_init_var": Argument("flag", True)},
        ),
        Call(
            "theory.exact, of a width",
            theory.exact,
            of | drawn | ridge | {"width": Argument("size", 9, True)},
        ),
        Call(
            "theory.adam_rates",
            lambda **of: theory.adam_rates(arch, (D, 8), **of),
            {
                "x": Argument("pixels", given.x_train),
                "y": Argument("paired", given.y),
                "batch_size": Argument("count", 5),
                "biases": Argument("flag", True),
            },
        ),
        Call(
            "theory.exact, for a time",
            theory.exact,
            of | drawn | {"time": Argument("length", 2.0, True)},
        ),
        Call(
            "theory.exact_iterative",
            theory.exact_iterative,
            of
            | options
            | ridge
            | drawn
            | {
                "refine": Argument("whole", 1),
                "audit_rows": Argument("count", 5),
                "solver": Argument("object", theory.ConjugateGradient(), True),
            },
        ),
        Call(
            "theory.exact_iterative, init_var_at",
            _known_variances,
            of
            | drawn
            | {"init_var_at": Argument("indices", np.array([0, 2, 4]), True)},
        ),
        Call(
            "theory.trajectory",
            theory.trajectory,
            of
            | options
            | drawn
            | {"times": Argument("curve", np.array([0.5, 1.0, 2.0]))},
        ),
        Call(
            "theory.ridge_path",
            theory.ridge_path,
            of | drawn | {"ridges": Argument("curve", np.array([0.5, 1.0, 2.0]))},
        ),
    ]
