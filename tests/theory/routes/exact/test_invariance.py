"""What must not matter to the exact route: order, numbering, blocks, compilation."""

import dataclasses

import jax
import numpy as np
import pytest
from closeness import within
from exact_cases import ERF, KEY, NOISE, PROBLEM, SIGNS, check_by_hand, close, known
from problems import prototypes

from theory import exact, keys
from theory.activations import closed_forms, registry
from theory.corruption.corruptions import Additive, Replacement
from theory.kernels.architecture import Architecture
from theory.routes.exact import draw_loop


def test_pure_noise_forgets_the_training_images():
    # one program, of the same signs
    noise = Replacement(p=1.0, noise=SIGNS)
    other = dataclasses.replace(PROBLEM, x_train=-2 * PROBLEM.x_train)
    one, two = (exact(ERF, noise, pr, draws=2, key=KEY) for pr in (PROBLEM, other))
    np.testing.assert_array_equal(one.outputs, two.outputs)
    np.testing.assert_array_equal(known(one.init_var), known(two.init_var))


def test_pure_noise_sees_a_test_image_by_its_length_alone():
    # Gaussian noise has no directions: over draws, images of one length are alike.
    problem = prototypes((4, 4, 4, 4), n_test=7)  # standardised, so of one length
    noise = Additive(p=1.0)
    outputs = np.asarray(exact(ERF, noise, problem, draws=60, key=KEY).outputs)[:, 0]
    within(outputs - np.roll(outputs, 1, axis=1), np.zeros((7, 4)))
    # nor has it classes, where they are balanced
    within(outputs - np.roll(outputs, 1, axis=2), np.zeros((7, 4)))
    assert outputs.std(axis=0).min() > 0.01


def test_draws_are_numbered():
    three = exact(ERF, NOISE, PROBLEM, draws=3, key=KEY)
    two = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY, first_draw=1)
    np.testing.assert_array_equal(two.outputs, three.outputs[1:])
    np.testing.assert_array_equal(known(two.init_var), known(three.init_var)[1:])
    np.testing.assert_array_equal(two.draw_keys, known(three.draw_keys)[1:])
    for k in range(3):
        expected = jax.random.key_data(keys.draw_key(KEY, k))
        np.testing.assert_array_equal(known(three.draw_keys)[k], expected)
    assert len({row.tobytes() for row in np.asarray(three.outputs)}) == 3


def test_the_order_of_training_images_does_not_matter_without_noise():
    order = np.random.default_rng(0).permutation(16)
    shuffled = dataclasses.replace(
        PROBLEM,
        x_train=PROBLEM.x_train[order],
        labels_train=PROBLEM.labels_train[order],
    )
    one, two = (
        exact(ERF, Replacement(p=0.0, noise=SIGNS), pr, draws=1, key=KEY)
        for pr in (PROBLEM, shuffled)
    )
    close(one.outputs, two.outputs)
    close(known(one.init_var), known(two.init_var))


@pytest.mark.parametrize("n_test", [1, 10])
def test_test_points_need_not_fill_the_blocks(n_test, monkeypatch):
    # the last block of 4 overlaps the one before; n_test as nowhere else: traced here
    monkeypatch.setattr(draw_loop, "BLOCK", 4)
    problem = prototypes((6, 5, 3, 2), n_test=n_test)
    check_by_hand(ERF, NOISE, problem)


def test_without_init_var():
    bare = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY, with_init_var=False)
    full = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY)
    assert bare.init_var is None
    close(bare.outputs, full.outputs)


def test_progress_is_reported_after_each_draw():
    calls = []
    exact(
        ERF,
        NOISE,
        PROBLEM,
        draws=3,
        key=KEY,
        progress=lambda *args: calls.append(args),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_sweep_of_strength_and_ridge_compiles_once():
    calls = []

    def counting(fn):
        return lambda *args: (calls.append(fn), fn(*args))[1]

    erf = registry.get("erf")
    dual = closed_forms.ClosedForm(counting(erf.dual.pair), counting(erf.dual.diag))
    activation = registry.Activation("counted", erf.fn, dual)
    traced = []
    for p, ridge, w_var in ((0.1, 0.0, 1.0), (0.5, 0.1, 1.5), (1.0, 0.0, 2.0)):
        arch = Architecture(depth=3, activation=activation, w_var=w_var)
        settings: dict = {"ridge": ridge, "with_init_var": False}
        exact(arch, Replacement(p=p), PROBLEM, draws=2, key=KEY, **settings)
        traced.append(len(calls))
    assert traced[0] > 0
    assert traced == traced[:1] * 3
