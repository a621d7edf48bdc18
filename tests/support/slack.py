"""How much of its tolerance each comparison of numbers uses: a plugin of pytest.

`pytest -p slack --slack=FILE` appends one line of JSON for every place in the tests
that compares numbers: the largest share of the allowed error that was used there. Over
two runs under different instruction sets, `python tests/support/slack.py FILE ...`
lists the places that another processor may break: those whose share is the rounding of
the processor (it differs between the runs) and above a quarter, and those close to one.

Seen are `assert_allclose`, `pytest.approx`, `within` and asserts of `a < b` between two
numbers; not seen is what is reduced to one boolean first, as `(a < b).all()`.
"""

import collections
import json
import os
import pathlib
import re
import sys
import traceback

TESTS = pathlib.Path(__file__).resolve().parents[1]
# A share above this is too close to the bound where it is rounding.
SPARE = 0.25
# Shares that differ by less between processors are of the mathematics or of a sample.
ALIKE = 0.05

_worst: dict[str, float] = collections.defaultdict(float)
_NUMBER = (
    r"(?:np\.float\d+|np\.int\d+|Array)?\(?\s*([-+]?\d[\d.]*(?:e[-+]?\d+)?)[^<>=]*"
)
_ORDERED = re.compile(rf"^\(?{_NUMBER}(<=|<|>=|>)\s*{_NUMBER}$")
_APPROX = re.compile(rf"^{_NUMBER}==\s*{_NUMBER}\s*±\s*([\d.e+-]+)$")


def record(used, allowed):
    """Notes the share of a tolerance at the line of the test that asked for it."""
    here = next(
        (
            frame
            for frame in reversed(traceback.extract_stack())
            if frame.filename.startswith(str(TESTS))
            and pathlib.Path(frame.filename).name.startswith("test_")
        ),
        None,
    )
    if here is not None:
        share = 0.0 if used == 0 else used / allowed if allowed > 0 else float("inf")
        place = f"{pathlib.Path(here.filename).name}:{here.lineno}"
        _worst[place] = max(_worst[place], float(share))


def _watched_allclose(original):
    import numpy as np

    def assert_allclose(actual, desired, rtol=1e-7, atol=0, **kwargs):
        __tracebackhide__ = True
        original(actual, desired, rtol=rtol, atol=atol, **kwargs)
        one, two = np.broadcast_arrays(np.asarray(actual), np.asarray(desired))
        if one.dtype.kind in "biufc":
            finite = np.isfinite(one) & np.isfinite(two)
            one, two = (x[finite].astype(np.result_type(x, float)) for x in (one, two))
            used = np.abs(one - two)
            allowed = np.broadcast_to(atol + rtol * np.abs(two), used.shape)
            if used.size:
                shares = np.divide(
                    used, allowed, out=np.zeros(used.shape), where=used > 0
                )
                record(shares.max(), 1.0)

    return assert_allclose


def pytest_addoption(parser):
    parser.addoption("--slack", help="file to append shares of tolerances to")


def pytest_configure(config):
    if config.getoption("--slack"):
        import numpy as np

        np.testing.assert_allclose = _watched_allclose(np.testing.assert_allclose)


def pytest_assertion_pass(item, lineno, orig, expl):
    first = expl.splitlines()[0].strip() if expl else ""
    place = f"{item.path.name}:{lineno}"
    if found := _ORDERED.match(first):
        small, order, large = found.groups()
        if order.startswith(">"):
            small, large = large, small
        small, large = float(small), float(large)
        if large > 0 and "e" in f"{large!r}" or large < 0.1:
            _worst[place] = max(_worst[place], small / large if large else 0.0)
        elif large:
            # how near to the other side: 1 where they touch
            gap = abs(large - small) / max(abs(large), abs(small))
            _worst[place] = max(_worst[place], 1 - gap)
    elif found := _APPROX.match(first):
        one, two, allowed = map(float, found.groups())
        if allowed:
            _worst[place] = max(_worst[place], abs(one - two) / allowed)


def pytest_sessionfinish(session):
    path = session.config.getoption("--slack")
    if path and _worst:
        with pathlib.Path(path).open("a") as file:
            file.write(json.dumps(_worst) + os.linesep)


def main(paths):
    runs = []
    for path in paths:
        worst = collections.defaultdict(float)
        for line in pathlib.Path(path).read_text().splitlines():
            for place, share in json.loads(line).items():
                worst[place] = max(worst[place], share)
        runs.append(worst)
    order = lambda place: (place.split(":")[0], int(place.split(":")[1]))
    for place in sorted(set().union(*runs), key=order):
        shares = [run[place] for run in runs if place in run]
        most, least = max(shares), min(shares)
        differs = most - least > ALIKE * most
        if most > (SPARE if differs else 0.9):
            kind = "rounding" if differs else "close"
            print(f"{place:45s} {kind:9s}", *(f"{share:.3g}" for share in shares))


if __name__ == "__main__":
    main(sys.argv[1:])
