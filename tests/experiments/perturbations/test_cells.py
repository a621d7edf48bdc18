"""The experiment on learning from perturbations: plan, cells, numbers, report."""

import dataclasses

import numpy as np
import pytest
from closeness import raises

from experiments import adversarial_learning
from experiments.harness import runner
from experiments.harness.run_directory import Cell, RunDirectory
from experiments.perturbations import cells as perturbation_cells
from experiments.perturbations import conditions, pairs, presets, report, verdicts
from experiments.perturbations import settings as plan
from experiments.shared import reference
from ntk_corrupt.networks import two_layer
from theory.activations import registry
from theory.keys import stream

EPS = 64 * float(np.finfo(np.float32).eps)  # of sums of some twenty terms
NONE: dict = {f"over_{name}": None for name in plan.PANELS}


def tiny(**settings):
    chosen = {**NONE, "variants": False, "map_points": 5, **settings}
    return adversarial_learning.EXPERIMENT.configure("smoke", **chosen)


def assert_share(found, outputs, signs, rounding):
    """A share of equal signs, but for outputs that are zero up to rounding.

    Args:
        found: the share.
        outputs: in float64.
        signs: labels, or other outputs.
        rounding: in units of the largest output.
    """
    tied = (np.abs(outputs) <= rounding * np.abs(outputs).max()).mean()
    same = (np.sign(outputs) == np.sign(signs)).mean()
    assert found == pytest.approx(same, abs=tied + 1e-6)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("adversarial")
    config = tiny(over_eps=(0.0, 0.1), over_steps_g=(1, 20))
    rows = runner.execute(adversarial_learning.EXPERIMENT, config, workdir=workdir)
    return workdir, config, rows


def test_a_whole_run(run):
    workdir, config, rows = run
    kinds = [row["kind"] for row in rows]
    # base is balanced and eps = .1 and 20 steps; its control is eps = 0
    assert kinds == ["point"] * 5 + ["map", "phi"]
    directory = RunDirectory(workdir)
    text = report.table(directory, rows)
    for part in ("eps 0, stratified", "by learning rates of f", "steps_g", "verdict"):
        assert part in text
    assert "over eps  rises" in text
    picture = workdir / "figures" / "adversarial_learning.png"
    assert picture.stat().st_size > 10_000
    row = rows[0]
    assert np.array(row["acc_g"]).shape == (2, 1, 2)
    assert np.array(row["acc_f"]).shape == (2, 1)
    np.testing.assert_array_equal(directory.arrays(row)["acc_g"], row["acc_g"])
    panels = report.matched(config, rows)
    assert [value for value, _ in panels["eps"]] == [0.0, 0.1]
    assert panels["eps"][1][1] is dict(panels["variants"])["base"]
    still = panels["eps"][0][1]
    np.testing.assert_array_equal(still["cosine"], 0.0)
    np.testing.assert_array_equal(still["acc_f"], row["acc_f"])


def test_the_first_network_is_trained_on_the_sample(run):
    # another route: TwoLayer, and descent written out
    _, config, rows = run
    settings = plan.base(config)
    for repeat in range(2):
        sample = plan.sample(settings, repeat, None)
        key = stream(plan.repeat_key(settings, repeat), "f")
        net = two_layer.gaussian(registry.get("relu"), 20, 10, key=key)
        w, b, x, y = (np.array(p, float) for p in (net.w, net.b, sample.x, sample.y))
        a, speed = np.array(net.a, float), [0.0, 0.0]
        for _ in range(20):
            active = (x @ w.T + b > 0) * a * y[:, None] / len(y)
            speed = [0.9 * speed[0] + active.T @ x, 0.9 * speed[1] + active.sum(axis=0)]
            w, b = w + 0.1 * speed[0], b + 0.1 * speed[1]
        output = lambda z, w=w, b=b, a=a: np.maximum(z @ w.T + b, 0) @ a
        # twenty steps in float32
        assert_share(rows[0]["acc_f"][repeat][0], output(x), y, 20 * EPS)
        fresh = output(np.array(sample.x_test, float))
        y_test = np.array(sample.y_test)
        assert_share(rows[0]["test_f"][repeat][0], fresh, y_test, 20 * EPS)


