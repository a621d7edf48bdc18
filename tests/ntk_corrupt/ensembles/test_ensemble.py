import dataclasses
import functools
import gc
import os
import pathlib
import re
import subprocess
import sys
import types
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkout import ROOT
from flax import linen as nn

import theory
from ntk_corrupt.ensembles import ensemble, layout, programs
from ntk_corrupt.networks import mlp
from ntk_corrupt.training import epochs
from ntk_corrupt.training.config import TrainConfig
from theory import keys as theory_keys

N, D, C = 40, 8, 3
KEY = jax.random.key(11)
ARCH = theory.Architecture(depth=2, activation="erf")
NOISE = theory.Replacement(p=0.5)
CONFIG = TrainConfig(learning_rate=1e-2, batch_size=16, epochs=3)
corrupt = jax.jit(theory.corrupt)
# Float32 of numbers of size one, grown by training: Adam divides a gradient by its
# size, also where it is a thousand times smaller than the terms it is a sum of.
ROUNDING = 1000 * float(np.finfo(np.float32).eps)


@functools.cache
def problem(dtype=np.float32):
    x = np.random.default_rng(0).normal(size=(N + 7, D)).astype(np.float32)
    x, labels = x.astype(dtype), np.arange(N + 7, dtype=np.int32) % C
    return theory.Problem(
        x_train=jnp.asarray(x[:N]),
        labels_train=jnp.asarray(labels[:N]),
        x_test=jnp.asarray(x[N:]),
        labels_test=jnp.asarray(labels[N:]),
        num_classes=C,
    )


def measure(*, noise=NOISE, dataset=None, arch=ARCH, **settings):
    defaults: dict[str, Any] = {"width": 16, "draws": 3, "inits": 2, "member_block": 2}
    defaults |= {"key": KEY, "config": CONFIG}
    dataset = problem() if dataset is None else dataset
    return ensemble.measure(arch, noise, dataset, **(defaults | settings))


@pytest.fixture(scope="module")
def reference():
    return measure()


def assert_same(a, b):
    # Blocks of another size are other programs.
    np.testing.assert_allclose(a, b, rtol=ROUNDING, atol=ROUNDING)


def test_result(reference):
    assert reference.outputs.shape == (3, 2, 7, C)
    assert reference.outputs.dtype == jnp.float32
    assert reference.init_var is None
    for name, dtype in (("train_loss", "float32"), ("epochs", "int32")):
        assert reference.diagnostics[name].shape == (3, 2)
        assert reference.diagnostics[name].dtype == dtype
    assert (reference.diagnostics["epochs"] == 3).all()
    assert not reference.diagnostics["reached"].any()
    for k in range(3):
        expected = jax.random.key_data(theory_keys.draw_key(KEY, k))
        np.testing.assert_array_equal(reference.draw_keys[k], expected)


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        # blocks of 3 that hold one draw or two
        ({"draws": 4, "inits": 4, "member_block": 3}, np.s_[:3, :2]),
        ({"member_block": 1}, np.s_[:]),
        ({"member_block": 4}, np.s_[:]),
        ({"dataset": problem(np.float64)}, np.s_[:]),
    ],
)
def test_a_member_is_the_same_in_any_company(reference, settings, rows):
    assert_same(measure(**settings).outputs[rows], reference.outputs)


def test_first_draw_continues(reference):
    later = measure(draws=1, first_draw=2)
    assert_same(later.outputs, reference.outputs[2:])
    np.testing.assert_array_equal(later.draw_keys, reference.draw_keys[2:])


def test_members_differ_and_repeat(reference):
    flat = np.asarray(reference.outputs).reshape(6, -1)
    for i in range(6):
        for j in range(i):
            assert np.abs(flat[i] - flat[j]).max() > 0.01
    np.testing.assert_array_equal(measure().outputs, reference.outputs)
    assert (
        np.abs(measure(key=jax.random.key(12)).outputs - reference.outputs).max() > 0.1
    )


@jax.jit
def by_hand(draw, init, x, labels, x_test):
    """One network trained on `x`: keys and training as documented."""
    model = mlp.mlp(ARCH, 16, C)
    stream = lambda name: jax.random.fold_in(
        jax.random.fold_in(theory_keys.stream(KEY, name), draw), init
    )
    member = epochs.start(CONFIG, model.init(stream("init"), x), stream("shuffle"))
    member = jax.lax.fori_loop(
        0,
        3,
        lambda epoch, member: epochs.run_epoch(
            model.apply, CONFIG, member, x[None], labels, epoch=epoch
        )[0],
        member,
    )
    outputs: Any = model.apply(member.params, x_test)
    loss = epochs.train_loss(model.apply, CONFIG, member.params, x[None], labels)
    return outputs, loss


