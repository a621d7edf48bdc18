"""Random calls of public functions are right or refused; see `calls.py`."""

import calls


def test_calls_are_right_or_refused():
    seen, faults = calls.run(60, seed=0, only="curves")
    assert not faults
    assert seen["refused"]
    assert seen["right"]
