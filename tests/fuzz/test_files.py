"""A few damages of every kind of file, and that the fuzzer sees what goes wrong."""

import json

import files
import pytest

from experiments.harness import lines
from theory.outputs import soundness


@pytest.mark.parametrize("seed", [11, 12])
def test_what_is_damaged_is_right_or_refused(seed):
    bad = []
    counts = files.fuzz(seed, 60, bad.append)
    assert not bad
    assert {outcome for _, outcome in counts} >= {"right", "refused"}


def test_the_fuzzer_sees_what_is_not_checked(monkeypatch):
    monkeypatch.setattr(soundness, "law", lambda fields: None)
    monkeypatch.setattr(soundness, "draws", lambda fields: None)
    monkeypatch.setattr("theory.files.digest", lambda arrays: "")
    monkeypatch.setattr(lines, "read", lambda line: (json.loads(line), None))
    bad = []
    files.fuzz(0, 150, bad.append)
    assert sum("silent" in line for line in bad) > 3