def test_one_member_by_hand(reference):
    # Draw 2, initialisation 1
    dataset = problem()
    x = corrupt(NOISE, KEY, 2, dataset.x_train)
    outputs, loss = by_hand(2, 1, x, dataset.labels_train, dataset.x_test)
    assert_same(outputs, reference.outputs[2, 1])
    assert_same(loss, reference.diagnostics["train_loss"][2, 1])


def test_copies_and_corrupted_test_images_by_hand(reference):
    # blocks of 3 hold members of two draws: initialisation 1 of draw 0 is in the middle
    # of the first, that of draw 2 at the end of the second
    dataset, ask = problem(), theory.Additive(p=0.3)
    draws = measure(copies=3, test_corruption=ask, member_block=3)
    labels = np.tile(dataset.labels_train, 3)
    train = jax.jit(theory.corrupt_copies, static_argnums=4)
    test = jax.jit(theory.corrupt_test)
    for draw in (0, 2):
        x = train(NOISE, KEY, draw, dataset.x_train, 3)
        asked = test(ask, KEY, draw, dataset.x_test)
        outputs, loss = by_hand(draw, 1, x, labels, asked)
        assert_same(outputs, draws.outputs[draw, 1])
        assert_same(loss, draws.diagnostics["train_loss"][draw, 1])
    np.testing.assert_array_equal(draws.draw_keys, reference.draw_keys)


def test_clean_copies_change_no_full_batch():
    config = dataclasses.replace(CONFIG, optimiser="gd", learning_rate=0.5)
    clean = theory.Replacement(p=0.0)
    one, three = (
        measure(noise=clean, config=config, copies=copies, draws=1) for copies in (1, 3)
    )
    start = measure(noise=clean, config=dataclasses.replace(config, epochs=0), draws=1)
    assert np.abs(start.outputs - one.outputs).max() > 0.05
    assert_same(three.outputs, one.outputs)
    assert_same(three.diagnostics["train_loss"], one.diagnostics["train_loss"])


def test_clean_test_corruption_is_none(reference):
    asked = measure(test_corruption=theory.Replacement(p=0.0))
    assert_same(asked.outputs, reference.outputs)


def test_initialisation_has_the_covariance_of_the_theory():
    arch = theory.Architecture(depth=1, activation="erf", w_var=2.0, b_var=0.3)
    settings = {"width": None, "draws": 1, "inits": 600, "member_block": 600}
    config = dataclasses.replace(CONFIG, epochs=0)
    f = np.asarray(measure(arch=arch, config=config, **settings).outputs[0], float)
    x = np.asarray(problem().x_test, float)
    products = np.einsum("mic,mjc->mij", f, f) / C
    error = 5 * products.std(0) / np.sqrt(len(f))
    assert (np.abs(products.mean(0) - (2.0 * x @ x.T / D + 0.3)) < error).all()


def corrupted_copies(monkeypatch, **settings):
    copies, original = [], programs.corrupted

    def spy(*args, **settings):
        result = original(*args, **settings)
        copies.append(np.asarray(result))
        return result

    monkeypatch.setattr(programs, "corrupted", spy)
    return measure(**settings), copies


def test_corrupted_images_go_with_the_call(monkeypatch):
    held = []
    spied(monkeypatch, "corrupted", lambda *call: held.append(weakref.ref(call[-1])))
    gc.disable()  # they must not wait for it
    try:
        measure()
        assert len(held) == 3
        assert all(images() is None for images in held)
    finally:
        gc.enable()


def test_frozen_noise_is_drawn_once(monkeypatch):
    _, copies = corrupted_copies(monkeypatch)
    x = problem().x_train
    assert len(copies) == 3  # a block is a draw
    for draw in range(3):
        expected = corrupt(NOISE, KEY, draw, x)
        np.testing.assert_allclose(
            copies[draw], expected[None], rtol=ROUNDING, atol=ROUNDING
        )


