"""Lines of expected and measured numbers."""

import numpy as np

from experiments.shared.verdicts import Expected, lines


def test_lines():
    assert lines([]) == []
    _, head, above, below, between, nothing = lines(
        [
            Expected(what="gain", own=[0.1, 0.2, 0.3], least=0.15, source="about .2"),
            Expected(what="error", own=[0.1], most=0.05),
            Expected(what="share", own=[0.4, 0.6], least=0.5, most=0.5),
            Expected(what="none", own=[np.nan, 0.1], least=0.0),
        ]
    )
    assert head.split() == ["expected", "source", "own", "tolerance", "verdict"]
    assert above.split("  ")[0] == "gain"
    assert "about .2" in above
    # the error of three numbers .1 apart is .1/sqrt(3)
    assert "0.200 ±0.058 [0.100, 0.300]" in above
    assert above.split()[-3:] == [">=", "0.15", "holds"]
    assert below.split()[-4:] == ["0.100", "<=", "0.05", "MISSED"]
    assert between.split()[-3:] == ["=", "0.5", "holds"]
    assert nothing.endswith("MISSED")


def test_both_ends_count():
    assert Expected(what="", own=[0.25], least=0.25, most=0.5).holds
    assert Expected(what="", own=[0.5], least=0.25, most=0.5).holds
    assert not Expected(what="", own=[0.51], least=0.25, most=0.5).holds
