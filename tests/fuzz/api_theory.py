"""Base calls of `theory`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from arguments import Argument
from base_calls import C, Call, M, N, points, problem

import theory


def _pinned(method: str, first: str) -> Callable[..., Any]:
    """A method as a function of its object too."""

    def call(**arguments):
        return getattr(arguments.pop(first), method)(**arguments)

    return call


def calls() -> list[Call]:
    """All of them."""
    rng = np.random.default_rng(0)
    given = problem(rng)
    arch = theory.Architecture(depth=2, activation="erf", w_var=1.5, b_var=0.25)
    noise = theory.Replacement(p=0.75)
    key = jax.random.key(0)
    law = theory.resummed(arch, noise, given)
    draws = theory.exact(arch, noise, given, draws=3, key=key)
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
    x, z = given.x_train, given.x_test
    tests = Argument("labels", np.arange(M) % C)
    given_points, others = Argument("points", x), Argument("pixels", z)
    found = [
        Call(
            "theory.nngp_ntk",
            theory.nngp_ntk,
            {"x1": given_points, "x2": others, "arch": of["arch"]},
        ),
        Call(
            "theory.ntk",
            theory.ntk,
            {"x1": given_points, "x2": others, "arch": of["arch"]},
        ),
        Call(
            "theory.nngp",
            theory.nngp,
            {"x1": given_points, "x2": others, "arch": of["arch"]},
        ),
        Call("theory.gram", theory.gram, {"x": given_points, "arch": of["arch"]}),
        Call(
            "theory.ntk_gram", theory.ntk_gram, {"x": given_points, "arch": of["arch"]}
        ),
        Call(
            "theory.nngp_ntk_diag",
            theory.nngp_ntk_diag,
            {"x": given_points, "arch": of["arch"]},
        ),
        Call(
            "theory.ntk_product",
            theory.ntk_product,
            {
                "x1": others,
                "x2": Argument("paired", x),
                "v": Argument("paired", points(rng, N, 2)),
                "arch": of["arch"],
            },
        ),
        Call(
            "theory.gram_product",
            theory.gram_product,
            {
                "x": Argument("paired", x),
                "v": Argument("paired", points(rng, N, 2)),
                "arch": of["arch"],
                "kind": Argument("name", "ntk"),
            },
        ),
        Call(
            "theory.gain_sign", theory.gain_sign, of | {"orders": Argument("size", 8)}
        ),
        Call(
            "theory.class_mean_scores",
            theory.class_mean_scores,
            {"problem": of["problem"]},
        ),
        Call(
            "theory.corrupt",
            theory.corrupt,
            {
                "corruption": of["corruption"],
                "key": drawn["key"],
                "draw": Argument("whole", 1),
                "x": given_points,
            },
        ),
        Call(
            "theory.corrupt_copies",
            theory.corrupt_copies,
            {
                "corruption": of["corruption"],
                "key": drawn["key"],
                "draw": Argument("whole", 1),
                "x": given_points,
                "copies": Argument("size", 2),
            },
        ),
        Call(
            "theory.corrupt_test",
            theory.corrupt_test,
            {
                "test_corruption": Argument("corruption", noise, True),
                "key": drawn["key"],
                "draw": Argument("whole", 1),
                "x": given_points,
            },
        ),
    ]
    return found + _of_outputs(law, draws, tests, key)


def _of_outputs(law, draws, tests, key) -> list[Call]:
    return [
        Call(
            "OutputLaw.accuracy",
            _pinned("accuracy", "law"),
            {"law": Argument("own_law", law), "labels": tests},
        ),
        Call(
            "OutputLaw.per_point",
            _pinned("per_point", "law"),
            {"law": Argument("own_law", law), "labels": tests},
        ),
        Call(
            "OutputLaw.confusion",
            _pinned("confusion", "law"),
            {"law": Argument("own_law", law), "labels": tests},
        ),
        Call(
            "OutputLaw.averaged",
            lambda law, inits, labels: law.averaged(inits).accuracy(labels),
            {"inits": Argument("count", 2), "labels": tests},
            {"law": law},
        ),
        Call(
            "OutputLaw.cross_cov",
            _pinned("cross_cov", "law"),
            {
                "a": Argument("indices", np.array([0, 1])),
                "b": Argument("indices", np.array([1, 4])),
            },
            {"law": law},
        ),
        Call(
            "OutputLaw.accuracy_std",
            _pinned("accuracy_std", "law"),
            {
                "labels": tests,
                "points": Argument("count", 4),
                "samples": Argument("size", 50),
                "key": Argument("key", key, True),
            },
            {"law": law},
        ),
        Call(
            "Draws.accuracy",
            _pinned("accuracy", "draws"),
            {
                "draws": Argument("own_draws", draws),
                "labels": tests,
                "inits": Argument("count", 2, True),
            },
        ),
        Call(
            "Draws.accuracies",
            _pinned("accuracies", "draws"),
            {"draws": Argument("own_draws", draws), "labels": tests},
        ),
        Call(
            "Draws.stderr",
            _pinned("stderr", "draws"),
            {"draws": Argument("own_draws", draws), "labels": tests},
        ),
        Call(
            "theory.compare",
            theory.compare,
            {
                "first": Argument("law", law),
                "second": Argument("draws", draws),
                "labels": tests,
            },
        ),
        Call(
            "theory.flip_probability",
            theory.flip_probability,
            {
                "law": Argument("law", law),
                "decisions": dataclasses.replace(tests, optional=True),
            },
        ),
        Call(
            "theory.flip_bound",
            theory.flip_bound,
            {
                "law": Argument("law", law),
                "decisions": dataclasses.replace(tests, optional=True),
            },
        ),
        Call(
            "theory.stable",
            theory.stable,
            {"law": Argument("law", law), "level": Argument("share", 0.25)},
        ),
        Call(
            "theory.observed_flips",
            theory.observed_flips,
            {"draws": Argument("draws", draws), "decisions": tests},
        ),
        Call(
            "theory.reliability",
            theory.reliability,
            {
                "predicted": Argument("curve", np.linspace(0, 1, 9)),
                "observed": Argument("stack", np.linspace(0, 1, 9)),
                "trials": Argument("count", 10),
                "confidence": Argument("share", 0.5),
            },
            unknown=True,
        ),
        Call(
            "theory.fit_line",
            theory.fit_line,
            {
                "x": Argument("curve", np.arange(5.0)),
                "y": Argument("curve", np.array([0.0, 1.5, 1.75, 3.0, 5.0])),
                "error": Argument("positive", 0.25),
            },
        ),
    ]
