"""Errors that the user can help: one line and a status."""

import re

import jax
import jax.numpy as jnp
import pytest
from absl import flags
from run_scripts import finish

from experiments.harness import endings
from theory.errors import InputError, NumericalError

BAD_COMMANDS = [
    ("--widht=3",),
    ("--p=1.5",),
    ("--p", "0.5", "0.9"),
    ("--jobs=2",),
    ("--shard=3/2",),
    ("--cluster=local", "--jobs=0"),
    ("--cluster=local", "--jobs=2", "--cluster_options=memory=3"),
    ("--cluster=local", "--jobs=2", "--p=1.5"),
]


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("`p` must\nbe less."), 2, "error: `p` must be less."),
        (NumericalError("indefinite"), 2, "error: indefinite"),
        (flags.Error("unknown flag"), 2, "error: unknown flag"),
        (MemoryError("8 GiB"), 2, "error: out of memory, ask for smaller sizes: 8 GiB"),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 8 GiB"),
            2,
            "error: out of memory, ask for smaller sizes: RESOURCE_EXHAUSTED: 8 GiB",
        ),
        (
            RuntimeError("Unable to initialize backend 'tpu': (set it to '')"),
            2,
            "error: JAX_PLATFORMS must name a device that there is: "
            "Unable to initialize backend 'tpu': (set it to '')",
        ),
        (
            KeyboardInterrupt(),
            130,
            "interrupted: finished cells are stored, the same command without "
            "--overwrite computes the rest.",
        ),
    ],
)
def test_errors_of_the_user_are_one_line_and_a_status(capsys, error, status, line):
    with pytest.raises(SystemExit) as exit_, endings.one_line_errors():
        raise error
    assert exit_.value.code == status
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize("error", [KeyError, jax.errors.JaxRuntimeError, OSError])
def test_bugs_keep_their_traceback(error):
    with pytest.raises(error), endings.one_line_errors():
        raise error("INTERNAL")


def test_memory_of_the_device_running_out_is_an_error_that_is_caught():
    with pytest.raises(SystemExit), endings.one_line_errors():
        jnp.zeros((2**22, 2**22)).block_until_ready()


@pytest.mark.parametrize("arguments", BAD_COMMANDS)
def test_bad_command_line_is_one_line_with_status_2(tmp_path, start, arguments):
    status, out, err = finish(start(tmp_path, *arguments), tmp_path)
    assert status == 2
    assert out == ""
    assert re.fullmatch(r"error: .+\n", err)
    assert not (tmp_path / "results").exists()