def test_closed_forms_beside_the_networks(run):
    _, config, rows = run
    settings = plan.base(config)
    pair = pairs.learn(settings, 1, None)
    sample = pair.teacher.sample
    x, y, z = (np.array(p, float) for p in (sample.x, sample.y, sample.x_test))

    def phi(one, two):
        extend = lambda p: np.hstack([p, np.full((len(p), 1), p.shape[1] ** 0.5)])
        one, two = extend(one), extend(two)
        norms = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(two, axis=1)
        return 0.5 - np.arccos(np.clip(one @ two.T / norms, -1, 1)) / (2 * np.pi)

    taught = (phi(x, x) * y) @ x / len(x)
    lengths = np.linalg.norm(taught, axis=1)
    r = np.array(pair.r[0], float)
    np.testing.assert_allclose(np.linalg.norm(r, axis=1), settings["eps"], rtol=EPS)
    cosine = np.abs((r * taught).sum(axis=1) / lengths / settings["eps"]).mean()
    assert rows[0]["cosine"][1][0] == pytest.approx(cosine, abs=EPS)
    # Phi of a point with itself has the root of rounding
    root = 64 * np.finfo(float).eps ** 0.5
    hat_f = ((phi(x, x) * y) @ x * x).sum(axis=1)
    assert_share(rows[0]["hat_f_acc"][1], hat_f, y, root)
    w, b, a = (np.array(part)[0, 1] for part in (pair.g.w, pair.g.b, pair.g.a))
    g = np.maximum(z @ w.T + b, 0) @ a
    hat_g = (phi(z, r) @ taught * z).sum(axis=1)
    assert_share(rows[0]["hat_g_agrees"][1][0][1], hat_g, g, root)
    targets = np.array(pair.targets, float)
    linear = (phi(z, r) * targets * (z @ r.T + 1)).sum(axis=1)
    assert_share(rows[0]["linear_g_agrees"][1][0][1], linear, g, root)
    hat_g = (phi(x, r) @ taught * x).sum(axis=1)
    assert_share(rows[0]["hat_g_acc"][1][0], hat_g, y, root)


def test_conditions_by_another_route(run):
    # (P2), (P4) and the sides of the units written out in NumPy, no kernel blocks
    _, config, rows = run
    settings, row = plan.base(config), rows[0]
    for repeat in range(2):
        pair = pairs.learn(settings, repeat, None)
        x, y, z = (np.asarray(part, float) for part in pair.teacher.sample[:3])
        d = x.shape[1]

        def phi(one, two, d=d):
            length = lambda v: np.sqrt((v**2).sum(1) / d + 1)
            angle = (one @ two.T / d + 1) / np.outer(length(one), length(two))
            return 0.5 - np.arccos(np.clip(angle, -1, 1)) / (2 * np.pi)

        time = 0.1 * sum((1 - 0.9**k) / 0.1 for k in range(1, 21))  # 20 steps
        drift = phi(x, x) @ (y[:, None] * x) / len(x)
        over = np.median(time * np.linalg.norm(drift, axis=1)) / 0.5**0.5
        assert row["gradient_over_start"][repeat] == pytest.approx(over, rel=1e-5)
        q, r = (np.asarray(part, float)[0] for part in (pair.inputs, pair.r))
        weights = phi(q, z) * np.asarray(pair.targets, float)[:, None] / len(x)
        learned = (weights * (q @ z.T + 1)).sum(axis=0)
        taught = (weights * (r @ z.T)).sum(axis=0)
        start = np.sqrt(((z**2).mean(axis=1) + 1) / 2)
        over = np.median(time * np.abs(learned) / start)
        assert row["output_over_start"][repeat] == pytest.approx(over, rel=1e-4)
        one, other = np.linalg.norm(taught), np.linalg.norm(learned - taught)
        share = one / (one + other)
        assert row["taught_share"][repeat] == pytest.approx(share, rel=1e-4)
        assert rows[3]["eps"] == 0
        assert rows[3]["taught_share"][repeat] == 0
        for name, net in (("f", pair.teacher.f), ("g", pair.g)):
            assert net.b is not None
            end = (
                net.w.reshape(-1, *net.w.shape[-2:])[0],
                net.b.reshape(-1, net.b.shape[-1])[0],
            )
            before = pairs.start(settings, repeat, name, 10, pair.teacher.sample)
            assert before.b is not None
            sides = [
                np.asarray(z @ np.asarray(w, float).T + np.asarray(b, float) > 0)
                for w, b in ((before.w, before.b), end)
            ]
            kept = (sides[0] == sides[1]).mean()
            assert row[f"sides_kept_{name}"][repeat] == pytest.approx(kept, abs=1e-3)
    text = "\n".join(conditions.lines([("base", row)]))
    assert "2410.23677" in text
    assert "all met" in text


