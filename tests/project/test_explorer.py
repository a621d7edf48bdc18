"""The tables of the explorer: whole, small, and what the library computes today."""

import importlib.util
import itertools
import json

import pytest
from checkout import ROOT

FOLDER = ROOT / "docs" / "site"
TABLES = json.loads((FOLDER / "explorer_tables.json").read_text())


@pytest.fixture(scope="module")
def module():
    path = FOLDER / "explorer_tables.py"
    spec = importlib.util.spec_from_file_location("explorer_tables", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_tables_are_whole_and_small(module):
    assert (FOLDER / "explorer_tables.json").stat().st_size < 300_000
    assert TABLES["levels"] == list(module.LEVELS)
    settings = itertools.product(module.ACTIVATIONS, module.NOISES, module.N_TRAIN)
    assert set(TABLES["curves"]) == {module.key(*each) for each in settings}
    for curve in TABLES["curves"].values():
        assert len(curve) == len(module.LEVELS)
        for point in curve:
            for networks in ("mean", "one"):
                found = point[networks]
                assert 0 <= found["accuracy"] <= 1
                assert 0 <= found["std"] < 0.3
                assert len(found["right"]) == 10
            # initialisations only add noise to a mean that is right more often than not
            assert point["one"]["accuracy"] < point["mean"]["accuracy"] + 0.01


def test_images_are_those_of_the_digits(module):
    digits = module.problem(max(module.N_TRAIN))
    packed = module.packed(digits.x_train.clip(TABLES["low"], TABLES["high"]),
                           TABLES["low"], TABLES["high"])  # fmt: skip
    # `low` and `high` are rounded: a shade may differ here and there
    assert sum(a != b for a, b in zip(packed, TABLES["train"], strict=True)) < 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "noise", "n_train", "at"),
    [("erf", "replacement", 100, 4), ("relu", "additive", 300, 6)],
)
def test_a_cell_is_what_the_law_says(activation, noise, n_train, at, module):
    stored = TABLES["curves"][module.key(activation, noise, n_train)][at]
    found = module.cell(
        module.problem(n_train), activation, noise, TABLES["levels"][at]
    )
    assert found["doubts"] == stored["doubts"]
    for networks in ("mean", "one"):
        # digits are rounded to three places, and a law in float32 moves by 2e-5
        close = pytest.approx(stored[networks]["accuracy"], abs=1.1e-3)
        assert found[networks]["accuracy"] == close
