"""Laws and draws in files: what is written comes back, or one line says why not."""

import dataclasses
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from jaxtyping import Array, Float

import theory
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
    root = rng.normal(size=(2, 3, 3))
    return cls(
        mean=jnp.asarray(rng.normal(size=(2, 3))),
        cov=jnp.asarray(root @ root.swapaxes(1, 2), jnp.float32),
        init_var=jnp.asarray([0.5, 1.0]),
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
        with raises("is no readable npz file ("):
            OutputLaw.load(path)
    np.save(path.open("wb"), np.ones(3))
    with raises("is no readable npz file"):
        OutputLaw.load(path)
    np.savez(path, x=np.array([object()]))
    with raises("is no readable npz file"):
        OutputLaw.load(path)


def write(path, value, **changed):
    """Saves `value`, then puts other arrays into its file; None takes one out."""
    value.save(path)
    with np.load(path) as file:
        contents = dict(file) | changed
    np.savez(path, **{k: v for k, v in contents.items() if v is not None})


UNSOUND = {
    "must have shape (n, c)": {"mean": np.ones(3)},
    "`mean` must be float32 or float64, got int64": {"mean": np.ones((2, 3), int)},
    "`mean` must be float32 or float64, got <U1": {"mean": np.full((2, 3), "1")},
    "`mean` must be finite": {"mean": np.full((2, 3), np.inf)},
    "`cov` must have shape (2, 3, 3), got (3, 3)": {"cov": np.eye(3)},
    "`cov` must be finite": {"cov": np.full((2, 3, 3), np.nan)},
    "`cov` must be symmetric": {"cov": np.triu(np.ones((2, 3, 3)))},
    "`cov` must be positive semidefinite": {
        "cov": np.tile(-np.eye(3), (2, 1, 1)),
        "diagnostics.doubts": None,
    },
    "`init_var` must have shape (2,), got (3,)": {"init_var": np.ones(3)},
    "`init_var` must not be negative, got -1": {
        "init_var": -np.ones(2),
        "diagnostics.doubts": None,
    },
    "`init_var` must be finite": {"init_var": np.array([np.inf, 1])},
    "`inits` must be at least 1, got 0": {"inits": np.array(0.0)},
    "`inits` must be one float64, got int64": {"inits": np.array([3])},
    "it holds 'means', which no OutputLaw has": {"means": np.ones((2, 3))},
    "got OutputLaw without cov": {"cov": None},
    "got Draws: load it as what was saved": {"kind": np.array("Draws")},
}


@pytest.mark.parametrize("message", UNSOUND)
def test_a_law_that_is_not_sound_is_refused(tmp_path, message):
    write(tmp_path / "law.npz", law(), **UNSOUND[message])
    with raises(message):
        OutputLaw.load(tmp_path / "law.npz")
    with raises(str(tmp_path / "law.npz")):
        OutputLaw.load(tmp_path / "law.npz")


UNSOUND_DRAWS = {
    "must have shape (draws, initialisations, n, c)": {"outputs": np.ones((2, 4, 5))},
    "`outputs` must be float32 or float64": {"outputs": np.ones((2, 1, 4, 5), bool)},
    "`outputs` must be finite": {"outputs": np.full((2, 1, 4, 5), np.nan)},
    "`init_var` must have shape (2, 4)": {"init_var": np.ones((2, 5))},
    "`init_var` must not be negative": {"init_var": np.full((2, 4), -2.0)},
    "`draw_keys` must have shape (2, 2)": {"draw_keys": np.ones(2, int)},
    "`draw_keys` must be integers, got float64": {"draw_keys": np.ones((2, 2))},
    "`averaged` must be one bool": {"averaged": np.array("no")},
}


@pytest.mark.parametrize("message", UNSOUND_DRAWS)
def test_draws_that_are_not_sound_are_refused(tmp_path, message):
    draws = Draws(outputs=jnp.ones((2, 1, 4, 5)))
    write(tmp_path / "draws.npz", draws, **UNSOUND_DRAWS[message])
    with raises(message):
        Draws.load(tmp_path / "draws.npz")


def test_other_numbers_than_were_saved_are_refused(tmp_path):
    write(tmp_path / "law.npz", law(), mean=np.zeros((2, 3)))
    with raises("its arrays are not those that were saved. Compute and save it again"):
        OutputLaw.load(tmp_path / "law.npz")
    write(tmp_path / "law.npz", law(), checksum=None)  # of an older version
    same(OutputLaw.load(tmp_path / "law.npz"), law())


def test_what_the_routes_return_comes_back(tmp_path):
    """Estimates have negative eigenvalues; a route may doubt a negative variance."""
    rng = np.random.default_rng(0)
    outputs = jnp.asarray(rng.normal(size=(4, 2, 50, 3)))
    Draws(outputs=outputs).law().save(tmp_path / "law.npz")
    loaded = OutputLaw.load(tmp_path / "law.npz")
    assert np.linalg.eigvalsh(loaded.cov).min() < -0.1
    negative = dataclasses.replace(law(), init_var=jnp.asarray([-1.0, 1.0]))
    negative.save(tmp_path / "law.npz")
    assert np.asarray(OutputLaw.load(tmp_path / "law.npz").init_var)[0] == -1


def test_draws_that_know_the_variance_at_some_points_come_back(tmp_path):
    draws = Draws(
        outputs=jnp.ones((2, 1, 5, 3)),
        init_var=jnp.ones((2, 2)),
        init_var_at=jnp.array([0, 3]),
        averaged=True,
    )
    draws.save(tmp_path / "draws.npz")
    same(Draws.load(tmp_path / "draws.npz"), draws)
    for bad in (np.array([0, 5]), np.array([0.0, 3.0]), np.array([0, 3, 4])):
        write(tmp_path / "draws.npz", draws, init_var_at=bad)
        with raises("`init_var"):
            Draws.load(tmp_path / "draws.npz")


def test_variances_that_were_nan_where_nothing_is_known_are_none(tmp_path):
    unknown = dataclasses.replace(law(), init_var=jnp.full(2, jnp.nan))
    unknown.save(tmp_path / "law.npz")
    assert OutputLaw.load(tmp_path / "law.npz").init_var is None


def test_a_law_in_the_byte_order_of_another_machine_is_the_same(tmp_path):
    foreign = np.asarray(law().mean).astype(">f8")
    write(tmp_path / "law.npz", law(), mean=foreign)
    same(OutputLaw.load(tmp_path / "law.npz"), law())


def test_home_is_a_place_for_a_law(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    law().save("~/law.npz")
    assert os.listdir(tmp_path) == ["law.npz"]
    same(OutputLaw.load("~/law.npz"), law())
    with raises("starts with ~, which is no home directory here"):
        law().save("~nobody-of-this-name/law.npz")


def test_an_array_that_is_shorter_than_it_says_is_refused(tmp_path):
    """`np.load` reads what the header says, and the checksum only at the end."""
    law().save(tmp_path / "law.npz")
    content = (tmp_path / "law.npz").read_bytes()
    shorter = content.replace(b"'shape': (2, 3), ", b"'shape': (1, 3), ")
    assert shorter != content
    (tmp_path / "law.npz").write_bytes(shorter)
    with raises("is no readable npz file (Bad CRC-32"):
        OutputLaw.load(tmp_path / "law.npz")


@pytest.mark.parametrize("cls", [theory.ResummedLaw, theory.OutputLaw])
def test_a_law_of_resummed_that_was_read_says_what_it_needs(tmp_path, cls):
    """The solved training stays behind: the way out is to solve again."""
    law(theory.ResummedLaw).save(tmp_path / "law.npz")
    loaded = cls.load(tmp_path / "law.npz")
    with raises("is in no file, nor in laws of other routes. Call theory.resummed"):
        theory.resummed_at(loaded, jnp.ones((2, 5)))


def test_a_law_of_first_order_comes_back_whole(tmp_path):
    parts: dict = {name: jnp.ones((2, 3)) for name in ("gain", "offset")}
    parts |= {"noise_std": jnp.ones(2), "cross": None}
    law(theory.FirstOrderLaw, **parts).save(tmp_path / "law.npz")
    loaded = theory.FirstOrderLaw.load(tmp_path / "law.npz")
    same(loaded, law(theory.FirstOrderLaw, **parts))