def test_maps(run):
    workdir, config, rows = run
    row = next(row for row in rows if row["kind"] == "map")
    arrays = RunDirectory(workdir).arrays(row)
    assert arrays["f"].shape == (5, 5)
    pair = pairs.learn(plan.base(config), 0, None)
    sample = pair.teacher.sample
    x, y = np.array(sample.x, float), np.array(sample.y, float)
    one, two = (x[y == sign].mean(axis=0) for sign in (1, -1))
    # by Gram and Schmidt
    axes = [one / np.linalg.norm(one)]
    rest = two - (two @ axes[0]) * axes[0]
    axes.append(rest / np.linalg.norm(rest))
    # the second axis turns by rounding over the sine of the angle of the means
    sine = np.linalg.norm(rest) / np.linalg.norm(two)
    atol = 64 * np.finfo(float).eps * np.linalg.norm(x, axis=1).max() / sine
    expected = x @ np.array(axes).T
    np.testing.assert_allclose(arrays["projected"], expected, rtol=0, atol=atol)
    # rows are the second axis, columns the first, both from -7 to 7
    z = 3.5 * axes[0] - 7 * axes[1]
    net = pair.teacher.f
    w, b, a = (np.array(part, float)[0] for part in (net.w, net.b, net.a))
    expected = np.maximum(w @ z + b, 0) @ a
    size = (np.abs(w) @ np.abs(z) + np.abs(b)) @ np.abs(a)
    np.testing.assert_allclose(arrays["f"][0, 3], expected, rtol=0, atol=EPS * size)
    same = (np.sign(arrays["f"]) == np.sign(arrays["g"])).mean()
    assert row["f as g"] == pytest.approx(same)


def test_panels_move_what_they_are_called():
    config = tiny(over_d=(10, 20), over_m=(5, 10), over_steps_f=(1,))
    at, found = plan.base(config), plan.panels(config)
    (ten, small), (_, same) = found["d"]
    assert ten == 10
    assert small["eps"] == pytest.approx(0.1 * 0.5**0.5)
    assert same == at
    assert [settings["m_g"] for _, settings in found["m"]] == [5, 10]
    apart = plan.panels(dataclasses.replace(config, m_g=7))
    assert [settings["m_g"] for _, settings in apart["m"]] == [7, 7]
    assert found["steps_f"][0][1] == {**at, "steps_f": 1}
    # controls are there without being asked for
    names = [name for name, _ in found["variants"]]
    assert names[-2:] == ["eps 0, balanced", "eps 0, stratified"]
    all_of = dict(plan.panels(dataclasses.replace(config, variants=True))["variants"])
    assert all_of["g of m/5"]["m_g"] == 2
    assert all_of["l_inf"]["eps"] == pytest.approx(0.1 / 20**0.5)
    assert all_of["always wrong"]["targets"] == "wrong"
    images = tiny(dataset="digits", n=20, over_d=(10, 20))
    assert "d" not in plan.panels(images)
    assert "d" not in plan.base(images)
    assert plan.inputs(images) == 64


