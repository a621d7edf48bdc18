"""What compilation costs, test by test: a plugin of pytest.

`pytest -p compile_times --compile_times=FILE` appends one line of JSON per test:
seconds in all, seconds of tracing, lowering and compiling, programs compiled, and how
many of them came from the cache. `python tests/support/compile_times.py FILE` sums them
by file.
"""

import collections
import json
import pathlib
import sys
import time

_TRACE = "/jax/core/compile/jaxpr_trace_duration"
_LOWER = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_COMPILE = "/jax/core/compile/backend_compile_duration"
_FETCH = "/jax/compilation_cache/cache_retrieval_time_sec"
_NAMES = {_TRACE: "trace", _LOWER: "lower", _COMPILE: "compile", _FETCH: "fetch"}

_spent = collections.Counter()


def _listen(event, seconds, **_):
    if event in _NAMES:
        _spent[_NAMES[event]] += seconds
        _spent[f"{_NAMES[event]}s"] += 1


def pytest_addoption(parser):
    parser.addoption("--compile_times", help="file to append seconds of compilation to")


def pytest_configure(config):
    if config.getoption("--compile_times"):
        import jax

        jax.monitoring.register_event_duration_secs_listener(_listen)


def pytest_runtest_logstart():
    _spent.clear()
    _spent["start"] = time.perf_counter()


def pytest_runtest_logfinish(nodeid, location):
    pass


def pytest_runtest_teardown(item, nextitem):
    path = item.config.getoption("--compile_times")
    if path:
        spent = dict(_spent)
        seconds = time.perf_counter() - spent.pop("start", time.perf_counter())
        row = {"test": item.nodeid, "seconds": seconds, **spent}
        with pathlib.Path(path).open("a") as file:
            file.write(json.dumps(row) + "\n")


def main(path):
    rows = [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]
    files = collections.defaultdict(collections.Counter)
    for row in rows:
        test = row.pop("test")
        for name in ("", test.partition("::")[0]):
            files[name].update(row)
            files[name]["tests"] += 1
    print(f"{'file':42s} tests seconds trace lower compile programs fetched")
    for name, sums in sorted(files.items(), key=lambda item: -item[1]["seconds"]):
        cells = [f"{sums[k]:7.1f}" for k in ("seconds", "trace", "lower", "compile")]
        print(
            f"{name or 'all':42s} {sums['tests']:5.0f}",
            *cells,
            f"{sums['compiles']:6.0f} {sums['fetchs']:6.0f}",
        )


if __name__ == "__main__":
    main(sys.argv[1])
