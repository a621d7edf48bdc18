"""Accuracy against sizes: every row in its place, the source beside its own setting."""

from experiments.laws.size_accuracies import lines
from experiments.shared import reference


def row(route, n, d, accuracies, **settings):
    return {
        "route": route,
        "n_train": n,
        "pixels": d,
        "accuracies": {"10": accuracies},
        **settings,
    }


def test_rows_stand_by_size_and_beside_the_source():
    setting = reference.read("snr_scaling")["setting"]
    rows = [
        row("network", 1000, 784, [0.28, 0.32], **setting),
        row("resummed", 1000, 784, [0.5], **setting),
        row("resummed", 4000, 784, [0.55], **setting),
    ]
    found = lines(rows, 10)
    head = next(line for line in found if "biases" in line)
    assert head.split() == ["p", "N", "d", "biases", "resummed", "network"]
    small, large = (line.split() for line in found[3:5])
    # a standard error of two draws: half their difference
    assert small[:5] == ["0.97", "1000", "784", "trained", "0.5000"]
    assert "".join(small[5:]) == "0.3000±0.0200"
    assert large[:3] == ["0.97", "4000", "784"]
    verdicts = [line for line in found if "accuracy 0" in line]
    assert sum("within" in line for line in verdicts) == 2
    assert sum("MISSED" in line for line in verdicts) == 1
    elsewhere = [{**each, "p": 0.9} for each in rows]
    assert not any("accuracy 0" in line for line in lines(elsewhere, 10))
    assert lines(rows, 3) == []