def test_fresh_copies_are_all_different(monkeypatch):
    fresh = dataclasses.replace(CONFIG, noise_regime="fresh", epochs=2)
    _, held = corrupted_copies(monkeypatch, config=fresh, copies=2, draws=1)
    flat = np.concatenate(held).reshape(4, N, D)
    for i in range(4):
        for j in range(i):
            assert np.mean(flat[i] == flat[j]) < 0.5


def test_fresh_noise_is_drawn_every_epoch(monkeypatch, reference):
    fresh = dataclasses.replace(CONFIG, noise_regime="fresh")
    draws, copies = corrupted_copies(monkeypatch, config=fresh)
    flat = np.concatenate(copies)  # a block is a draw
    assert len(flat) == 3 * CONFIG.epochs
    for i in range(len(flat)):
        for j in range(i):
            assert np.mean(flat[i] == flat[j]) < 0.5  # both clean: 0.25
    assert draws.draw_keys is None
    assert np.abs(draws.outputs - reference.outputs).max() > 0.01
    again = measure(config=fresh, member_block=3)
    assert_same(again.outputs, draws.outputs)


def spied(monkeypatch, name, look):
    """Calls `look(jitted, arguments, options, result)` after each call of a program."""
    original = getattr(programs, name)

    def spy(*args, **options):
        result = original(*args, **options)
        look(original, args, options, result)
        return result

    monkeypatch.setattr(programs, name, spy)


def test_stop_loss(monkeypatch):
    of_epochs = []
    with monkeypatch.context() as patch:
        look = lambda *call: of_epochs.append(np.array(call[-1][0].train_loss))
        spied(patch, "epoch", look)
        never = dataclasses.replace(CONFIG, epochs=12, stop_loss=1e-30)
        measure(config=never, member_block=6)
    losses = np.array(of_epochs)
    assert losses.shape == (12, 6)
    # Some stop and others do not, at a threshold that rounding does not reach.
    near = np.unique(losses[losses < np.median(losses[6])])
    near = near[near > np.sort(losses[-1])[1]]
    widest = np.diff(np.log(near)).argmax()
    threshold = float(np.sqrt(near[widest] * near[widest + 1]))
    assert np.abs(losses / threshold - 1).min() > 10 * ROUNDING
    config = dataclasses.replace(never, stop_loss=threshold)
    for block in (6, 1):
        stopped = measure(config=config, member_block=block)
        found = {n: np.asarray(part).ravel() for n, part in stopped.diagnostics.items()}
        reached = (losses <= threshold).any(axis=0)
        assert reached.any()
        np.testing.assert_array_equal(found["reached"], reached)
        last = np.where(reached, (losses <= threshold).argmax(axis=0), 11)
        np.testing.assert_array_equal(found["epochs"], last + 1)
        assert len(np.unique(last)) > 1
        assert_same(found["train_loss"], losses[last, np.arange(6)])
        if block == 6:
            together = stopped.outputs
    assert_same(together, stopped.outputs)


def test_everything_compiles_in_the_first_epoch_of_the_first_block():
    traces = []

    def fn(u):
        traces.append(1)
        return jnp.tanh(u)

    arch = theory.Architecture(depth=2, activation=theory.custom(fn, name="counted"))
    short = dataclasses.replace(CONFIG, epochs=1)
    measure(arch=arch, draws=1, config=short)
    first, outputs = len(traces), []
    for p, changes in (
        (0.1, {}),
        (0.5, {}),
        (0.9, {"learning_rate": 3e-3}),
        (0.9, {"noise_regime": "fresh"}),
    ):
        config = dataclasses.replace(CONFIG, **changes)
        noise = theory.Replacement(p=p)
        outputs.append(measure(arch=arch, noise=noise, config=config).outputs)
    assert len(traces) == first > 0
    assert np.abs(outputs[0] - outputs[1]).max() > 0.01


def test_an_epoch_takes_the_place_of_the_one_before(monkeypatch):
    gone, kept = [], []

    def look(_, args, __, result):
        _, _, member, held, x, *_ = args
        gone.extend(leaf.is_deleted() for leaf in jax.tree.leaves(member))
        kept.extend(leaf.is_deleted() for leaf in jax.tree.leaves((held, x, result)))

    spied(monkeypatch, "epoch", look)
    measure(draws=1)
    assert len(gone) > 3 * 12  # three epochs: weights, biases and two moments of each
    assert all(gone)
    assert not any(kept)


