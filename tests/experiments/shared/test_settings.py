"""Titles of figures, for every kind of corruption."""

import pytest

from experiments import accuracy_curve
from experiments.shared.corruptions import KINDS
from experiments.shared.settings import title


@pytest.mark.parametrize("kind", KINDS)
def test_a_title_names_the_noise_where_it_is_a_setting(kind):
    config = accuracy_curve.EXPERIMENT.configure("smoke")
    (cell, *_) = accuracy_curve.EXPERIMENT.cells(config)
    row = {**cell.settings, "corruption": kind, "noise": "laplace"}
    named = kind in ("replacement", "additive")
    assert f"{kind}{' by laplace' if named else ''}; erf, depth 3" in title(row)
    # of rows of several kinds, in words
    assert "images\nboth kinds; erf" in title(row, corruption="both kinds")
