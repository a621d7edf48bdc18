import math
import os
import signal
import subprocess
import sys
import textwrap

import jax.numpy as jnp
import numpy as np
import pytest
from saved_cells import FIRST, SECOND, save

from experiments.harness import lines
from experiments.harness.run_directory import Cell, RunDirectory
from theory.errors import InputError, NumericalError

# Of a process that hangs: none is waited for as long, on however busy a machine.
HANGS = 500


def run_python(code, *arguments, **options):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_key_is_of_the_settings_whatever_their_order_and_number_type():
    # sha256 of '{"n":3,"p":1}'
    assert Cell({"p": 1.0, "n": 3}).key == "59e1607535444616"
    assert Cell({"n": np.int64(3), "p": np.float64(1)}).key == "59e1607535444616"
    assert Cell({"n": jnp.int32(3), "p": 1}).key == "59e1607535444616"


def test_key_tells_cells_apart():
    values = [0.9, 0.90001, 1, True, None, "1", [1], [1, 2], [2, 1], "", [], 0, False]
    keys = {Cell({name: value}).key for value in values for name in ("p", "q")}
    assert len(keys) == 2 * len(values)


@pytest.mark.parametrize("value", [math.nan, math.inf, [0.5, math.nan], np.nan])
def test_settings_that_are_not_finite_are_refused(value):
    with pytest.raises(InputError, match="`p` must be finite, got"):
        Cell({"route": "exact", "p": value})


def test_saved_cell_comes_back(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    arrays = {
        "outputs": np.random.default_rng(0).normal(size=(2, 3)),
        "single": jnp.ones(2, jnp.float32),
        "labels": [1, 2],
        "names": np.array(["a", "bc"]),
    }
    cell = Cell({"p": 0.9, "widths": (3, 4), "subset": None})
    row = {"accuracy": np.float32(0.5), "gap": None, "n": (1, 2)}
    with directory.writing():
        directory.save(cell, row, arrays)
    found, back = directory.load(cell)
    settings = {"p": 0.9, "widths": [3, 4], "subset": None}
    numbers = {"accuracy": 0.5, "gap": None, "n": [1, 2]}
    assert found == {"key": cell.key, **settings, **numbers}
    assert directory.has(Cell({"subset": None, "widths": [3, 4], "p": 0.9}))
    assert list(back) == list(arrays)
    for name, value in arrays.items():
        assert back[name].dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize("value", [math.nan, jnp.inf, [1.0, -math.inf], {"a": np.nan}])
def test_a_number_that_is_not_finite_is_a_failure_and_not_stored(tmp_path, value):
    directory = RunDirectory(tmp_path)
    with pytest.raises(NumericalError, match=r"^`accuracy` came out as NaN or inf"):
        save(directory, accuracy=value)
    assert directory.rows() == []
    assert not os.listdir(tmp_path / "arrays")


@pytest.mark.parametrize("array", [np.array([{}]), np.array([None]), jnp.bfloat16(1)])
def test_arrays_that_would_not_come_back_are_refused(tmp_path, array):
    directory = RunDirectory(tmp_path)
    with pytest.raises(TypeError, match="`x` must be numbers or text"):
        save(directory, arrays={"x": array})
    assert directory.rows() == []


def test_row_must_not_repeat_a_setting(tmp_path):
    directory = RunDirectory(tmp_path)
    with directory.writing(), pytest.raises(ValueError, match="'p'"):
        directory.save(FIRST, {"p": 0.1}, {})


def test_rows_come_in_the_order_asked_for(tmp_path):
    directory = RunDirectory(tmp_path)
    for cell in (FIRST, SECOND):
        save(directory, cell)
    asked = [SECOND, Cell({"p": 0.1}), FIRST]
    assert [row["p"] for row in directory.rows(asked)] == [0.97, 0.5]
    assert [row["p"] for row in directory.rows()] == [0.5, 0.97]


def test_last_row_of_a_key_wins(tmp_path):
    directory = RunDirectory(tmp_path)
    save(directory, accuracy=0.1)
    save(directory, SECOND)
    save(directory, accuracy=0.2, arrays={"x": np.zeros(1)})
    assert len((tmp_path / "metrics.jsonl").read_bytes().splitlines()) == 3
    row, arrays = directory.load(FIRST)
    assert row["accuracy"] == 0.2
    assert arrays["x"].shape == (1,)
    assert len(directory.rows()) == 2


def test_what_a_cell_does_not_know_is_none():
    value = {"auc": math.nan, "z": [1.0, np.float32(np.inf)], "n": 3, "none": None}
    found = lines.known(value | {"name": "mid"})
    assert found == {"auc": None, "z": [1.0, None], "n": 3, "none": None, "name": "mid"}
    assert lines.checked(found) == found


def test_checksum_leaves_timings_out(tmp_path):
    row = {"key": "a", "n": 1}
    ends = {
        lines.written({**row, "seconds": s}, {}).partition(b"checksum")[2]
        for s in (0.5, 2)
    }
    assert len(ends) == 1


def test_kill_at_every_line_of_a_save_loses_that_cell_at_most(tmp_path):
    # A child per line of results.py that `save` runs; it kills itself at that line.
    done = run_python(
        """
        import os, signal, sys
        import numpy as np
        from experiments.harness import run_directory as results

        cells = [results.Cell({"p": p}) for p in (0.5, 0.9)]
        directory = results.RunDirectory(sys.argv[1])

        def save(i):
            with directory.writing():
                directory.save(cells[i], {"accuracy": i / 3}, {"x": np.ones(i + 1)})

        save(0)
        (first,) = directory.rows()
        counts = {1: 0, 2: 0}
        for kill_at in range(10**6):
            if (child := os.fork()) == 0:
                steps = 0
                def trace(frame, event, _):
                    global steps
                    if frame.f_code.co_filename != results.__file__:
                        return None
                    steps += event == "line"
                    if steps > kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return trace
                sys.settrace(trace)
                save(1)
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            rows = directory.rows()
            counts[len(rows)] += 1
            assert rows[0] == first and len(rows) <= 2
            if not status:
                break
            assert os.WIFSIGNALED(status)
            save(1)
            again = directory.load(cells[1])
            assert again[0]["accuracy"] == 1 / 3 and again[1]["x"].shape == (2,)
            files = [n for _, _, names in os.walk(sys.argv[1]) for n in names]
            assert len(files) == 4, files
            with directory.writing():
                directory.discard(cells[1:])
        print(counts[1], counts[2])
        """,
        tmp_path,
        timeout=HANGS,
    )
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    assert before > 30
    assert after > 3


def test_remains_of_a_kill_are_removed(tmp_path):
    directory = RunDirectory(tmp_path)
    save(directory)
    remains = [
        tmp_path / ".config.json.ntk-partial",
        tmp_path / "arrays" / ".0.npz.ntk-partial",
        tmp_path / "figures" / ".a.png.ntk-partial",
    ]
    mine = tmp_path / ".notes.tmp"
    for path in (*remains, mine):
        path.touch()
    with directory.writing():
        assert not any(path.exists() for path in remains)
    assert mine.exists()


def test_failed_write_keeps_the_old_file(tmp_path):
    directory = RunDirectory(tmp_path)
    with directory.writing():
        directory.write_json("config.json", {"p": [0.5]})
        with pytest.raises(AttributeError):
            directory.write_json("config.json", {"p": object()})
    assert directory.read_json("config.json") == {"p": [0.5]}
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
        ".lock",
        "config.json",
        "metrics.jsonl",
    ]


