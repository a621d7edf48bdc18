"""What the report on stopping expects and shows, on rows made by hand."""

import numpy as np
import pytest

from experiments.wrong_labels.stopping import report


def path_of(noisy, distance):
    return {"noisy": np.array(noisy), "distance": np.array(distance)}


def test_distance_where_labels_are_fitted():
    path = path_of([0.1, 0.5, 0.98, 1.0], [0.0, 0.2, 0.4, 0.6])
    assert report.distance_at(path) == pytest.approx(0.5)
    assert report.distance_at(path, 0.5) == pytest.approx(0.2)
    never = path_of([0.1, 0.5], [0.0, 0.2])
    assert np.isnan(report.distance_at(never))


def made_up(share, *, test, truth, noisy, oracle, auc=0.99):
    """Two repeats of a network: accuracies at the stop and at the end."""
    at = lambda k: {"noisy": noisy[k], "truth": truth[k], "test": test[k]}
    return [
        {
            "share": share,
            "classes": 10,
            "mode": "uniform",
            "n_train": 50_000,
            "at_stop": at(0),
            "at_end": at(1),
            "at_oracle": {"test": oracle},
            "split_stop": {"auc": auc},
        }
        for _ in range(2)
    ]


def test_verdicts():
    rows = {
        0.3: made_up(
            0.3, test=(0.9, 0.8), truth=(0.9, 0.8), noisy=(0.7, 1), oracle=0.9, auc=0.97
        ),
        0.5: made_up(
            0.5, test=(0.96, 0.8), truth=(0.9, 0.85), noisy=(0.7, 1), oracle=0.99
        ),
    }
    group = report.Group("mlp", "mse", rows)
    reach = lambda far: path_of([0.0, 0.99], [0.0, far])
    paths = {
        0.3: [reach(0.5), reach(0.8)],
        0.5: [reach(0.9), reach(0.6)],
        0.7: [reach(1.2), reach(0.9)],
    }
    found = {each.what: each for each in report._expected(group, paths)}
    verdicts = {what: each.holds for what, each in found.items()}
    assert verdicts == {
        "0.3: noisy training labels, stopped": True,  # .73, .08 to either side
        "0.3: test, oracle - stopped": True,
        "0.5: test, stopped - end": True,  # .16
        "0.5: true training labels, stopped - end": False,  # .05
        "0.5: noisy training labels, stopped": False,  # .55 to .63
        "0.5: test, oracle - stopped": False,  # .03
        "0.5: test, stopped": True,  # .96
        "0.5: truth, stopped": False,  # .90
        "least rise of the distance at 0.99, share to share": True,  # .3 and -.2
        "0.3: area under the ROC curve, stopped": True,
        "area at 0.3 - area at 0.5": False,  # .97 - .99
    }
    rise = found["least rise of the distance at 0.99, share to share"].own
    np.testing.assert_allclose(rise, [0.3, -0.2])
    assert found["0.5: noisy training labels, stopped"].most == pytest.approx(0.63)


def test_a_line_per_share():
    rows = made_up(0.3, test=(0.9, 0.8), truth=(1, 1), noisy=(1, 1), oracle=0.95)
    one = report.Group("mlp", "mse", {0.3: rows})
    other = report.Group("kernel", "", {0.3: rows[:1], 0.5: rows})
    *_, head, first, second = report._side_by_side([one, other])
    assert head.split() == ["replaced", "mlp,", "mse", "infinite", "width"]
    assert " ".join(first.split()) == (
        "0.3 0.900 ±0.000 0.950 ±0.000 0.800 ±0.000 0.900 0.950 0.800"
    )
    assert " ".join(second.split()) == (
        "0.5 - - - 0.900 ±0.000 0.950 ±0.000 0.800 ±0.000"
    )


def test_another_noise_has_no_line():
    rows = made_up(0.5, test=(1, 0), truth=(1, 0), noisy=(0.5, 1), oracle=1)
    for row in rows:
        row |= {"mode": "flip", "n_train": 100}
    paths = {0.5: [path_of([0.0], [0.0])] * 2}
    group = report.Group("mlp", "mse", {0.5: rows})
    said = [each.what for each in report._expected(group, paths)]
    assert not any("noisy" in what or "truth, stopped" in what for what in said)
