"""Shards of a run: which cells they have, and that the run takes up what they store."""

import json
import shutil

import pytest
from fake_experiment import calls
from run_scripts import by_key, execute

from experiments.harness import shards
from experiments.harness.run_directory import Cell, RunDirectory
from theory.errors import InputError

P = (0.1, 0.2, 0.3, 0.4, 0.5)


def loads(parts, costs):
    return [sum(costs[cell.settings["i"]] for cell in part) for part in parts]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_hold_every_cell_once_and_take_about_equally_long(count):
    cells = [Cell({"i": i}) for i in range(12)]
    # routes of unequal cost, in turn: every third cell takes a hundred times as long
    costs = [100.0 if i % 3 == 0 else 1.0 for i in range(12)]
    parts = shards.split(cells, costs, count)
    assert len(parts) == count
    assert sorted(c.settings["i"] for part in parts for c in part) == list(range(12))
    taken = loads(parts, costs)
    assert max(taken) - min(taken) <= 100
    for part in parts:
        assert part == sorted(part, key=lambda cell: cell.settings["i"])
    dealt = shards.split(cells, None, count)
    assert [len(part) for part in dealt] == [len(cells[i::count]) for i in range(count)]


def test_a_long_cell_outweighs_many_short_ones():
    costs = [1.0] * 10 + [10.0]
    cells = [Cell({"i": i}) for i in range(len(costs))]
    assert loads(shards.split(cells, costs, 2), costs) == [10, 10]


@pytest.mark.parametrize(
    "text", ["", "2", "0/3", "4/3", "1/0", "a/b", "1/2/3", "1/1001"]
)
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match="^`--shard` must be I/N, the I-th of N parts"):
        shards.Shard.read(text)


def test_a_run_takes_up_what_shards_computed(tmp_path, capsys):
    whole = execute(tmp_path / "whole", p=P)
    run, directory = tmp_path / "run", RunDirectory(tmp_path / "run")
    execute(run, p=P[:1])
    first = execute(run, p=P, shard=shards.Shard.read("1/3"))
    assert calls == [0.2, 0.5]
    execute(run, p=P, shard=shards.Shard.read("3/3"))
    assert calls == [0.4]
    out, err = capsys.readouterr()
    assert out.count("figure: ") == 2  # shards show nothing
    assert "[1/1] p=0.4 (" in err
    assert [row["p"] for row in first] == [0.2, 0.5]
    assert [row["p"] for row in directory.rows()] == [0.1]
    execute(run, p=P, dry_run=True)
    assert "5 cells, 1 to compute" in capsys.readouterr().out
    of_shard = run / "shards" / "1-of-3" / "environment.json"
    of_shard.write_text(json.dumps({"device": "another"}))
    (run / "shards" / "3-of-3" / "environment.json").unlink()
    rows = execute(run, p=P[:2])
    assert calls == []
    assert [row["p"] for row in rows] == [0.1, 0.2]
    assert directory.read_json("environment.json") == {"device": "another"}
    rows = execute(run, p=P)
    assert calls == [0.3]
    assert by_key(rows) == by_key(whole)
    stored = (RunDirectory(tmp_path / name).rows() for name in ("run", "whole"))
    assert by_key(next(stored)) == by_key(next(stored))
    for row in whole:
        arrays = RunDirectory(tmp_path / "whole").arrays(row)
        assert arrays["outputs"].tobytes() == directory.arrays(row)["outputs"].tobytes()
    assert not (run / "shards").exists()


def test_a_shard_goes_on_where_it_was(tmp_path):
    shard = shards.Shard.read("2/2")
    execute(tmp_path, p=P, shard=shard)
    execute(tmp_path, p=P, shard=shard)
    assert calls == []


def test_rows_that_the_run_has_are_not_taken_up_again(tmp_path):
    shard = shards.Shard.read("2/2")
    execute(tmp_path / "run", p=P, shard=shard)
    shutil.copytree(tmp_path / "run" / "shards", tmp_path / "late")
    execute(tmp_path / "run", p=P)
    metrics = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    # as of a job that was queued again after the run had ended without it
    shutil.copytree(tmp_path / "late", tmp_path / "run" / "shards")
    execute(tmp_path / "run", p=P)
    assert calls == []
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == metrics


def test_overwriting_discards_what_shards_hold_too(tmp_path):
    shard = shards.Shard.read("2/2")
    execute(tmp_path, p=P, shard=shard)
    with pytest.raises(InputError, match="^`--overwrite` must be left to the run"):
        execute(tmp_path, p=P, shard=shard, overwrite=True)
    execute(tmp_path, p=P, overwrite=True)
    assert calls == list(P)


def test_a_run_is_not_written_while_a_shard_is(tmp_path):
    shard = shards.Shard.read("2/2")
    execute(tmp_path, p=P, shard=shard)
    directory = shard.directory(RunDirectory(tmp_path))
    with directory.writing():
        with pytest.raises(InputError, match="another one is writing .*2-of-2: wait"):
            execute(tmp_path, p=P)
        execute(tmp_path, p=P, shard=shards.Shard.read("1/2"))
        assert calls == [0.1, 0.3, 0.5]
    execute(tmp_path, p=P)
    assert calls == []


def test_a_shard_of_another_experiment_is_refused(tmp_path):
    shard = shards.Shard.read("2/2")
    execute(tmp_path, p=P, shard=shard)
    config = shard.directory(RunDirectory(tmp_path)).path / "config.json"
    config.write_text('{"experiment": "other"}')
    with pytest.raises(InputError, match="config.json is of other"):
        execute(tmp_path, p=P)
    assert config.exists()
