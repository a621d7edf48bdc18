"""The table of certain decisions, its settings, and one run of the script."""

import pytest
from closeness import raises

from experiments.certificate import EXPERIMENT
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.laws import certificate_report
from experiments.laws.certificate import WAYS, estimate


def row(p, certified, kept, broken=0):
    shares = dict.fromkeys(WAYS, certified)
    return {
        "activation": "erf",
        "n_train": 50,
        "pixels": 64,
        "p": p,
        "kept": kept,
        "law_keeps": kept,
        "certified": shares,
        "settled": shares,
        "broken": dict.fromkeys(WAYS, broken),
        "kept_uncertified": dict.fromkeys(WAYS, 1 - certified),
        "ratio": 0.5,
        "least": 0.6,
        "gap_over_bound": 0.7,
        "stable": 0.1,
        "dataset": "digits",
        "normalise": "standardise",
        "corruption": "replacement",
        "noise": "normal",
        "depth": 3,
    }


def test_the_table_tells_what_is_broken(tmp_path):
    nowhere = RunDirectory(tmp_path)
    text = certificate_report.table(
        nowhere, [row(0.5, 0.25, 0.75), row(0.9, 0.0, 0.5, 1)]
    )
    assert "0.250" in text
    # of two rows, each of the ways: none may be
    assert f"flip: {len(WAYS)}" in text
    assert "bound     0.750 to 1.000" in text


def test_cells_are_all_combinations():
    config = EXPERIMENT.configure(p=(0.5, 0.9), activations=("erf",), n_trains=(20, 30))
    cells = EXPERIMENT.cells(config)
    assert len(cells) == 2 * 2 * len(config.sizes)
    assert len({cell.key for cell in cells}) == len(cells)
    assert estimate(config, cells[0]) > 0


def test_bad_flags_are_refused():
    with raises("`activation` must be smooth"):
        EXPERIMENT.check(EXPERIMENT.configure(activations=("elu",)))
    with raises("`--activation` must have a slope"):
        EXPERIMENT.check(EXPERIMENT.configure(activations=("step",)))


@pytest.mark.slow
def test_a_run_certifies_nothing_that_flips(tmp_path):
    config = EXPERIMENT.configure("smoke", p=(0.9,), sizes=(32,))
    (found,) = runner.execute(EXPERIMENT, config, workdir=tmp_path)
    assert not any(found["broken"].values())
    shares = [found["certified"][name] for name in WAYS]
    assert shares == sorted(shares)
    assert shares[-1] <= found["kept"]
    assert shares[-1] > 0
    for name in ("png", "pdf"):
        assert (tmp_path / "figures" / f"certificate.{name}").stat().st_size
