"""What the records of kinds of corruption say, beside the corruptions they make."""

import pytest
from closeness import raises

import theory
from experiments.shared.corruptions import KINDS, kind, made_for


@pytest.mark.parametrize("name", KINDS)
def test_levels_and_strengths_are_each_others_inverse(name):
    found = KINDS[name]
    for p in (0.2, 0.5, 0.9):
        strength = found.strength(p)
        assert strength is not None
        assert found.level(strength) == pytest.approx(p, rel=1e-15)
    # a width has no strength that stands for nothing but noise, and none at p = 0
    ends = [None, None] if found.of_width else [0.0, 1.0]
    assert [found.strength(p) for p in (0.0, 1.0)] == ends
    assert found.ends == ((0.0,) if name == "clipped_additive" else (0.0, 1.0))
    assert ("sigma" in found.axis) == (name == "clipped_additive")


def test_what_kinds_make():
    assert kind("additive").make(0.3, "laplace") == theory.Additive(
        p=0.3, noise=theory.Laplace()
    )
    assert kind("clipped_additive").make(2.0, "normal") == theory.ClippedAdditive(
        sigma=2.0
    )
    assert made_for("binary_replacement")["normalise"] == "binary"
    with raises("unknown --kinds 'clipped': did you mean 'clipped_additive'"):
        kind("clipped", "--kinds")
