"""How much of its tolerance each comparison of numbers uses: a plugin of pytest.

`pytest -p slack --slack=FILE -o enable_assertion_pass_hook=true` appends one line of
JSON: for every line of the tests that compares numbers the largest share of the allowed
error that was used there. Over runs under different instruction sets,
`python tests/support/slack.py FILE ...` lists the lines that another processor may
break: those whose share is rounding (it differs between the runs) and above a quarter,
and those close to one.

Seen are `assert_allclose`, `pytest.approx` of a number and asserts of `a < b` between
two numbers; not seen is what is reduced to one boolean first, as `(a < b).all()`.
"""

import collections
import json
import pathlib
import re
import sys
import traceback

import numpy as np

TESTS = pathlib.Path(__file__).resolve().parents[1]
# A share above this is too close to the bound where it is rounding.
SPARE = 0.25
# A share above this is too close to the bound, whatever it is.
CLOSE = 0.9
# Shares that differ by less between processors are of the mathematics or of a sample.
ALIKE = 0.05

_worst: dict[str, float] = collections.defaultdict(float)
# As `1e-3`, `np.float64(1e-3)`, `Array(1e-3, dtype=float32)` and `(1e-3 + 1e-15)` are
# shown, and what pytest adds: where the number is from.
_NUMBER = r"(?:[\w.]*\()?([-+]?\d+\.?\d*(?:e[-+]?\d+)?)(?![\w.])(?:, dtype=\w+)?[^<>=]*"
_ORDERED = re.compile(rf"^\(?{_NUMBER}(<=|<|>=|>)\s*{_NUMBER}$")
# Of the first line pytest leaves out digits.
_APPROX = re.compile(r"^\s*Obtained: (\S+)\n\s*Expected: (\S+) ± (\S+)$", re.MULTILINE)


def share_of(explanation):
    """The share of its bound that an assertion used, as pytest explains it, or None.

    Of a < b it is how near both are, 1 where they touch, 0 where one is zero or their
    signs differ: a/b of positive ones, so that any bound is a tolerance.
    """
    if found := _APPROX.search(explanation):
        one, two, allowed = map(float, found.groups())
        return abs(one - two) / allowed if allowed else 0.0
    if found := _ORDERED.match(explanation.partition("\n")[0].strip()):
        one, two = float(found[1]), float(found[3])
        size = max(abs(one), abs(two))
        return max(0.0, 1 - abs(one - two) / size) if size else 1.0
    return None


def _note(path, line, share):
    place = f"{pathlib.Path(path).name}:{line}"
    _worst[place] = max(_worst[place], float(share))


def record(share):
    """Notes a share at the line of the test that is being run, if there is one."""
    for frame in reversed(traceback.extract_stack()):
        path = pathlib.Path(frame.filename)
        if path.is_relative_to(TESTS) and path.name.startswith("test_"):
            return _note(path, frame.lineno, share)


def watched(assert_allclose):
    """Returns the function of `numpy.testing`, with what it used noted."""

    def watching(actual, desired, rtol=1e-7, atol=0, **kwargs):
        __tracebackhide__ = True
        assert_allclose(actual, desired, rtol=rtol, atol=atol, **kwargs)
        one, two = np.broadcast_arrays(np.asarray(actual), np.asarray(desired))
        if one.dtype.kind not in "biufc":
            return
        finite = np.isfinite(one) & np.isfinite(two)
        one, two = (x[finite].astype(np.result_type(x, float)) for x in (one, two))
        used = np.abs(one - two)
        allowed = np.broadcast_to(atol + rtol * np.abs(two), used.shape)
        # it passed: where nothing is allowed nothing was used
        shares = used[used > 0] / allowed[used > 0]
        record(shares.max(initial=0.0))

    return watching


def pytest_addoption(parser):
    parser.addoption("--slack", help="file to append shares of tolerances to")


def pytest_configure(config):
    if config.getoption("--slack"):
        np.testing.assert_allclose = watched(np.testing.assert_allclose)


def pytest_assertion_pass(item, lineno, orig, expl):
    if (share := share_of(expl)) is not None:
        _note(item.path, lineno, share)


def pytest_sessionfinish(session):
    path = session.config.getoption("--slack")
    if path and _worst:
        with pathlib.Path(path).open("a") as file:
            file.write(json.dumps(_worst) + "\n")


def main(paths):
    runs = []
    for path in paths:
        worst = collections.Counter()
        for line in pathlib.Path(path).read_text().splitlines():
            worst |= collections.Counter(json.loads(line))  # the larger of both
        runs.append(worst)
    places = {tuple(place.rsplit(":", 1)) for run in runs for place in run}
    for name, line in sorted(places, key=lambda place: (place[0], int(place[1]))):
        shares = [run[f"{name}:{line}"] for run in runs]
        rounding = max(shares) - min(shares) > ALIKE * max(shares)
        if max(shares) > (SPARE if rounding else CLOSE):
            kind = "rounding" if rounding else "close"
            print(f"{f'{name}:{line}':45s} {kind:9s}", *(f"{s:.3g}" for s in shares))


if __name__ == "__main__":
    main(sys.argv[1:])