def test_what_decides_a_number_is_in_its_cell():
    names = set(dict(perturbation_cells.cells(tiny())[0].settings))
    fields = {field.name for field in dataclasses.fields(plan.AdversarialLearning)}
    left_out = {f for f in fields if f.startswith(("over_", "map_"))}
    # `classes` and `size` are of images
    left_out |= {"variants", "data_dir", "classes", "size"}
    assert fields - left_out <= names


def test_a_network_is_kept_for_points_that_share_it_only():
    later = {"m_g", "eps", "steps_g", "scenario", "rates_g", "targets", "norm"}
    later |= {"attack_steps", "direction", "repeats"}
    images = {"classes", "size"}
    kept = set(pairs._OF_F)
    assert kept == (set(plan.base(tiny())) - later) | images


def test_other_directions_and_losses():
    config = tiny(variants=True, repeats=1, steps_g=5, steps_f=5)
    points = dict(plan.panels(config)["variants"])
    found = {}
    for name in (
        "D(x_n)", "class means", "oracle", "logistic", "oracle, exponential", "l_inf",
        "10 steps",
    ):  # fmt: skip
        settings = {"kind": "point", **points[name]}
        found[name], _ = perturbation_cells.compute(config, Cell(settings))
    np.testing.assert_allclose(found["D(x_n)"]["cosine"], 1.0, rtol=EPS)
    assert 0.8 < np.min(found["class means"]["cosine"]) < 0.9999
    assert "cosine_predicted" not in found["logistic"]
    assert "gradient_over_start" not in found["logistic"]
    # one direction for all: not that of the class means, whose inputs weigh alike
    assert found["oracle"]["cosine"] == found["oracle, exponential"]["cosine"]
    assert found["oracle"]["cosine"] != found["class means"]["cosine"]
    assert np.max(found["l_inf"]["cosine"]) < 0.95


def row(acc_g, **settings):
    """A row of three repeats at one rate each."""
    lists = {"acc_g": [[[value]] for value in acc_g]}
    lists |= {name: lists["acc_g"] for name in ("agreement", "acc_f")}
    return {**settings, **lists, "cosine": [[0.99]] * 3, "kind": "point"}


def verdicts_of(found):
    return {each.what: each.holds for each in found}


def test_verdicts():
    config = plan.AdversarialLearning()
    falls = [(0.1, row([0.6] * 3)), (0.2, row([0.57] * 3)), (0.3, row([0.9] * 3))]
    panels = {
        "variants": [
            ("base", row([0.94, 0.95, 0.97])),
            ("eps 0, balanced", row([0.5, 0.6, 0.58])),
            ("eps 0, stratified", row([0.5, 0.5, 0.5])),
        ],
        "eps": falls,
        "d": [(10, row([0.5] * 3)), (20, row([0.8] * 3)), (30, row([0.79] * 3))],
    }
    phi = {"kind": "phi", "phi_error": [0.003, 0.006]}
    found = verdicts_of(verdicts.expected(config, panels, [phi]))
    assert found == {
        "largest error of Phi against 100 000 samples": True,
        "accuracy of g on the inputs of f": True,
        "decisions of f and g alike": True,
        "|cos| of D(x_n) and the perturbation": True,
        "accuracy of g, eps = 0, balanced targets": False,
        "largest fall of the mean accuracy of g over d": True,
        "largest fall of the mean accuracy of g over eps": False,
    }
    # goals are of one setting
    other = dataclasses.replace(config, d=50)
    found = verdicts_of(verdicts.expected(other, panels, [phi]))
    assert "accuracy of g on the inputs of f" not in found


