"""The tools that run the suite elsewhere and look at its tolerances."""

import collections
import inspect
import json
import pathlib
import re

import matrix
import numpy as np
import portable
import pytest
import slack
from checkout import ROOT

SSE, AVX2 = {"sse4_2"}, {"sse4_2", "avx2", "fma"}
AVX512 = {*AVX2, "avx512f", "avx512dq", "avx512vl", "avx512_bf16"}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(SSE, []), (AVX2, ["SSE4_2", "AVX2"]), (AVX512, ["SSE4_2", "AVX2", "AVX512"])],
)
def test_machines_that_a_processor_can_stand_in_for(flags, expected):
    found = portable.runnable(frozenset(flags))
    assert [machine.isa for machine in found] == expected


def test_a_processor_is_read(tmp_path, monkeypatch):
    core = "model name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 fma\n"
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\n{core}\nprocessor\t: 1\n{core}")
    monkeypatch.setattr(portable, "CPUINFO", path)
    assert portable.processor() == ("Some CPU @ 2 GHz", {"fpu", "avx2", "fma"})
    monkeypatch.setattr(portable, "CPUINFO", tmp_path / "none")
    assert portable.processor() == ("unknown processor", frozenset())


def test_a_machine_is_told_by_variables(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_own=1")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    monkeypatch.setenv("KEPT", "yes")
    for machine in portable.MACHINES:
        found = portable.environment(machine)
        expected = f"--xla_own=1 --xla_cpu_max_isa={machine.isa}"
        assert found["XLA_FLAGS"] == expected
        assert (found["OPENBLAS_CORETYPE"], found["KEPT"]) == (machine.blas, "yes")
    monkeypatch.delenv("XLA_FLAGS")
    assert portable.environment(machine)["XLA_FLAGS"].startswith("--xla_cpu_max_isa=")


def test_numerical_tests_know_no_script():
    found = [portable.TESTS.parent / name for name in portable.numerical()]
    assert portable.TESTS / "theory/kernels/test_matrices.py" in found
    assert len(found) > 30
    for path in found:
        assert not re.search(r"^(from|import) experiments", path.read_text(), re.M)


def test_an_interpreter_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert matrix.interpreter("9.9") is None


def test_files_of_the_matrix_are_there():
    assert all((portable.TESTS / name).exists() for name in matrix.FAST)
    assert len(set(matrix.FAST)) == len(matrix.FAST)


@pytest.mark.parametrize(
    ("explanation", "share"),
    [
        ("1e-13 < 1e-12", 0.1),
        ("np.float64(2.5e-13) <= 1e-12", 0.25),
        ("Array(3., dtype=float64) > 2.0", 2 / 3),
        ("0.5 < 2\n +  where 0.5 = abs(-0.5)", 0.25),
        ("np.float64(0.15) <= (0.3 + 1e-14)", 0.5),
        ("-4.0 < -3.0", 0.75),
        ("-1.0 < 1e-12", 0.0),
        ("0 < 3", 0.0),
        ("0 <= 0", 1.0),
        # only the last two lines have all digits
        (
            "np.float64(0....49952) == 0.30000000...04 ± 1.0e-06\n  \n  comparison "
            "failed\n  Obtained: 0.3000005\n  Expected: 0.3 ± 1.0e-06",
            0.5,
        ),
        ("Obtained: 2\n  Expected: 2 ± 0.0", 0.0),
        ("0....49952 < 1", None),
        ("0.1 < 0.2 < 0.3", None),
        ("'a' == 'a'", None),
        ("True", None),
        ("", None),
    ],
)
def test_the_share_of_a_bound(explanation, share):
    assert slack.share_of(explanation) == (share and pytest.approx(share))


def line():
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"{pathlib.Path(__file__).name}:{frame.f_back.f_lineno}"


def test_shares_are_noted_where_they_are_used(monkeypatch):
    worst = collections.defaultdict(float)
    monkeypatch.setattr(slack, "_worst", worst)
    for share in (0.2, 0.3, 0.1):
        here = line(), slack.record(share)
    close = slack.watched(np.testing.assert_allclose)
    there = line(), close([1.0, np.nan, np.inf], [1.125, np.nan, np.inf], atol=0.25)
    zeros = line(), close([0.0, 0.0], [0.0, 0.0], rtol=0)
    expected = {here[0]: 0.3, there[0]: 0.5, zeros[0]: 0.0}
    assert worst == pytest.approx(expected, rel=1e-6)
    with pytest.raises(AssertionError):
        close(1.0, 2.0)
    assert len(worst) == 3


def test_what_another_processor_may_break(tmp_path, capsys):
    shares = {
        "test_b.py:7": (0.3, 0.1),  # rounding, more than a quarter
        "test_a.py:30": (0.95, 0.95),
        "test_a.py:4": (0.2, 0.01),  # rounding with room
        "test_a.py:5": (0.8, 0.8),  # not rounding
    }
    files = []
    for run in (0, 1):
        path = tmp_path / f"{run}.jsonl"
        lines = [{"test_a.py:30": 0.5}, {name: of[run] for name, of in shares.items()}]
        path.write_text("".join(json.dumps(each) + "\n" for each in lines))
        files.append(path)
    slack.main(files)
    found = [each.split() for each in capsys.readouterr().out.splitlines()]
    assert found == [
        ["test_a.py:30", "close", "0.95", "0.95"],
        ["test_b.py:7", "rounding", "0.3", "0.1"],
    ]


def test_what_is_run_weekly_is_there():
    lines = (ROOT / "tests" / "weekly.txt").read_text().splitlines()
    entries = [line for line in lines if not line.startswith("#")]
    assert len(entries) == len(set(entries)) > 20
    for entry in entries:
        path, _, name = entry.partition("::")
        # the start of a name, and perhaps the case in brackets
        start = name.partition("[")[0]
        assert f"\ndef {start}" in (ROOT / path).read_text(), entry
