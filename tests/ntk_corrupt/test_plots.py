import ast
import inspect

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ntk_corrupt import plots


@pytest.fixture
def ax():
    return Figure().subplots()


def on_screen(ax, p):
    """Horizontal place of each level, in widths of the axes."""
    points = np.stack([np.asarray(p, float), np.zeros(len(p))], axis=1)
    return (ax.transData + ax.transAxes.inverted()).transform(points)[:, 0]


def test_accuracy_curve_holds_the_data_in_order_of_p(ax):
    p, accuracy, stderr = [0.9, 0.5, 1.0], [0.7, 0.8, 0.1], [0.01, 0.02, 0.03]
    line, _, (bars,) = plots.accuracy_curves(ax, p, accuracy, stderr, label="exact")
    np.testing.assert_array_equal(line.get_xdata(), [0.5, 0.9, 1.0])
    np.testing.assert_array_equal(line.get_ydata(), [0.8, 0.7, 0.1])
    ends = [segment[:, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(ends, [[0.78, 0.82], [0.69, 0.71], [0.07, 0.13]])
    assert line.get_marker() == "o"
    assert ax.get_ylabel() == "test accuracy"
    assert ax.get_legend_handles_labels()[1] == ["exact"]


def test_accuracy_curve_without_errors_with_gaps_and_options(ax):
    line, caps, bars = plots.accuracy_curves(
        ax, [0.5, 0.9], [None, 0.7], label="first order", marker="s", color="red"
    )
    np.testing.assert_array_equal(line.get_ydata(), [np.nan, 0.7])
    assert (caps, bars) == ((), ())
    assert (line.get_marker(), line.get_color()) == ("s", "red")


def test_chance_line_is_at_one_over_classes(ax):
    line = plots.chance_line(ax, 4)
    np.testing.assert_array_equal(line.get_ydata(), [0.25, 0.25])
    assert line.get_label() == "chance"


def test_corruption_axis_is_logarithmic_in_one_minus_p(ax):
    p = [0.0, 0.9, 0.99, 0.999]
    plots.corruption_axis(ax, p)
    steps = np.diff(on_screen(ax, p))
    np.testing.assert_allclose(steps, steps[0])
    assert steps[0] > 0
    np.testing.assert_array_equal(ax.get_xticks(), p)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["0", "0.9", "0.99", "0.999"]
    assert ax.get_xlabel() == "corruption level p (spaced by log(1 - p))"


@pytest.mark.parametrize(
    "p",
    [
        [0.0, 0.5, 0.9, 0.97, 1.0],
        [0.97, 1.0, 0.9],
        [0.9, 0.9999, 1.0],
        np.linspace(0, 1, 11),
        [0.0],
        [1.0],
        [0.97],
        [0, 1],
    ],
)
@pytest.mark.parametrize("first", ["axis", "curve"])
def test_every_level_is_inside_the_axes_in_order_and_apart(ax, p, first):
    if first == "axis":
        plots.corruption_axis(ax, p)
    plots.accuracy_curves(ax, p, np.zeros(len(p)), label="exact")
    if first == "curve":
        plots.corruption_axis(ax, p)
    FigureCanvasAgg(ax.figure).draw()
    place = on_screen(ax, np.sort(p))
    assert place[0] > 0.02
    assert place[-1] < 0.98
    assert (np.diff(place) > 0.01).all()


def test_labels_of_many_levels_do_not_touch(ax):
    p = np.round(np.linspace(0.5, 1, 51), 2)
    plots.corruption_axis(ax, p)
    ticks = ax.get_xticks()
    assert set(ticks) <= set(p)
    assert (ticks[0], ticks[-1]) == (0.5, 1)
    assert np.diff(on_screen(ax, ticks)).min() > 0.07
    assert len(ticks) > 6


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 4, 5, 3)])
def test_sample_images_show_each_image_in_its_own_range(shape):
    axes = Figure().subplots(1, 2)
    images = np.random.default_rng(0).normal(size=shape)
    artists = plots.sample_images(axes, images, ["clean", "p = 0.9"])
    for ax, artist, image in zip(axes, artists, images, strict=True):
        expected = (image - image.min()) / (image.max() - image.min())
        np.testing.assert_allclose(np.asarray(artist.get_array()), expected)
        assert artist.get_clim() == (0, 1)
        assert artist.get_cmap().name == "gray"
        assert len(ax.get_xticks()) == len(ax.get_yticks()) == 0
    assert [ax.get_title() for ax in axes] == ["clean", "p = 0.9"]


def test_constant_image_is_drawn_and_a_missing_title_is_noticed():
    axes = Figure().subplots(1, 2)
    plots.sample_images(axes[:1], np.ones((1, 2, 2)), ["constant"])
    with pytest.raises(ValueError, match="zip"):
        plots.sample_images(axes, np.ones((2, 2, 2)), ["one title"])


def test_style_is_valid_and_its_colours_differ_in_grey_too():
    with matplotlib.rc_context(plots.style()):
        ax = Figure().subplots()
        (line,) = ax.plot([0, 1])
        assert line.get_color() == plots.PALETTE[0]
    luminance = np.sort([to_rgb(c) @ np.array([0.3, 0.6, 0.1]) for c in plots.PALETTE])
    assert np.diff(luminance).min() > 0.01


def test_nothing_global_is_touched():
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.name
        for node in ast.walk(ast.parse(inspect.getsource(plots)))
        if isinstance(node, ast.Attribute | ast.alias)
    }
    assert not names & {"pyplot", "matplotlib.pyplot", "savefig", "show", "gca"}


def test_names_at_the_edge_stand_where_lines_end_and_apart():
    ax = Figure().subplots()
    ax.set_ylim(0, 2)
    names = [("b", 0.41, "k"), ("a", 0.4, "r"), ("top", 2.0, "k"), ("near", 1.99, "k")]
    found = plots.name_ends(ax, names, apart=0.1)
    assert [text.get_text() for text in found] == ["a", "b", "near", "top"]
    np.testing.assert_allclose([text.xy[1] for text in found], [0.2, 0.3, 0.9, 1.0])
    assert all(text.xy[0] > 1 for text in found)
    assert found[0].get_color() == "r"
    assert plots.name_ends(ax, []) == []
