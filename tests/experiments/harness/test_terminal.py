"""What scripts say: in the encoding that there is, in words of the command line."""

import io
import logging
import os
import subprocess
import sys

import fake_experiment
import pytest
from checkout import ROOT

from experiments.harness import terminal

FLAGS = {"depth": False, "b_var": False, "n_test": True, "n_train": False}
FLAGS |= {"data_dir": True, "normalise": False, "dataset": False, "noise_regime": False}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("`depth` must be 1.", "`--depth` must be 1."),
        ("`--depth` must be 1.", "`--depth` must be 1."),
        ("`tau` must be 1.", "`tau` must be 1."),
        ("without biases set b_var=0.", "without biases set --b_var=0."),
        ("lower `depth`, now 3.", "lower `--depth`, now 3."),
        ("drop it, or pass `ridge`.", "drop it, or in Python pass `ridge`."),
        ("or pass `download=True`;", "or in Python pass `download=True`;"),
        ("pass `normalise='unit'`.", "pass `--normalise='unit'`."),
        ("use normalise='unit'.", "use --normalise='unit'."),
        ("`n_test=None` takes all", "`--n_test=none` takes all"),
        ("`n_train=None` takes all", "in Python `n_train=None` takes all"),
        ("needed: enable x64, or", "needed: leave out --nox64, or"),
        ("unknown data set 'a': valid", "unknown --dataset 'a': valid"),
        ("unknown noise regime 'a':", "unknown --noise_regime 'a':"),
        ("unknown --depth 'a':", "unknown --depth 'a':"),
        ("unknown activation 'a':", "unknown activation 'a':"),
        ("ERROR:: no such file", "no such file"),
        ("Unknown command line flag 'widht'.", "Unknown command line flag 'widht'."),
    ],
)
def test_messages_of_the_library_in_words_of_the_command_line(message, said):
    assert terminal.in_flags(message, FLAGS) == said


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("ascii", b"+-1 \\u03c3"), ("latin-1", b"\xb11 \\u03c3"), ("utf-8", None)],
)
def test_any_text_is_printed_in_any_encoding(monkeypatch, encoding, written):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO()))
    terminal.prepare()
    print("±1 σ", end="", flush=True)
    assert raw.getvalue() == (written or "±1 σ".encode())


def test_jax_keeps_its_notes_to_itself():
    terminal.prepare()
    assert not logging.getLogger("jax._src.xla_bridge").isEnabledFor(logging.WARNING)


def test_a_reader_that_leaves_ends_a_plan_quietly(tmp_path):
    levels = ",".join(str(k / 5000) for k in range(5000))  # more than a pipe holds
    process = subprocess.Popen(
        [sys.executable, fake_experiment.__file__, "--dry_run", f"--p={levels}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"missing")
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(500) == 141