_NAMES = {  # of what is compiled, in StableHLO
    None: "precision = [DEFAULT, DEFAULT] :",
    "float32": "precision = [HIGHEST, HIGHEST] :",
    "tensorfloat32": "precision = [HIGH, HIGH] :",
    "bfloat16": "lhs_precision_type = bf16, rhs_precision_type = bf16, "
    "accumulation_type = f32, lhs_component_count = 1",
}


@pytest.fixture(scope="module")
def calls():
    """How `measure` calls its programs, by name: (jitted, arguments, options)."""
    found = {}

    def kept(name, result):
        jitted = getattr(programs, name)

        def spy(*args, **options):
            found[name] = jitted, args, options
            return result(args)

        return spy

    with pytest.MonkeyPatch().context() as patch:
        config = dataclasses.replace(CONFIG, epochs=1, precision="bfloat16")
        results = {
            "epoch": lambda args: (args[2], np.zeros(2)),
            "finish": lambda args: (np.zeros((2, 7, C)), np.zeros(2)),
        }
        for name, result in results.items():
            patch.setattr(programs, name, kept(name, result))
        measure(draws=1, config=config, test_corruption=NOISE)
    return found


def products(calls, precision):
    """Products of two matrices, and of others, in each program that `measure` runs."""
    found = {}
    for name, (jitted, (model, config, *rest), options) in calls.items():
        assert config.precision == "bfloat16"  # as it was asked for
        config = dataclasses.replace(config, precision=precision)
        of_matrices, others = found[name] = [], []
        for line in (
            jitted.lower(model, config, *rest, **options).as_text().splitlines()
        ):
            if "dot_general" in line:
                ranks = [text.count("x") for text in re.findall(r"tensor<(.*?)>", line)]
                (of_matrices if min(ranks[:2]) > 1 else others).append(line)
    return found


@pytest.mark.parametrize(("precision", "name"), _NAMES.items())
def test_precision_is_that_of_every_product(calls, precision, name):
    found = products(calls, precision)
    # Two layers: forward, by weights, by hidden units. Outputs and training loss.
    assert {program: len(two) for program, (two, _) in found.items()} == {
        "epoch": 5,
        "finish": 4,
    }
    for of_matrices, others in found.values():
        assert all(name in line for line in of_matrices)
        # Means of losses, over a last batch that is not full.
        assert others
        assert all(_NAMES["float32"] in line for line in others)


def test_precision_is_by_default_that_of_jax(calls):
    with jax.default_matmul_precision("tensorfloat32"):
        for precision, name in ((None, "tensorfloat32"), ("float32", "float32")):
            for of_matrices, _ in products(calls, precision).values():
                assert all(_NAMES[name] in line for line in of_matrices)


def test_precision_float32_is_what_a_cpu_does(reference):
    config = dataclasses.replace(CONFIG, precision="float32")
    assert_same(measure(config=config).outputs, reference.outputs)


def test_progress_and_interruption():
    calls = []
    measure(member_block=3, progress=lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(i, 6) for i in range(1, 7)]
    assert all(call[2] > 0 for call in calls)

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(progress=interrupt)


def test_divergence_is_reported():
    config = dataclasses.replace(CONFIG, learning_rate=1e38)
    with pytest.raises(
        theory.NumericalError, match=r"lower `learning_rate`, now 1e\+38"
    ):
        measure(config=config)


class Halves(nn.Module):
    """Any Flax module will do: here a shared layer on both halves of the input."""

    @nn.compact
    def __call__(self, x):
        halves = x.reshape(len(x), 2, -1)
        return nn.Dense(C)(nn.tanh(nn.Dense(8)(halves))).mean(1)


def test_any_flax_module():
    draws = measure(arch=Halves(), width=None, member_block=None)
    assert draws.outputs.shape == (3, 2, 7, C)
    with pytest.raises(theory.InputError, match="`width` must be None with a Flax"):
        measure(arch=Halves(), width=3)