def test_config_that_is_not_json_is_an_error(tmp_path):
    directory = RunDirectory(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json must be JSON: .* Restore"):
        directory.read_json("config.json")


def test_second_writer_is_refused_until_the_first_is_gone(tmp_path):
    directory = RunDirectory(tmp_path)
    with (
        directory.writing(),
        pytest.raises(InputError, match="`--workdir` must belong to one run"),
        RunDirectory(tmp_path).writing(),
    ):
        pass
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from experiments.harness.run_directory import RunDirectory\n"
            f"with RunDirectory({str(tmp_path)!r}).writing():\n"
            f"    print('held', flush=True); time.sleep({HANGS})",
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match="another one is writing"), directory.writing():
        pass
    assert directory.rows() == []  # reading needs no lock
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    save(directory)
    assert directory.has(FIRST)


def test_writing_outside_the_lock_is_a_bug(tmp_path):
    with pytest.raises(AssertionError):
        RunDirectory(tmp_path).save(FIRST, {}, {})


def test_discard_forgets_rows_and_arrays(tmp_path):
    directory = RunDirectory(tmp_path)
    save(directory)
    save(directory, SECOND)
    with directory.writing():
        directory.discard([FIRST, Cell({"p": 0.123})])
    assert [row["key"] for row in directory.rows()] == [SECOND.key]
    assert os.listdir(tmp_path / "arrays") == [f"{SECOND.key}.npz"]


def test_reading_creates_nothing(tmp_path):
    directory = RunDirectory(tmp_path / "new")
    assert directory.rows() == []
    assert not directory.has(FIRST)
    assert directory.read_json("config.json") is None
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("below", ["", "run", "deep/run"])
def test_workdir_that_is_or_lies_below_a_file_is_one_line(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    directory = RunDirectory(tmp_path / "file" / below)
    message = r"^`--workdir` must be a directory.*a file is in the way\.$"
    with pytest.raises(InputError, match=message), directory.writing():
        pass
    with pytest.raises(InputError, match=message):
        directory.rows()
    assert (tmp_path / "file").read_text() == "mine"


def test_full_disk_is_one_line_and_keeps_what_there_is(tmp_path):
    directory = RunDirectory(tmp_path)
    save(directory)
    done = run_python(
        """
        import resource, sys
        import numpy as np
        from experiments.harness.run_directory import Cell, RunDirectory
        directory = RunDirectory(sys.argv[1])
        with directory.writing():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            directory.save(Cell({"p": 0.9}), {}, {"x": np.zeros(1000)})
        """,
        tmp_path,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("theory.errors.InputError: the disk is full, or its quota")
    assert last.endswith("Make room and run the same again; finished cells are stored.")
    assert [row["key"] for row in directory.rows()] == [FIRST.key]
    assert os.listdir(tmp_path / "arrays") == [f"{FIRST.key}.npz"]
