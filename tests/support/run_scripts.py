"""Runs of the experiment of no interest, here and in processes of their own."""

import time

from fake_experiment import EXPERIMENT, Config, calls

from experiments.harness import runner

# Of a process that hangs: none is waited for as long, on however busy a machine.
HANGS = 500


def execute(
    workdir,
    experiment=EXPERIMENT,
    *,
    overwrite=False,
    dry_run=False,
    shard=None,
    **set_,
):
    calls.clear()
    return runner.execute(
        experiment,
        Config(**set_),
        workdir=workdir,
        overwrite=overwrite,
        dry_run=dry_run,
        shard=shard,
    )


def without_seconds(rows):
    return [{n: v for n, v in row.items() if n != "seconds"} for row in rows]


def by_key(rows):
    return sorted(without_seconds(rows), key=lambda row: row["key"])


def without_cache():
    """The environment of a script that finds its own cache of compiled programs."""
    import matplotlib

    # without its cache matplotlib looks at all fonts again
    return {"MPLCONFIGDIR": matplotlib.get_cachedir(), "JAX_PLATFORMS": "cpu"}


def finish(process, cwd):
    process.join(HANGS)
    assert process.exitcode is not None
    return process.exitcode, *((cwd / name).read_text() for name in ("out", "err"))


def wait_for(process, happened):
    """Waits until something has happened, and no longer than the process lives."""
    while not happened():
        assert process.exitcode is None
        time.sleep(0.01)
