"""What compilation costs, test by test: a plugin of pytest.

`pytest -p compile_times --compile_times=FILE` appends one line of JSON per test:
seconds in all, of tracing, of lowering and of compiling, and the number of programs.
`python tests/support/compile_times.py FILE` sums them by file.
"""

import collections
import json
import pathlib
import sys
import time

_NAMES = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
_spent: dict[str, float] = collections.defaultdict(float)


def _listen(event: str, duration_secs: float, **_: object):
    if event in _NAMES:
        _spent[_NAMES[event]] += duration_secs
        _spent["programs"] += _NAMES[event] == "compile"


def pytest_addoption(parser):
    parser.addoption("--compile_times", help="file to append seconds of compilation to")


def pytest_configure(config):
    if config.getoption("--compile_times"):
        import jax

        jax.monitoring.register_event_duration_secs_listener(_listen)


def pytest_runtest_logstart():
    _spent.clear()
    _spent["start"] = time.perf_counter()


def pytest_runtest_teardown(item):
    path = item.config.getoption("--compile_times")
    if path:
        spent = dict(_spent)
        spent["seconds"] = time.perf_counter() - spent.pop("start")
        with pathlib.Path(path).open("a") as file:
            file.write(json.dumps({"test": item.nodeid, **spent}) + "\n")


def main(path):
    files = collections.defaultdict(collections.Counter)
    for line in pathlib.Path(path).read_text().splitlines():
        row = json.loads(line)
        test = row.pop("test")
        for name in ("all", test.partition("::")[0]):
            files[name].update({**row, "tests": 1})
    columns = ("tests", "seconds", "trace", "lower", "compile", "programs")
    print(f"{'file':42s}", *(f"{column:>8s}" for column in columns))
    for name, sums in sorted(files.items(), key=lambda item: -item[1]["seconds"]):
        print(f"{name:42s}", *(f"{sums[column]:8.1f}" for column in columns))


if __name__ == "__main__":
    main(sys.argv[1])
