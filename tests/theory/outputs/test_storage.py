"""Laws and draws in files: what is written comes back, or one line says why not."""

import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from jaxtyping import Array, Float

from theory.outputs.draws import Draws
from theory.outputs.law import OutputLaw
from theory.records import record

DIAGNOSTICS = {
    "margin": 0.3,
    "draws": 4,
    "converged": True,
    "level": "landmarks",
    "per_draw": np.array([1.0, 2.0]),
    "doubts": ("too few pixels", "slopes of both signs"),
    "none": (),
}


@record(kw_only=True)
class Extended(OutputLaw):
    """A law with one more array."""

    gain: Float[Array, "n c"]


def law(cls=OutputLaw, **kwargs):
    rng = np.random.default_rng(0)
    return cls(
        mean=jnp.asarray(rng.normal(size=(2, 3))),
        cov=jnp.asarray(rng.normal(size=(2, 3, 3)), jnp.float32),
        init_var=jnp.asarray([np.nan, 1.0]),
        diagnostics=DIAGNOSTICS,
        **kwargs,
    )


def same(a, b):
    """`a` is the record `b`, Python scalars included."""
    assert type(a) is type(b)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if not isinstance(y, np.ndarray | jax.Array):
            assert type(x) is type(y)
        np.testing.assert_array_equal(x, y)
        assert np.asarray(x).dtype == np.asarray(y).dtype


@pytest.mark.parametrize("inits", [math.inf, 10.0])
def test_a_law_comes_back(tmp_path, inits):
    path = tmp_path / "law"  # the name is taken as it is
    law(inits=inits).save(path)
    assert os.listdir(tmp_path) == ["law"]
    loaded = OutputLaw.load(str(path))
    same(loaded, law(inits=inits))
    assert loaded.inits == inits
    assert isinstance(loaded.mean, jax.Array)


def test_draws_come_back(tmp_path):
    known: dict = {
        "init_var": jnp.ones((2, 4)),
        "draw_keys": jnp.ones((2, 2), jnp.uint32),
        "averaged": True,
    }
    for fields in ({}, known):
        draws = Draws(outputs=jnp.ones((2, 3, 4, 5)), diagnostics=DIAGNOSTICS, **fields)
        draws.save(tmp_path / "draws.npz")
        same(Draws.load(tmp_path / "draws.npz"), draws)


def test_an_extended_law_comes_back_whole_or_plain(tmp_path):
    extended = law(Extended, gain=jnp.ones((2, 3)))
    extended.save(tmp_path / "law.npz")
    same(Extended.load(tmp_path / "law.npz"), extended)
    same(OutputLaw.load(tmp_path / "law.npz"), law())
    law().save(tmp_path / "plain.npz")
    with raises("must hold the fields of Extended, got OutputLaw without gain"):
        Extended.load(tmp_path / "plain.npz")


def test_covariances_between_points_stay_behind(tmp_path):
    estimated = Draws(outputs=jnp.ones((2, 1, 4, 3))).law()
    estimated.save(tmp_path / "law.npz")
    loaded = OutputLaw.load(tmp_path / "law.npz")
    assert loaded.cross is None
    with raises("`cross_cov` needs `cross`, which this law does not know (files do"):
        loaded.cross_cov(np.arange(4), np.arange(4))


def test_saving_replaces_and_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "law.npz"
    law().save(path)
    law(inits=3.0).save(path)
    assert OutputLaw.load(path).inits == 3.0

    def broken(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", broken)
    with raises("No space left on device"):
        law().save(path)
    assert os.listdir(tmp_path) == ["law.npz"]
    assert OutputLaw.load(path).inits == 3.0


def test_what_cannot_be_saved(tmp_path):
    with raises("`diagnostics.bad` must be numbers, strings or booleans to be saved"):
        Draws(outputs=jnp.ones((2, 1, 4, 3)), diagnostics={"bad": object()}).save(
            tmp_path / "x"
        )
    assert not os.listdir(tmp_path)
    with raises("No such file or directory"):
        law().save(tmp_path / "absent" / "law.npz")


def test_files_that_do_not_hold_it(tmp_path):
    path = tmp_path / "law.npz"
    with raises("No such file or directory"):
        OutputLaw.load(path)
    with raises("cannot read"):
        OutputLaw.load(tmp_path)
    np.savez(path, x=np.ones(3))
    with raises("got another npz file without mean, cov"):
        OutputLaw.load(path)
    Draws(outputs=jnp.ones((2, 1, 4, 3))).save(path)
    with raises("got Draws without mean, cov"):
        OutputLaw.load(path)
    law().save(path)
    whole = path.read_bytes()
    with raises("got OutputLaw without outputs"):
        Draws.load(path)
    for content in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with raises("is no readable npz file: save it again"):
            OutputLaw.load(path)
    np.save(path.open("wb"), np.ones(3))
    with raises("is no readable npz file"):
        OutputLaw.load(path)
    np.savez(path, x=np.array([object()]))
    with raises("is no readable npz file"):
        OutputLaw.load(path)