def test_block_size_follows_memory(monkeypatch):
    model = mlp.mlp(theory.Architecture(depth=3, activation="erf"), 256, C)
    sizes = lambda config: layout.block_size(model, config, problem(), inits=6)
    assert 1 <= sizes(CONFIG) <= 4
    assert sizes(dataclasses.replace(CONFIG, noise_regime="fresh")) == 6

    def on_gpu(limit):
        stats = {"bytes_limit": limit, "bytes_in_use": 0}
        device = types.SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
        monkeypatch.setattr(jax, "devices", lambda: [device])
        return sizes(CONFIG)

    # 256 x 256 weights and little else: some 2.5 MB a member with adam.
    assert on_gpu(10) == 1
    assert 100 < on_gpu(10**9) < 400
    assert on_gpu(10**10) == pytest.approx(10 * on_gpu(10**9), rel=0.02)
    # images of a draw, shared by 6 members, beside a member of 2.5 MB
    large = dataclasses.replace(
        problem(),
        x_test=jnp.asarray(np.zeros((10**5, D), np.float32)),
        labels_test=jnp.asarray(np.zeros(10**5, np.int32)),
    )
    size = functools.partial(layout.block_size, model, CONFIG, inits=6)
    plain = size(problem())
    assert size(large) == plain
    assert size(large, corrupt_test=True) < 0.9 * plain
    assert size(problem(), copies=5000) < 0.6 * plain


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_a_network_is_traced_once_for_its_size(monkeypatch, platform):
    traces = []

    class Counted(nn.Module):
        @nn.compact
        def __call__(self, x):
            traces.append(1)
            return nn.Dense(C)(x)

    device = types.SimpleNamespace(platform=platform, memory_stats=lambda: None)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    sizes = lambda: layout.block_size(Counted(), CONFIG, problem(), inits=6)
    size, first = sizes(), len(traces)
    assert sizes() == size
    assert len(traces) == first > 0


_SHARDED = """
import jax, numpy as np, pytest, sys
from test_ensemble import measure, spied
assert len(jax.devices()) == 4
compiled, held = [], set()
def look(_, __, ___, result):
    for leaf in jax.tree.leaves(result):
        held.add((leaf.shape[0], leaf.sharding.shard_shape(leaf.shape)[0]))
spied(pytest.MonkeyPatch(), "epoch", look)
def listen(event, duration, fun_name="", **_):
    if event == "/jax/core/compile/backend_compile_duration":
        compiled.append(fun_name)
jax.monitoring.register_event_duration_secs_listener(listen)
np.save(sys.argv[1], measure(member_block=4).outputs)
assert held == {(4, 1)}, held
for name in ("start", "epoch", "finish"):
    assert compiled.count(f"jit({name})") == 1, compiled
"""


def test_sharded_over_devices(reference, tmp_path):
    # Six members on four devices: two blocks, the second one padded.
    flags = os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=4"
    env = os.environ | {"XLA_FLAGS": " ".join(flags)}
    path = ROOT, ROOT / "tests" / "support", pathlib.Path(__file__).parent
    env |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(map(str, path))}
    path = tmp_path / "outputs.npy"
    subprocess.run([sys.executable, "-c", _SHARDED, str(path)], env=env, check=True)
    assert_same(np.load(path), reference.outputs)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"draws": 0}, "`draws` must be an integer of at least 1, got 0"),
        ({"inits": True}, "`inits` must be an integer of at least 1, got True"),
        ({"first_draw": -1}, "`first_draw` must be an integer of at least 0"),
        ({"member_block": 0}, "`member_block` must be an integer of at least 1"),
        ({"width": 0}, "`width` must be a positive integer, got 0"),
        ({"parametrisation": "mup"}, "unknown parametrisation 'mup'"),
        ({"noise": theory.Replacement(p=1.5)}, r"`p` must be .* in \[0, 1\]"),
        ({"noise": theory.ClippedAdditive(sigma=0.5)}, "ClippedAdditive needs pixels"),
        ({"copies": 0}, "`copies` must be an integer of at least 1, got 0"),
        ({"copies": True}, "`copies` must be an integer of at least 1, got True"),
        (
            {"test_corruption": theory.ClippedAdditive(sigma=0.5)},
            r"`test_corruption`: ClippedAdditive needs pixels in \[0, 1\]",
        ),
        ({"config": TrainConfig(loss="hinge")}, "unknown loss 'hinge'"),
        ({"key": jax.random.PRNGKey(0)}, "`key` must be a typed key"),
        ({"arch": theory.Architecture(depth=0, activation="erf")}, "`depth` must be"),
        (
            {
                "dataset": dataclasses.replace(
                    problem(), labels_test=jnp.asarray(np.arange(3))
                )
            },
            "`labels_test` must have shape",
        ),
    ],
)
def test_bad_arguments(settings, text):
    with pytest.raises(theory.InputError, match=text):
        measure(**settings)
