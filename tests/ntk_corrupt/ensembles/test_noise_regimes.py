"""When an ensemble draws its noise, frozen or fresh, and how long it keeps it."""

import dataclasses
import gc
import weakref

import numpy as np
from small_ensembles import (
    CONFIG,
    KEY,
    NOISE,
    ROUNDING,
    D,
    N,
    assert_same,
    corrupt,
    measure,
    problem,
    spied,
)

from ntk_corrupt.ensembles import programs


def corrupted_copies(monkeypatch, **settings):
    copies, original = [], programs.corrupted

    def spy(*args, **settings):
        result = original(*args, **settings)
        copies.append(np.asarray(result))
        return result

    monkeypatch.setattr(programs, "corrupted", spy)
    return measure(**settings), copies


def test_corrupted_images_go_with_the_call(monkeypatch):
    held = []
    spied(monkeypatch, "corrupted", lambda *call: held.append(weakref.ref(call[-1])))
    gc.disable()  # they must not wait for it
    try:
        measure()
        assert len(held) == 3
        assert all(images() is None for images in held)
    finally:
        gc.enable()


def test_frozen_noise_is_drawn_once(monkeypatch):
    _, copies = corrupted_copies(monkeypatch)
    x = problem().x_train
    assert len(copies) == 3  # a block is a draw
    for draw in range(3):
        expected = corrupt(NOISE, KEY, draw, x)
        np.testing.assert_allclose(
            copies[draw], expected[None], rtol=ROUNDING, atol=ROUNDING
        )


def test_fresh_copies_are_all_different(monkeypatch):
    fresh = dataclasses.replace(CONFIG, noise_regime="fresh", epochs=2)
    _, held = corrupted_copies(monkeypatch, config=fresh, copies=2, draws=1)
    flat = np.concatenate(held).reshape(4, N, D)
    for i in range(4):
        for j in range(i):
            assert np.mean(flat[i] == flat[j]) < 0.5


def test_fresh_noise_is_drawn_every_epoch(monkeypatch, reference):
    fresh = dataclasses.replace(CONFIG, noise_regime="fresh")
    draws, copies = corrupted_copies(monkeypatch, config=fresh)
    flat = np.concatenate(copies)  # a block is a draw
    assert len(flat) == 3 * CONFIG.epochs
    for i in range(len(flat)):
        for j in range(i):
            assert np.mean(flat[i] == flat[j]) < 0.5  # both clean: 0.25
    assert draws.draw_keys is None
    assert np.abs(draws.outputs - reference.outputs).max() > 0.01
    again = measure(config=fresh, member_block=3)
    assert_same(again.outputs, draws.outputs)
