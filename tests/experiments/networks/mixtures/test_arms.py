"""Clean images beside corrupted ones: both experiments from end to end."""

import numpy as np
import pytest
from closeness import raises

from experiments import clean_fraction, garbage_augmentation
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.networks.mixtures import arms
from experiments.networks.mixtures.clean_fraction import (
    expected as expected_of_fractions,
)
from experiments.networks.mixtures.garbage_augmentation import (
    expected as expected_of_garbage,
)

TINY: dict = {"n_test": 60, "learning_rate": 0.02}


def fractions(**settings):
    return clean_fraction.EXPERIMENT.configure("smoke", **{**TINY, **settings})


def garbage(**settings):
    return garbage_augmentation.EXPERIMENT.configure("smoke", **{**TINY, **settings})


def test_steps_of_the_larger_set():
    config = garbage(batch_size=16, epochs=6)
    assert arms.steps(config, 80) == 5
    assert arms.steps(config, 7) == 1
    assert arms.matched(config, 80, 720) == 54
    # 24 images: 2 steps an epoch for the 8 of 120
    assert arms.matched(config, 24, 120) == 24


def trained_on(monkeypatch):
    """Collects what networks are trained on."""
    seen = []

    def spy(config, problem, x, labels, *, repeat, epochs):
        seen.append((np.asarray(x), np.asarray(labels), epochs, problem))
        return 0.5

    monkeypatch.setattr(arms, "accuracy", spy)
    return seen


def test_a_share_is_clean_and_the_rest_corrupted(monkeypatch):
    seen, config = trained_on(monkeypatch), fractions(repeats=1, p=(0.9,))
    kept = {}
    for cell in clean_fraction.cells(config):
        clean_fraction.compute(config, cell)
        kept[cell.settings["arm"]] = seen[-1]
    x, labels, epochs, problem = kept["all clean"]
    np.testing.assert_array_equal(x, problem.x_train)
    mixed, same, of_mixed, _ = kept["mixed"]
    clean = (mixed == x).all(axis=1)
    assert clean.sum() == 24
    np.testing.assert_array_equal(same, labels)
    alone, own, few, _ = kept["alone"]
    np.testing.assert_array_equal(alone, x[clean])
    np.testing.assert_array_equal(own, labels[clean])
    assert epochs == of_mixed == few == 4
    assert kept["alone, as many steps"][2] == arms.matched(config, 24, 120)


def test_copies_are_of_the_same_images(monkeypatch):
    seen = trained_on(monkeypatch)
    config = garbage(repeats=1, p=(0.0,), ratios=(8,))
    for cell in garbage_augmentation.cells(config):
        garbage_augmentation.compute(config, cell)
    clean, matched, added = seen
    assert len(clean[0]) == len(matched[0]) == 80
    assert matched[2] == arms.matched(config, 80, 720)
    np.testing.assert_array_equal(added[0][:80], clean[0])
    assert len(added[0]) == len(added[1]) == 720
    # without corruption a copy is an image of the set, with its label
    same = (added[0][80:, None] == clean[0][None]).all(axis=2)
    assert same.any(axis=1).all()
    np.testing.assert_array_equal(clean[1][same.argmax(axis=1)], added[1][80:])


@pytest.mark.parametrize(
    ("module", "config"),
    [
        # of one size: trained by one program
        (clean_fraction, fractions(n_train=80)),
        pytest.param(
            *(garbage_augmentation, garbage(ratios=(1,))), marks=pytest.mark.slow
        ),
    ],
)
def test_from_end_to_end(module, config, tmp_path):
    rows = runner.execute(module.EXPERIMENT, config, workdir=tmp_path)
    assert len(rows) == len(module.cells(config))
    assert all(len(row["accuracies"]) == 2 for row in rows)
    assert len({tuple(row["accuracies"]) for row in rows}) > 2
    text = module.table(RunDirectory(tmp_path), rows)
    assert "as many steps" in text
    picture = tmp_path / "figures" / f"{module.EXPERIMENT.name}.png"
    assert picture.stat().st_size > 10_000


def test_verdicts():
    row = lambda value, **of: {"accuracies": [value, value + 0.02], **of}
    rows = [
        row(0.5, arm="alone", fraction=0.05, p=0.0),
        row(0.54, arm="mixed", fraction=0.05, p=0.9),
        row(0.505, arm="mixed", fraction=0.05, p=0.95),
        row(0.52, arm="mixed", fraction=0.05, p=1.0),
    ]
    assert [each.holds for each in expected_of_fractions(rows)] == [True, False, True]
    base = row(0.5, arm="clean", ratio=0, p=0.0)
    rows = [
        row(0.51, arm="copies added", ratio=8, p=0.2),
        row(0.46, arm="copies added", ratio=8, p=1.0),
    ]
    assert [each.holds for each in expected_of_garbage(rows, base)] == [False, True]


def test_bad_settings():
    for module, config, text in (
        (clean_fraction, fractions(fractions=(0.0,)), "`--fractions` must be between"),
        (clean_fraction, fractions(fractions=(0.001,)), "must leave one of 120"),
        (garbage_augmentation, garbage(ratios=(0,)), "`--ratios` must be at least 1"),
    ):
        with raises(text):
            module.check(config)
