"""Single members of an ensemble, by hand and in other company."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from small_ensembles import (
    ARCH,
    CONFIG,
    KEY,
    NOISE,
    C,
    D,
    assert_same,
    corrupt,
    measure,
    problem,
)

import theory
from ntk_corrupt.networks import mlp
from ntk_corrupt.training import epochs
from theory import keys as theory_keys


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        # blocks of 3 that hold one draw or two
        ({"draws": 4, "inits": 4, "member_block": 3}, np.s_[:3, :2]),
        ({"member_block": 1}, np.s_[:]),
        ({"member_block": 4}, np.s_[:]),
        ({"dataset": problem(np.float64)}, np.s_[:]),
    ],
)
def test_a_member_is_the_same_in_any_company(reference, settings, rows):
    assert_same(measure(**settings).outputs[rows], reference.outputs)


@jax.jit
def by_hand(draw, init, x, labels, x_test):
    """One network trained on `x`: keys and training as documented."""
    model = mlp.mlp(ARCH, 16, C)
    stream = lambda name: jax.random.fold_in(
        jax.random.fold_in(theory_keys.stream(KEY, name), draw), init
    )
    member = epochs.start(CONFIG, model.init(stream("init"), x), stream("shuffle"))
    member = jax.lax.fori_loop(
        0,
        3,
        lambda epoch, member: epochs.run_epoch(
            model.apply, CONFIG, member, x[None], labels, epoch=epoch
        )[0],
        member,
    )
    outputs: Any = model.apply(member.params, x_test)
    loss = epochs.train_loss(model.apply, CONFIG, member.params, x[None], labels)
    return outputs, loss


def test_one_member_by_hand(reference):
    # Draw 2, initialisation 1
    dataset = problem()
    x = corrupt(NOISE, KEY, 2, dataset.x_train)
    outputs, loss = by_hand(2, 1, x, dataset.labels_train, dataset.x_test)
    assert_same(outputs, reference.outputs[2, 1])
    assert_same(loss, reference.diagnostics["train_loss"][2, 1])


def test_copies_and_corrupted_test_images_by_hand(reference):
    # blocks of 3 hold members of two draws: initialisation 1 of draw 0 is in the middle
    # of the first, that of draw 2 at the end of the second
    dataset, ask = problem(), theory.Additive(p=0.3)
    draws = measure(copies=3, test_corruption=ask, member_block=3)
    labels = np.tile(dataset.labels_train, 3)
    train = jax.jit(theory.corrupt_copies, static_argnums=4)
    test = jax.jit(theory.corrupt_test)
    for draw in (0, 2):
        x = train(NOISE, KEY, draw, dataset.x_train, 3)
        asked = test(ask, KEY, draw, dataset.x_test)
        outputs, loss = by_hand(draw, 1, x, labels, asked)
        assert_same(outputs, draws.outputs[draw, 1])
        assert_same(loss, draws.diagnostics["train_loss"][draw, 1])
    np.testing.assert_array_equal(draws.draw_keys, reference.draw_keys)


def test_clean_copies_change_no_full_batch():
    config = dataclasses.replace(CONFIG, optimiser="gd", learning_rate=0.5)
    clean = theory.Replacement(p=0.0)
    one, three = (
        measure(noise=clean, config=config, copies=copies, draws=1) for copies in (1, 3)
    )
    start = measure(noise=clean, config=dataclasses.replace(config, epochs=0), draws=1)
    assert np.abs(start.outputs - one.outputs).max() > 0.05
    assert_same(three.outputs, one.outputs)
    assert_same(three.diagnostics["train_loss"], one.diagnostics["train_loss"])


def test_clean_test_corruption_is_none(reference):
    asked = measure(test_corruption=theory.Replacement(p=0.0))
    assert_same(asked.outputs, reference.outputs)


def test_initialisation_has_the_covariance_of_the_theory():
    arch = theory.Architecture(depth=1, activation="erf", w_var=2.0, b_var=0.3)
    settings = {"width": None, "draws": 1, "inits": 600, "member_block": 600}
    config = dataclasses.replace(CONFIG, epochs=0)
    f = np.asarray(measure(arch=arch, config=config, **settings).outputs[0], float)
    x = np.asarray(problem().x_test, float)
    products = np.einsum("mic,mjc->mij", f, f) / C
    error = 5 * products.std(0) / np.sqrt(len(f))
    assert (np.abs(products.mean(0) - (2.0 * x @ x.T / D + 0.3)) < error).all()