def test_published_curves_are_set_beside_their_setting():
    config = plan.AdversarialLearning(steps_f=1000, steps_g=1000)
    panels = {"variants": [], "d": [(50, row([0.5, 0.9, 0.99])), (55, row([0.1] * 3))]}
    found = verdicts.reference(config, panels)[3:]
    # the median is .9: source .99, .92 and .92
    assert [line.split()[2] for line in found] == ["acc_f", "acc_g", "agreement"]
    assert [line.split()[-1] for line in found] == ["MISSED", "within", "within"]
    assert "0.900 [0.500, 0.990]" in found[1]
    assert not verdicts.reference(plan.AdversarialLearning(), panels)


def test_published_curves_are_of_known_settings():
    told = reference.read("adversarial_learning")
    matched = set()
    for name in presets.PRESETS:
        if not name.startswith("paper"):
            continue
        config = adversarial_learning.EXPERIMENT.configure(name)
        for number, curve in enumerate(told["curves"]):
            at = plan.base(config)
            if all(at.get(k) == v for k, v in curve["setting"].items()):
                values = getattr(config, f"over_{curve['panel']}") or ()
                if set(values) & set(curve["values"]):
                    matched.add(number)
    for number, curve in enumerate(told["curves"]):
        assert set(curve["setting"]) <= {"d", *plan._SHARED}
        lists = [
            curve[k] for k in ("acc_f", "acc_g", "agreement", "cosine") if k in curve
        ]
        assert lists
        for values in lists:
            assert len(values) == len(curve["values"])
            assert all(0 <= value <= 1 for value in values)
        asked_for = curve["setting"]["loss"] == "logistic"
        other_images = curve["setting"]["dataset"] == "fashion_mnist"
        assert number in matched or asked_for or other_images, curve


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"dataset": "mnits"}, "unknown --dataset 'mnits': did you mean 'mnist'"),
        ({"scenario": "both"}, "unknown --scenario 'both'"),
        ({"loss": "mse"}, "unknown --loss 'mse'"),
        ({"targets": "even"}, "unknown --targets 'even'"),
        ({"norm": "l1"}, "unknown --norm 'l1'"),
        ({"direction": "up"}, "unknown --direction 'up'"),
        ({"slope": 1.0}, "`--slope` must be in [0, 1), got 1.0"),
        ({"over_slope": (0.0, -0.1)}, "`--over_slope` must be in [0, 1)"),
        ({"eps": -1.0}, "`--eps` must be at least 0, got -1.0"),
        ({"m_g": 0}, "`--m_g` must be at least 1, got 0"),
        ({"over_n": (1, 5)}, "`--over_n` must be at least 2, got 1"),
        ({"rates_f": (0.1, 0.1)}, "`--rates_f` must be different and positive"),
        ({"rates_g": (0.0,)}, "`--rates_g` must be different and positive"),
        ({"over_d": (20, 10)}, "`--over_d` must rise, got (20, 10)"),
        ({"map_limit": 0.0}, "`--map_limit` must be positive, got 0.0"),
        ({"dataset": "digits", "classes": (1, 1)}, "`classes` must be two different"),
        ({"attack_steps": 0}, "`--attack_steps` must be at least 1"),
    ],
)
def test_bad_settings(settings, text):
    with raises(text):
        plan.check(tiny(**settings))


def test_presets():
    for preset in presets.PRESETS:
        if "mnist" in preset:
            continue  # files that are not here
        config = adversarial_learning.EXPERIMENT.configure(preset)
        plan.check(config)
        cells = perturbation_cells.cells(config)
        assert len(cells) > 5
        assert perturbation_cells.estimate(config, cells[0]) > 0
        assert config.repeats >= 3 or preset == "smoke"
