"""The compiled programs of an ensemble: how often, in what memory and precision."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_ensembles import CONFIG, NOISE, C, assert_same, measure, spied

import theory
from ntk_corrupt.ensembles import programs


def test_everything_compiles_in_the_first_epoch_of_the_first_block():
    traces = []

    def fn(u):
        traces.append(1)
        return jnp.tanh(u)

    arch = theory.Architecture(depth=2, activation=theory.custom(fn, name="counted"))
    short = dataclasses.replace(CONFIG, epochs=1)
    measure(arch=arch, draws=1, config=short)
    first, outputs = len(traces), []
    for p, changes in (
        (0.1, {}),
        (0.5, {}),
        (0.9, {"learning_rate": 3e-3}),
        (0.9, {"noise_regime": "fresh"}),
    ):
        config = dataclasses.replace(CONFIG, **changes)
        noise = theory.Replacement(p=p)
        outputs.append(measure(arch=arch, noise=noise, config=config).outputs)
    assert len(traces) == first > 0
    assert np.abs(outputs[0] - outputs[1]).max() > 0.01


def test_an_epoch_takes_the_place_of_the_one_before(monkeypatch):
    gone, kept = [], []

    def look(_, args, __, result):
        _, _, member, held, x, *_ = args
        gone.extend(leaf.is_deleted() for leaf in jax.tree.leaves(member))
        kept.extend(leaf.is_deleted() for leaf in jax.tree.leaves((held, x, result)))

    spied(monkeypatch, "epoch", look)
    measure(draws=1)
    assert len(gone) > 3 * 12  # three epochs: weights, biases and two moments of each
    assert all(gone)
    assert not any(kept)


_NAMES = {  # of what is compiled, in StableHLO
    None: "precision = [DEFAULT, DEFAULT] :",
    "float32": "precision = [HIGHEST, HIGHEST] :",
    "tensorfloat32": "precision = [HIGH, HIGH] :",
    "bfloat16": "lhs_precision_type = bf16, rhs_precision_type = bf16, "
    "accumulation_type = f32, lhs_component_count = 1",
}


@pytest.fixture(scope="module")
def calls():
    """How `measure` calls its programs, by name: (jitted, arguments, options)."""
    found = {}

    def kept(name, result):
        jitted = getattr(programs, name)

        def spy(*args, **options):
            found[name] = jitted, args, options
            return result(args)

        return spy

    with pytest.MonkeyPatch().context() as patch:
        config = dataclasses.replace(CONFIG, epochs=1, precision="bfloat16")
        results = {
            "epoch": lambda args: (args[2], np.zeros(2)),
            "finish": lambda args: (np.zeros((2, 7, C)), np.zeros(2)),
        }
        for name, result in results.items():
            patch.setattr(programs, name, kept(name, result))
        measure(draws=1, config=config, test_corruption=NOISE)
    return found


def products(calls, precision):
    """Products of two matrices, and of others, in each program that `measure` runs."""
    found = {}
    for name, (jitted, (model, config, *rest), options) in calls.items():
        assert config.precision == "bfloat16"  # as it was asked for
        config = dataclasses.replace(config, precision=precision)
        of_matrices, others = found[name] = [], []
        for line in (
            jitted.lower(model, config, *rest, **options).as_text().splitlines()
        ):
            if "dot_general" in line:
                ranks = [text.count("x") for text in re.findall(r"tensor<(.*?)>", line)]
                (of_matrices if min(ranks[:2]) > 1 else others).append(line)
    return found


@pytest.mark.parametrize(("precision", "name"), _NAMES.items())
def test_precision_is_that_of_every_product(calls, precision, name):
    found = products(calls, precision)
    # Two layers: forward, by weights, by hidden units. Outputs and training loss.
    assert {program: len(two) for program, (two, _) in found.items()} == {
        "epoch": 5,
        "finish": 4,
    }
    for of_matrices, others in found.values():
        assert all(name in line for line in of_matrices)
        # Means of losses, over a last batch that is not full.
        assert others
        assert all(_NAMES["float32"] in line for line in others)


def test_precision_is_by_default_that_of_jax(calls):
    with jax.default_matmul_precision("tensorfloat32"):
        for precision, name in ((None, "tensorfloat32"), ("float32", "float32")):
            for of_matrices, _ in products(calls, precision).values():
                assert all(_NAMES[name] in line for line in of_matrices)


def test_precision_float32_is_what_a_cpu_does(reference):
    config = dataclasses.replace(CONFIG, precision="float32")
    assert_same(measure(config=config).outputs, reference.outputs)
